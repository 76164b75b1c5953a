//! The server program in a process of its own, as it is shipped.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{load, release};

const PASSWORD: &str = "benchmarks have no secrets";
/// How long a server may take to come up.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A server on loopback. It ends with this.
#[derive(Debug)]
pub struct Server {
    program: PathBuf,
    process: Child,
    folder: tempfile::TempDir,
    /// Where it listens.
    pub address: SocketAddr,
    options: Vec<String>,
}

impl Server {
    /// Starts a server with an empty store and these engines, `ID=ADDRESS` each, and waits until it answers.
    pub async fn start(engines: &[String]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut options: Vec<String> = engines.iter().map(|engine| format!("--engine={engine}")).collect();
        if engines.is_empty() {
            options.push("--no-engine".to_owned());
        }
        options.extend([format!("--listen={address}"), format!("--data-dir={}", folder.path().join("data").display())]);
        let program = release::build().join("paas-server");
        let process = spawn(&program, &options, folder.path())?;
        let server = Self { program, process, folder, address, options };
        server.wait().await?;
        Ok(server)
    }

    /// Ends it and starts it again on the same store; gives how long it took from its start to its first answer.
    pub async fn start_again(&mut self) -> Result<Duration> {
        self.end()?;
        // It finds its engines in the store.
        self.options.retain(|option| !option.starts_with("--engine="));
        let begun = Instant::now();
        self.process = spawn(&self.program, &self.options, self.folder.path())?;
        self.wait().await?;
        Ok(begun.elapsed())
    }

    async fn wait(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let request = load::get("/healthz", "none");
            if let Ok(mut connection) = load::Connection::open(self.address).await
                && matches!(connection.ask(&request).await, Ok((200, _)))
            {
                return Ok(());
            }
            if begun.elapsed() > TIMEOUT {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                anyhow::bail!("the server does not come up: {log}");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Its process, by id.
    pub fn pid(&self) -> String {
        self.process.id().to_string()
    }

    /// Logs in, and gives the token.
    pub async fn token(&self) -> Result<String> {
        let login = json!({"username": "admin", "password": PASSWORD});
        let answer = self.http().post(self.url("/auth/login")).json(&login).send().await?;
        let answer: Value = answer.error_for_status()?.json().await?;
        Ok(answer["token"].as_str().context("there is no token")?.to_owned())
    }

    /// Starts containers of one small spec.
    pub async fn run(&self, token: &str, mut count: usize) -> Result<()> {
        let spec = json!({
            "name": "httpd", "cpus": 0.02, "memory": 16, "bind_ports": [{"proto": "tcp", "container_port": 80}],
            "environment": {"GREETING": "hello", "LANG": "C"},
        });
        while count > 0 {
            let now = count.min(10_000);
            let url = self.url(&format!("/api/containers?count={now}"));
            self.http().post(url).bearer_auth(token).json(&spec).send().await?.error_for_status()?;
            count -= now;
        }
        Ok(())
    }

    /// Says for each engine, `ID=ADDRESS`, what is in use on its host, as an agent there would; once, and for five minutes.
    pub async fn hear_agents(&self, token: &str, engines: &[String]) -> Result<()> {
        let made = self.http().post(self.url("/api/join-tokens")).bearer_auth(token).send().await?;
        let made: Value = made.error_for_status()?.json().await?;
        let join = made["token"].as_str().context("there is no join token")?;
        let http = self.http();
        for (number, engine) in engines.iter().enumerate() {
            let (id, addr) = engine.split_once('=').context("an engine is ID=ADDRESS")?;
            let heartbeat = json!({
                "session": uuid::Uuid::now_v7(), "ttl_seconds": 300,
                "member": {
                    "id": id, "addr": addr, "cpus": 4, "memory": 8192, "daemon_id": format!("paper-{number}"),
                    "docker_version": "28.0.0", "usage": {"cpus": 1.0, "memory": 1024},
                },
            });
            let url = self.url(&format!("/join/engines/{id}"));
            http.post(url).bearer_auth(join).json(&heartbeat).send().await?.error_for_status()?;
        }
        Ok(())
    }

    /// What it says at a path.
    pub async fn read(&self, token: &str, path: &str) -> Result<Value> {
        Ok(self.http().get(self.url(path)).bearer_auth(token).send().await?.error_for_status()?.json().await?)
    }

    /// Puts something there.
    pub async fn put(&self, token: &str, path: &str, body: Value) -> Result<()> {
        self.http().put(self.url(path)).bearer_auth(token).json(&body).send().await?.error_for_status()?;
        Ok(())
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn http(&self) -> reqwest::Client {
        // Chosen once for everything that speaks TLS; fails only when it was chosen before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::new()
    }

    fn end(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn spawn(program: &Path, options: &[String], folder: &Path) -> Result<Child> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log"))?;
    let mut command = Command::new(program);
    // What hosts of paper show bears that name.
    command.args(options).env("PAAS_ADMIN_PASSWORD", PASSWORD).env("PAAS_PLATFORM", "paper");
    Ok(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?)
}

/// Simulated engines of mixed size, as `ID=ADDRESS`.
pub fn simulated(count: usize) -> Vec<String> {
    let engine = |number: usize| {
        let size = [4, 16, 64][number % 3];
        format!("e{number:05}=sim://host-{number}?cpus={size}&memory={}", size * 2048)
    };
    (0..count).map(engine).collect()
}
