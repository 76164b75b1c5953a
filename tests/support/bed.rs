//! Several real hosts: the bed, with an image on every host, and what is really there by the daemons' own account.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bollard::query_parameters::ListContainersOptionsBuilder;
use paas_core::model::EngineAddress;
use paas_core::testing::docker;
use serde_json::{Value, json};
use xtask::bed::{Bed, Hosts};

use super::{Api, Server, eventually, program};

pub(crate) use paas_core::testing::docker::WEB_IMAGE as IMAGE;

/// How long hosts and containers may take to come to rest after a fault: a dockerd that was killed takes most of it.
pub(crate) const CALM: Duration = Duration::from_secs(60);

/// A bed of these hosts with [`IMAGE`] on each, or a loud skip.
pub(crate) async fn up(test: &str, hosts: Hosts) -> Option<Bed> {
    if let Some(obstacle) = Bed::obstacle() {
        docker::skip(test, &obstacle);
        return None;
    }
    let made = tokio::task::spawn_blocking(move || {
        let bed = Bed::up(&hosts).unwrap();
        give_image(&bed);
        bed
    });
    Some(made.await.unwrap())
}

/// Makes the image on the first host and gives it to the others, so that it is the same everywhere.
fn give_image(bed: &Bed) {
    static ARCHIVE: OnceLock<tempfile::NamedTempFile> = OnceLock::new();
    let archive = ARCHIVE.get_or_init(|| {
        let files = tempfile::NamedTempFile::new().unwrap();
        fs::write(files.path(), docker::web_files()).unwrap();
        let mut import = bed.docker(1);
        import.args([
            "import",
            "-c",
            r#"CMD ["/bin/httpd","-f","-p","80","-h","/www"]"#,
            "-c",
            "EXPOSE 80",
            "-",
            IMAGE,
        ]);
        import.stdin(files.reopen().unwrap()).stdout(Stdio::null());
        assert!(import.status().unwrap().success());
        let archive = tempfile::NamedTempFile::new().unwrap();
        let mut save = bed.docker(1);
        assert!(save.args(["save", IMAGE]).stdout(archive.reopen().unwrap()).status().unwrap().success());
        archive
    });
    bed.load(archive.path()).unwrap();
}

/// The id of a host's engine.
pub(crate) fn id(host: usize) -> String {
    format!("bed{host}")
}

/// The engines of the first hosts, as a server is told of them.
pub(crate) fn engines(bed: &Bed, count: usize) -> Vec<String> {
    (1..=count).map(|host| format!("{}={}", id(host), bed.address(host).unwrap())).collect()
}

