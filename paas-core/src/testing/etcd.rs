//! A real etcd for tests, started by them on free ports, and what can happen to it.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use etcd_client::{Client, PermissionType};
use tokio::time::sleep;
use uuid::Uuid;

use super::skip::skip;
use super::tier;

const PROGRAM: &str = "etcd";
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// How long it may take to come up, or to end.
const TIMEOUT: Duration = Duration::from_secs(30);
/// What it logs once it answers.
const READY: &str = "ready to serve client requests";

/// A running etcd with data of its own. Killed when dropped, and its data removed.
#[derive(Debug)]
pub struct Etcd {
    process: Option<Child>,
    folder: PathBuf,
    arguments: Vec<String>,
    ip: IpAddr,
    port: u16,
    starts: u32,
}

impl Etcd {
    /// A new etcd of one server, if this machine has the program. If not, says so as [`skip`] does.
    ///
    /// # Panics
    /// Where it does not come up, or must not be skipped.
    pub async fn start(test: &str) -> Option<Self> {
        Self::start_with(test, LOCAL, "http", &[]).await
    }

    /// A new etcd of one server that hosts of a test reach at `ip`, an address of this machine.
    ///
    /// # Panics
    /// As [`Etcd::start`].
    pub async fn start_at(test: &str, ip: IpAddr) -> Option<Self> {
        Self::start_with(test, ip, "http", &[]).await
    }

    /// A new etcd of one server that clients reach over TLS only. The files hold PEM: its certificate, the key of that, and
    /// the authority that must have signed the certificates of clients.
    ///
    /// # Panics
    /// As [`Etcd::start`].
    pub async fn start_with_tls(test: &str, cert: &Path, key: &Path, client_ca: &Path) -> Option<Self> {
        let path = |path: &Path| path.display().to_string();
        let files = ["--cert-file", &path(cert), "--key-file", &path(key), "--trusted-ca-file", &path(client_ca)];
        Self::start_with(test, LOCAL, "https", &[&files[..], &["--client-cert-auth"]].concat()).await
    }

    /// A new etcd of one server whose tokens say of which state of users and roles they are, so that each change of those
    /// makes all tokens invalid. Passwords are asked for only after [`Etcd::ask_for_passwords`].
    ///
    /// # Panics
    /// As [`Etcd::start`].
    pub async fn start_with_jwt(test: &str) -> Option<Self> {
        let key = std::env::temp_dir().join(format!("paas-test-etcd-key-{}", Uuid::new_v4()));
        fs::write(&key, Uuid::new_v4().to_string()).expect("a file can be written");
        let tokens = format!("jwt,sign-method=HS256,priv-key={},ttl=10m", key.display());
        let etcd = Self::start_with(test, LOCAL, "http", &["--auth-token", &tokens]).await;
        // It was read at the start, and is not looked at again.
        let _ = fs::remove_file(&key);
        etcd
    }

    /// Adds a role, as an operator would. `password` is that of `root`.
    ///
    /// # Panics
    /// Where it cannot.
    pub async fn add_role(&self, name: &str, password: &str) {
        let options = etcd_client::ConnectOptions::new().with_user("root", password);
        let client = Client::connect([self.host()], Some(options)).await.expect("etcd lets root in");
        client.auth_client().role_add(name).await.expect("a role can be added");
    }

    async fn start_with(test: &str, ip: IpAddr, scheme: &str, more: &[&str]) -> Option<Self> {
        if let Some(obstacle) = obstacle() {
            skip(test, obstacle);
            return None;
        }
        // A port that is free may be taken by somebody else before etcd takes it.
        for _ in 0..3 {
            let cluster = format!("one=http://{LOCAL}:{}", free_port(LOCAL));
            let mut etcd = Self::described(ip, "one", &cluster, scheme);
            etcd.arguments.extend(more.iter().map(|&argument| argument.to_owned()));
            if etcd.launch().await {
                return Some(etcd);
            }
        }
        panic!("etcd does not come up");
    }

    /// A new etcd of three servers.
    ///
    /// # Panics
    /// As [`Etcd::start`].
    pub async fn start_three(test: &str) -> Option<[Self; 3]> {
        if let Some(obstacle) = obstacle() {
            skip(test, obstacle);
            return None;
        }
        let names = ["one", "two", "three"];
        for _ in 0..3 {
            let cluster = names.map(|name| format!("{name}=http://{LOCAL}:{}", free_port(LOCAL))).join(",");
            let mut all = names.map(|name| Self::described(LOCAL, name, &cluster, "http"));
            let [one, two, three] = &mut all;
            if tokio::join!(one.launch(), two.launch(), three.launch()) == (true, true, true) {
                return Some(all);
            }
        }
        panic!("etcd does not come up");
    }

    fn described(ip: IpAddr, name: &str, cluster: &str, scheme: &str) -> Self {
        let port = free_port(ip);
        let own = format!("{name}=");
        let peer = cluster.split(',').find_map(|one| one.strip_prefix(&own)).unwrap_or_default();
        let folder = std::env::temp_dir().join(format!("paas-test-etcd-{}", Uuid::new_v4()));
        let client = format!("{scheme}://{ip}:{port}");
        let data = folder.join("data").display().to_string();
        let arguments = [
            ["--name", name],
            ["--data-dir", &data],
            ["--listen-client-urls", &client],
            ["--advertise-client-urls", &client],
            ["--listen-peer-urls", peer],
            ["--initial-advertise-peer-urls", peer],
            ["--initial-cluster", cluster],
            ["--heartbeat-interval", "50"],
            ["--election-timeout", "500"],
        ];
        let arguments = arguments.into_iter().flatten().map(str::to_owned).collect();
        Self { process: None, folder, arguments, ip, port, starts: 0 }
    }

