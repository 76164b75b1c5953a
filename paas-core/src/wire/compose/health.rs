//! Health checks, in every spelling.

use super::Wrong;
use super::fields::Field;
use super::service::Service;
use crate::wire::app::{HealthRequest, Period};

/// How long Compose waits for a check that does not say. Ours is shorter than many a command takes.
const TIMEOUT: Period = Period::from_millis(30_000);

impl Service<'_, '_> {
    pub(super) fn healthcheck(&mut self) -> Result<(), Wrong> {
        let Some(check) = self.fields.take("healthcheck") else { return Ok(()) };
        let mut fields = check.clone().fields()?;
        let test = fields.take("test");
        if let Some(disable) = fields.take("disable")
            && disable.flag()?
        {
            self.importer.refuse(&disable, OF_IMAGE);
            return Ok(());
        }
        let interval = fields.take("interval").map(|field| field.period()).transpose()?;
        let timeout = fields.take("timeout").map(|field| field.period()).transpose()?;
        let start = fields.take("start_period").map(|field| field.period()).transpose()?;
        let failures = fields.take("retries").map(|field| field.number()).transpose()?;
        if let Some(field) = fields.take("start_interval") {
            self.importer.note(&field, "a check is made at one interval from the start on");
        }
        fields.end()?;
        let Some(test) = test else {
            self.importer
                .refuse(&check, "the check of an image cannot be changed in parts; write the whole of it with test");
            return Ok(());
        };
        let Some(command) = self.test(test)? else { return Ok(()) };
        let timeout = timeout.or(Some(TIMEOUT));
        self.component.health =
            Some(HealthRequest { command, interval, timeout, start, failures, ..HealthRequest::default() });
        Ok(())
    }

    /// The command that `test` says; nothing for none.
    fn test(&mut self, test: Field) -> Result<Option<Vec<String>>, Wrong> {
        let shell = |line: String| Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), line]);
        if !test.is_list() {
            return Ok(shell(test.text()?));
        }
        let mut words = test.clone().texts()?;
        let kind = if words.is_empty() { String::new() } else { words.remove(0) };
        match (kind.as_str(), words.len()) {
            ("NONE", 0) => {
                self.importer.refuse(&test, OF_IMAGE);
                Ok(None)
            }
            ("CMD", 1..) => Ok(Some(words)),
            ("CMD-SHELL", 1) => Ok(shell(words.remove(0))),
            _ => Err(test.wrong("must be a line for the shell, or [CMD, PROGRAM, …], [CMD-SHELL, LINE] or [NONE]")),
        }
    }
}

const OF_IMAGE: &str = "the check of an image counts where none is declared; declare one that works";
