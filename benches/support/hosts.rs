//! Docker hosts of paper: they speak as much of Docker's API as it takes to be watched, over TCP, in this process and not in
//! the server's, so that what the server needs can be measured by itself.

use std::fmt::Write;
use std::sync::Arc;

use anyhow::Result;
use paas_core::model::{ContainerSpec, LaunchId};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The longest head of a request.
const HEAD: usize = 16 << 10;

/// What a host answers, made once.
#[derive(Debug)]
struct Host {
    info: String,
    containers: String,
    images: String,
    stats: String,
}

/// Starts `count` hosts with `containers` running on each, all made by a platform. Gives them as `ID=ADDRESS`. They serve as
/// long as the runtime.
pub async fn start(count: usize, containers: usize) -> Result<Vec<String>> {
    let mut engines = Vec::with_capacity(count);
    for number in 0..count {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        engines.push(format!("paper-{number:05}=tcp://{}", listener.local_addr()?));
        let host = Arc::new(Host::new(number, containers));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, host.clone()));
            }
        });
    }
    Ok(engines)
}

impl Host {
    fn new(number: usize, containers: usize) -> Self {
        let size = [4_u64, 16, 64][number % 3];
        let info = json!({
            "ID": format!("paper-{number}"), "NCPU": size, "MemTotal": (size * 2048) << 20, "ServerVersion": "28.0.0",
            "SystemTime": "2026-01-01T00:00:00Z",
        });
        let images: Vec<_> = (0..10).map(image).collect();
        let containers: Vec<_> = (0..containers).map(|place| container(number, place)).collect();
        let stats = json!({
            "cpu_stats": {"cpu_usage": {"total_usage": 1_000_000}, "system_cpu_usage": 1_000_000, "online_cpus": size},
            "memory_stats": {"usage": 10 << 20, "limit": 1 << 30},
        });
        Self {
            info: info.to_string(),
            containers: json!(containers).to_string(),
            images: json!(images).to_string(),
            stats: stats.to_string(),
        }
    }
}

fn image(number: usize) -> serde_json::Value {
    json!({
        "Id": format!("sha256:{number:064x}"), "ParentId": "", "RepoTags": [format!("app-{number}:latest")],
        "RepoDigests": [], "Created": 1_767_225_600, "Size": 5_000_000, "SharedSize": -1, "Labels": {}, "Containers": -1,
    })
}

/// One of ten kinds, as Docker lists it.
fn container(host: usize, place: usize) -> serde_json::Value {
    let mut spec = ContainerSpec::new(format!("app-{}", place % 10).parse().unwrap());
    spec.environment.insert("GREETING".into(), "hello".into());
    spec.environment.insert("LANG".into(), "C".into());
    spec.bind_ports = vec!["tcp/::80".parse().unwrap()];
    let labels = json!({
        "paas.version": "1", "paas.platform": "paper", "paas.user": "admin", "paas.launch": LaunchId::new(),
        "paas.spec": serde_json::to_string(&spec).unwrap_or_default(),
    });
    // Ids are spread over all digits, as Docker's are.
    let mut id = String::new();
    let mut dice = super::decide::Dice::new((host as u64) << 32 | place as u64);
    while id.len() < 64 {
        let _ = write!(id, "{:08x}", dice.below(1 << 32));
    }
    json!({
        "Id": id, "Names": [format!("/app-{host}-{place}")], "Image": spec.name.as_str(),
        "ImageID": format!("sha256:{:064x}", place % 10), "Command": "serve", "Created": 1_767_225_600, "State": "running",
        "Status": "Up 2 hours", "Labels": labels, "HostConfig": {"NetworkMode": "bridge"}, "Mounts": [],
        "Ports": [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 32_768 + place, "Type": "tcp"}],
    })
}

/// Answers the requests of one connection, until the other side closes it.
async fn serve(mut stream: TcpStream, host: Arc<Host>) {
    let mut buffer = Vec::new();
    loop {
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(read) if read > 0 && buffer.len() < HEAD => buffer.extend_from_slice(&piece[..read]),
            _ => return,
        }
        if !buffer.ends_with(b"\r\n\r\n") {
            continue;
        }
        let head = String::from_utf8_lossy(&buffer).into_owned();
        buffer.clear();
        let path = head.split(' ').nth(1).unwrap_or_default();
        if path.contains("/events") {
            // Nothing ever happens.
            let open = "HTTP/1.1 200 OK\r\nApi-Version: 1.47\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
            if stream.write_all(open.as_bytes()).await.is_err() {
                return;
            }
            continue;
        }
        let body = match path {
            path if path.contains("/info") => &host.info,
            path if path.contains("/images/json") => &host.images,
            path if path.contains("/containers/json") => &host.containers,
            path if path.contains("/stats") => &host.stats,
            _ => "OK",
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nApi-Version: 1.47\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await.is_err() {
            return;
        }
    }
}
