//! What is changed in a container of a simulated host as it is, and what is run in it.

use super::Host;
use crate::engine::{EngineError, EngineErrorKind, EventDetail, ExecChunk, LogChunk, LogStream, Result};
use crate::model::app::Sizes;
use crate::model::{ContainerId, Cpus};

impl Host {
    /// Changes the limits of a container, on a host of so many CPUs.
    pub(in crate::engine::simulated) fn update(&mut self, id: &ContainerId, sizes: &Sizes, cpus: Cpus) -> Result<()> {
        self.get("update the container", id)?;
        if sizes.cpus.is_some_and(|asked| asked > cpus) {
            let detail = format!("Range of CPUs is from 0.01 to {cpus}");
            return Err(EngineError::new(EngineErrorKind::Unable, "update the container", detail));
        }
        if let Some(container) = self.containers.get_mut(id) {
            container.reserved.memory = sizes.memory;
            container.restart = sizes.restart;
            if let Some(cpus) = sizes.cpus {
                (container.reserved.cpus, container.cpus) = (cpus, Some(cpus));
            }
        }
        self.tell("update", id);
        Ok(())
    }

    pub(in crate::engine::simulated) fn rename(&mut self, id: &ContainerId, name: &str) -> Result<()> {
        self.get("rename the container", id)?;
        if self.names.contains(name) {
            let detail = format!("the name {name} is taken");
            return Err(EngineError::new(EngineErrorKind::Conflict, "rename the container", detail));
        }
        self.names.insert(name.to_owned());
        if let Some(container) = self.containers.get_mut(id) {
            self.names.remove(&std::mem::replace(&mut container.name, name.to_owned()));
        }
        self.tell("rename", id);
        Ok(())
    }

    /// Pretends to run a command: `echo` writes what it was given, `cat` what is in the files that were put into the container,
    /// `false` fails, and the others do nothing. How long one takes is not its business.
    pub(in crate::engine::simulated) fn exec(
        &mut self,
        id: &ContainerId,
        command: &[String],
    ) -> Result<Vec<ExecChunk>> {
        self.check_runs("run the command", id)?;
        let (program, arguments) = command.split_first().map_or(("", command), |(first, rest)| (first.as_str(), rest));
        let exit_code = i64::from(program == "false");
        self.tell("exec_create", id);
        self.tell("exec_start", id);
        self.tell_more("exec_die", id, EventDetail { exit_code: Some(exit_code), ..EventDetail::default() });
        let written = match program {
            "echo" => format!("{}\n", arguments.join(" ")).into_bytes(),
            "cat" => {
                let files = self.files(id);
                let asked =
                    |path: &String| files.iter().find(|file| file.path == *path).map(|file| file.content.to_vec());
                arguments.iter().filter_map(asked).flatten().collect()
            }
            _ => Vec::new(),
        };
        let output = LogChunk { stream: LogStream::Stdout, bytes: written.into() };
        let output = (!output.bytes.is_empty()).then_some(ExecChunk::Output(output));
        Ok(output.into_iter().chain([ExecChunk::Ended(exit_code)]).collect())
    }
}