    /// Starts the process; whether it came up.
    async fn launch(&mut self) -> bool {
        self.starts += 1;
        fs::create_dir_all(&self.folder).expect("a folder can be made");
        let path = self.folder.join(format!("log-{}", self.starts));
        let log = fs::File::create(&path).expect("a file can be made");
        let mut command = Command::new(PROGRAM);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = self.process.insert(command.spawn().expect("etcd can be started"));
        let begun = Instant::now();
        while begun.elapsed() < TIMEOUT {
            if fs::read_to_string(&path).unwrap_or_default().contains(READY) {
                return true;
            }
            if process.try_wait().expect("a child can be waited for").is_some() {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        eprintln!("etcd says:\n{}", fs::read_to_string(&path).unwrap_or_default());
        self.kill();
        false
    }

    /// Host and port.
    pub fn host(&self) -> String {
        format!("{}:{}", self.ip, self.port)
    }

    /// The URL of the registry or the store in it.
    pub fn url(&self) -> String {
        format!("etcd://{}", self.host())
    }

    /// Ends it as an operator does.
    ///
    /// # Panics
    /// Where it does not end.
    pub async fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        signal("-TERM", process.id());
        let begun = Instant::now();
        while process.try_wait().expect("a child can be waited for").is_none() {
            assert!(begun.elapsed() < TIMEOUT, "etcd does not end");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it at once, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Fails only when it has ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it again, at the same place and with the data it had.
    ///
    /// # Panics
    /// Where it does not come up.
    pub async fn start_again(&mut self) {
        assert!(self.launch().await, "etcd does not come up again");
    }

    /// Takes its data away while it does not run, as a lost disk would.
    ///
    /// # Panics
    /// Where there is none.
    pub fn lose_data(&mut self) {
        assert!(self.process.is_none(), "it runs");
        fs::remove_dir_all(self.folder.join("data")).expect("there is data");
    }

    /// Stops it in the middle of whatever it does, and waits until nothing of it runs any more. Its connections stay open.
    ///
    /// # Panics
    /// Where it goes on.
    pub async fn pause(&self) {
        self.send("-STOP");
        if let Some(process) = &self.process {
            let begun = Instant::now();
            // The signal is sent before all threads heard of it, and one that runs may still answer.
            while !is_stopped(process.id()) {
                assert!(begun.elapsed() < TIMEOUT, "etcd does not stop");
                sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// Lets it go on after [`Etcd::pause`].
    pub fn resume(&self) {
        self.send("-CONT");
    }

    fn send(&self, name: &str) {
        if let Some(process) = &self.process {
            signal(name, process.id());
        }
    }

    /// A plain client, to look at it with other eyes than the backends'.
    ///
    /// # Panics
    /// Where it cannot be connected to.
    pub async fn client(&self) -> Client {
        Client::connect([self.host()], None).await.expect("etcd can be connected to")
    }

    /// Forgets everything that happened before now.
    ///
    /// # Panics
    /// Where it does not.
    pub async fn compact(&self) {
        let mut client = self.client().await;
        let present = client.get("/", None).await.expect("etcd answers");
        let revision = present.header().expect("an answer has a revision").revision();
        client.compact(revision, None).await.expect("etcd forgets");
    }

    /// From now on it asks for user and password: `root` may do everything, `user` what begins with `prefix`.
    ///
    /// # Panics
    /// Where it does not.
    pub async fn ask_for_passwords(&self, user: &str, password: &str, prefix: &str) {
        let client = self.client().await;
        let mut auth = client.auth_client();
        let all = etcd_client::Permission::new(PermissionType::Readwrite, prefix).with_prefix();
        auth.user_add("root", password, None).await.expect("a user can be added");
        auth.role_add("root").await.expect("a role can be added");
        auth.user_grant_role("root", "root").await.expect("a role can be granted");
        auth.user_add(user, password, None).await.expect("a user can be added");
        auth.role_add("paas").await.expect("a role can be added");
        auth.role_grant_permission("paas", all).await.expect("a permission can be granted");
        auth.user_grant_role(user, "paas").await.expect("a role can be granted");
        auth.auth_enable().await.expect("passwords can be asked for");
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
        // What stays lies among temporary files.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Why there can be no etcd to test with, if there can be none.
fn obstacle() -> Option<&'static str> {
    if tier::is_quick() {
        return Some(tier::LEFT_OUT);
    }
    (!is_installed()).then_some("this machine has no etcd")
}

fn is_installed() -> bool {
    Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

fn free_port(ip: IpAddr) -> u16 {
    let listener = TcpListener::bind((ip, 0)).expect("there is a free port");
    listener.local_addr().expect("a listener has an address").port()
}

/// Whether each thread of a process is stopped.
fn is_stopped(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("a process has threads");
    let mut states =
        threads.map(|thread| fs::read_to_string(thread.expect("a thread has a folder").path().join("stat")));
    // The state stands behind the name, which is in parentheses and may hold some itself. A thread that is gone is no danger.
    states.all(|stat| stat.ok().is_none_or(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))))
}

fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status().expect("there is a program 'kill'");
    assert!(sent.success(), "the signal is sent");
}
