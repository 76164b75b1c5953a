//! The agent of a host as a process of its own.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Api, eventually, program, signal};

/// An agent. Killed when dropped.
pub(crate) struct Agent(Child);

impl Agent {
    /// Starts an agent for the Docker host at `docker`, with these arguments and variables beside.
    pub(crate) fn start(id: &str, docker: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program("paas-server"));
        command.args(["agent", "--id", id, "--docker", docker, "--advertise", docker]).args(arguments);
        command.envs(variables.iter().copied()).stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Tells it to end, and waits until it has.
    pub(crate) fn terminate(&mut self) {
        signal("-TERM", self.0.id());
        assert!(self.0.wait().unwrap().success());
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until an engine has that status; how long it took.
pub(crate) async fn until(api: &Api, id: &str, status: &str) -> Duration {
    let begun = Instant::now();
    let reached = || async { api.get(&format!("/api/engines/{id}")).await.body["health"]["status"] == status };
    let engines = || async { api.get("/api/engines").await.body };
    assert!(eventually(Duration::from_secs(30), reached).await, "{id} is not {status}: {:#}", engines().await);
    begun.elapsed()
}