/// A server that knows the first hosts by hand, and its client, once they are all up.
pub(crate) async fn serve(bed: &Bed, count: usize) -> (Server, Api) {
    let engines = engines(bed, count);
    let server = Server::start(&engines.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let api = server.admin().await;
    for host in 1..=count {
        until(&api, host, "up").await;
    }
    (server, api)
}

/// A description of a container that does nothing, promptly. Told to end, it ends.
pub(crate) fn idle() -> Value {
    json!({"name": IMAGE, "args": ["sh", "-c", "trap 'exit 0' TERM; sleep 100000 & wait"], "memory": 16, "cpus": 0.05})
}

pub(crate) async fn status(api: &Api, host: usize) -> String {
    let engine = api.get(&format!("/api/engines/{}", id(host))).await.body;
    engine["health"]["status"].as_str().unwrap_or_default().to_owned()
}

/// Waits until a host's engine is so; how long that took.
pub(crate) async fn until(api: &Api, host: usize, wanted: &str) -> Duration {
    let begun = Instant::now();
    let reached = eventually(CALM, || async { status(api, host).await == wanted }).await;
    assert!(reached, "{} is not {wanted}: {:#}", id(host), api.get("/api/engines").await.body);
    begun.elapsed()
}

/// What is on a host by its daemon's own account: state by id. Works while the host is cut off.
pub(crate) async fn really_on(bed: &Bed, host: usize) -> Result<BTreeMap<String, String>, String> {
    let address: EngineAddress = format!("unix://{}", bed.socket(host).display()).parse().unwrap();
    let client = bollard::Docker::connect_with_host(&address.to_string()).unwrap();
    let client = client.negotiate_version().await.map_err(|error| error.to_string())?;
    let options = ListContainersOptionsBuilder::new().all(true).build();
    let all = client.list_containers(Some(options)).await.map_err(|error| error.to_string())?;
    let state = |container: &bollard::models::ContainerSummary| {
        container.state.map(|state| state.to_string()).unwrap_or_default()
    };
    Ok(all.into_iter().map(|container| (container.id.clone().unwrap(), state(&container))).collect())
}

/// How many containers run on each of the first hosts, by the daemons' own account.
pub(crate) async fn running(bed: &Bed, count: usize) -> Vec<usize> {
    let mut running = Vec::new();
    for host in 1..=count {
        running.push(really_on(bed, host).await.unwrap().values().filter(|state| *state == "running").count());
    }
    running
}

/// Compares what the platform says with what the daemons say: which containers there are and which of them run, what each
/// engine has reserved, and that no engine has reserved more than it has. Says what is not so.
pub(crate) async fn compare(bed: &Bed, api: &Api, hosts: &[usize]) -> Result<(), String> {
    let listed = api.get("/api/containers?all=true").await.body;
    let listed = listed.as_array().unwrap();
    for &host in hosts {
        let name = id(host);
        let engine = api.get(&format!("/api/engines/{name}")).await.body;
        if engine["health"]["status"] != "up" {
            return Err(format!("{name} is not up: {engine}"));
        }
        let on_it = listed.iter().filter(|container| container["engine"]["id"] == json!(name));
        let (mut said, mut memory, mut cpus) = (BTreeMap::new(), 0, 0.0);
        for container in on_it {
            let runs = container["state"] == "running";
            said.insert(container["id"].as_str().unwrap().to_owned(), runs);
            if runs {
                memory += container["image"]["memory"].as_u64().unwrap();
                cpus += container["image"]["cpus"].as_f64().unwrap();
            }
        }
        let there = really_on(bed, host).await?.into_iter().map(|(id, state)| (id, state == "running"));
        let there: BTreeMap<String, bool> = there.collect();
        if said != there {
            return Err(format!("{name}: listed {said:#?}, there are {there:#?}"));
        }
        let number = |field: &str| engine[field].as_f64().unwrap();
        if number("reserved_memory") as u64 != memory || (number("reserved_cpus") - cpus).abs() > 1e-6 {
            return Err(format!("{name}: {cpus} CPUs and {memory} MB run: {engine:#}"));
        }
        if number("reserved_memory") > number("memory") || number("reserved_cpus") > number("cpus") {
            return Err(format!("{name} is overbooked: {engine:#}"));
        }
        if engine["containers"] != json!(there.len()) {
            return Err(format!("{name} has {} containers: {engine:#}", there.len()));
        }
    }
    Ok(())
}

/// Waits until [`compare`] finds nothing; how long that took.
pub(crate) async fn until_true(bed: &Bed, api: &Api, hosts: &[usize]) -> Duration {
    let begun = Instant::now();
    loop {
        match compare(bed, api, hosts).await {
            Ok(()) => return begun.elapsed(),
            Err(difference) if begun.elapsed() > CALM => {
                let events = api.get("/api/events?count=60").await.body;
                let events: Vec<&str> =
                    events.as_array().unwrap().iter().filter_map(|event| event["message"].as_str()).collect();
                panic!("the platform and the daemons do not agree: {difference}\nthe latest events: {events:#?}");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Starts the agent of a host, on the host. It registers with the server.
pub(crate) fn start_agent(bed: &Bed, host: usize, server: &Server, token: &str) -> Child {
    let file = server.folder.path().join("join-token");
    fs::write(&file, token).unwrap();
    agent(bed, host, server, &["--server", &server.url, "--join-token-file", &file.display().to_string()])
}

/// Starts an agent with these arguments on a host. What it says lies beside the log of the server.
pub(crate) fn agent(bed: &Bed, host: usize, server: &Server, arguments: &[&str]) -> Child {
    let log = server.folder.path().join(format!("agent-{host}.log"));
    let log = fs::File::options().create(true).append(true).open(log).unwrap();
    let mut command = bed.command(host, &program("paas-server")).unwrap();
    command.arg("agent").args(arguments).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap()
}

/// The process on the host. The one that was started on this machine only took it there, and ends when it does.
pub(crate) fn inner(child: &Child) -> u32 {
    let id = child.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    children.trim().parse().unwrap()
}

pub(crate) async fn join_token(api: &Api) -> String {
    api.post("/api/join-tokens", Value::Null).await.body["token"].as_str().unwrap().to_owned()
}
