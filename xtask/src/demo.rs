//! `cargo xtask demo`: the platform at work, from nothing to a web application.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{docker, packages, shell};

const IMAGE: &str = "paas-demo-web:1";
const NEXT_IMAGE: &str = "paas-demo-web:2";
const SERVER: &str = "paas-server";
const ADDRESS: &str = "127.0.0.1:5002";
const PASSWORD: &str = "demo-password";

/// Where the demo keeps its database, its token, its logs and what it started.
fn state() -> PathBuf {
    shell::target().join("demo")
}

fn program(name: &str) -> PathBuf {
    shell::target().join("debug").join(name)
}

/// Shows everything once, and leaves the platform running.
pub(crate) fn run(simulated: bool) -> Result<()> {
    stop_quietly()?;
    packages::ensure(&[packages::BUILD])?;
    println!("Building the server and the command line …");
    let mut build = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    build.args(["build", "--quiet", "-p", "paas-server", "-p", "paas-cli"]).current_dir(shell::root());
    shell::run(&mut build)?;
    fs::create_dir_all(state())?;
    let simulated = simulated || !has_docker();
    let image = if simulated { "demo-web:1" } else { IMAGE };
    if !simulated {
        docker::make_web_image(IMAGE, &state())?;
        docker::make_web_image(NEXT_IMAGE, &state())?;
    }
    start_server(simulated)?;
    match tour(image, simulated) {
        Ok(()) => {}
        Err(error) => {
            eprintln!("\nThe server's log is {}.", state().join("server.log").display());
            stop_quietly()?;
            return Err(error);
        }
    }
    say_how_to_go_on(simulated);
    Ok(())
}

/// Whether there is a Docker to show it with; says why when there is not.
fn has_docker() -> bool {
    match docker::ensure(&state()) {
        Ok(()) => true,
        Err(error) => {
            println!(
                "\nThere is no Docker here: {error:#}\nHere is the same on a SIMULATED engine. Nothing really runs.\n"
            );
            false
        }
    }
}

fn start_server(simulated: bool) -> Result<()> {
    let engine = if simulated { "local=sim://local?cpus=4&memory=8192" } else { "local=unix:///var/run/docker.sock" };
    println!("\n$ paas-server --listen {ADDRESS} --engine '{engine}'");
    let mut server = Command::new(program(SERVER));
    server.args(["--listen", ADDRESS, "--engine", engine, "--data-dir"]).arg(state().join("data"));
    server.env("PAAS_ADMIN_PASSWORD", PASSWORD).current_dir(state());
    let log = state().join("server.log");
    let pid = shell::start(&mut server, &log)?;
    fs::write(state().join("server.pid"), pid.to_string())?;
    let healthy = || shell::page(ADDRESS, "/healthz").is_ok();
    let up = shell::wait_until(Duration::from_secs(20), || healthy() || !shell::is_running(pid, SERVER));
    if !up || !shell::is_running(pid, SERVER) {
        let said = fs::read_to_string(&log).unwrap_or_default();
        stop_quietly()?;
        bail!("the server does not come up; it says:\n{said}");
    }
    Ok(())
}

fn tour(image: &str, simulated: bool) -> Result<()> {
    shown(&["login", "--url", &format!("http://{ADDRESS}"), "--name", "admin"])?;
    shown(&["engines"])?;
    shown(&["run", "--name", image, "--count", "3", "--port", "tcp/::80", "--memory", "32"])?;
    let first = ids()?.into_iter().next().context("nothing runs")?;
    shown(&["scale", &first[..12], "5"])?;
    shown(&["containers"])?;
    if !simulated {
        println!("\nA page from each of them:");
        for port in ports()? {
            let address = format!("127.0.0.1:{port}");
            let mut page = None;
            shell::wait_until(Duration::from_secs(10), || {
                page = shell::page(&address, "/").ok();
                page.is_some()
            });
            let page = page.with_context(|| format!("http://{address}/ does not answer"))?;
            println!("  http://{address}/  {page}");
        }
    }
    shown(&["clusterinfo"])?;
    shown(&["events", "8"])?;
    declare(image, simulated)
}

/// The same as something that is declared, and stays so.
fn declare(image: &str, simulated: bool) -> Result<()> {
    let file = format!(
        "app = \"demo\"\n\n[component.web]\nimage = \"{image}\"\nreplicas = 2\nport = 80\nmemory = 32\nhealth = {{ http = \"/\" }}\n\
         stop = {{ grace = \"2s\" }}\nupdate = {{ monitor = \"2s\", drain = \"1s\" }}\n\n[component.worker]\nimage = \"{image}\"\n\
         memory = 32\nstop = {{ grace = \"2s\" }}\ndepends_on = [\"web\"]\n"
    );
    fs::write(state().join("paas.toml"), &file)?;
    println!("\nThe same, declared in a file: {}\n\n{file}", state().join("paas.toml").display());
    shown(&["deploy", "--yes"])?;
    let replica = replicas()?.into_iter().next().context("the application has no containers")?;
    println!("\nOne of its containers is destroyed, and comes back:");
    shown(&["destroy", &replica[..12]])?;
    wait_until_ready(3)?;
    shown(&["app", "show", "demo"])?;
    let next = if simulated { "demo-web:2" } else { NEXT_IMAGE };
    shown(&["deploy", "--yes", "--image", &format!("web={next}")])?;
    println!("\nA version that cannot run goes back by itself:");
    let broken = match simulated {
        true => "image = \"missing:3\"".to_owned(),
        false => format!("image = \"{next}\"\ncommand = [\"/bin/sh\", \"-c\", \"echo I cannot run; exit 1\"]"),
    };
    fs::write(state().join("broken.toml"), format!("[component.web]\n{broken}\n"))?;
    let refused = ["deploy", "--yes", "-f", "paas.toml", "-f", "broken.toml"];
    println!("\n$ paas-cli {}", refused.join(" "));
    if cli(&refused).status()?.success() {
        bail!("a version that cannot run was rolled out");
    }
    shown(&["app", "history", "demo"])
}

/// The ids of the containers of the application.
fn replicas() -> Result<Vec<String>> {
    let app: serde_json::Value =
        serde_json::from_str(&shell::output(&mut cli(&["app", "show", "demo", "--output", "json"]))?)?;
    let components = app["component"].as_object().context("it has no components")?;
    let all = components.values().flat_map(|component| component["replicas"].as_array().into_iter().flatten());
    Ok(all.filter_map(|replica| Some(replica["container"].as_str()?.to_owned())).collect())
}

fn wait_until_ready(count: u64) -> Result<()> {
    let is_ready = || {
        let shown = shell::output(&mut cli(&["app", "show", "demo", "--output", "json"])).unwrap_or_default();
        serde_json::from_str::<serde_json::Value>(&shown).is_ok_and(|app| app["ready"] == count)
    };
    // It has to be missed first.
    shell::wait_until(Duration::from_secs(3), || !is_ready());
    if !shell::wait_until(Duration::from_secs(60), is_ready) {
        bail!("the application does not come back");
    }
    Ok(())
}

fn cli(arguments: &[&str]) -> Command {
    let mut command = Command::new(program("paas-cli"));
    command.args(arguments).env("PAAS_CONFIG_DIR", state()).env("PAAS_PASSWORD", PASSWORD);
    command.env_remove("PAAS_TOKEN").env_remove("PAAS_URL").stdin(Stdio::null()).current_dir(state());
    command
}

/// Runs a command of the command line as a person would, and shows it.
fn shown(arguments: &[&str]) -> Result<()> {
    println!("\n$ paas-cli {}", arguments.join(" "));
    shell::run(&mut cli(arguments))
}

fn ids() -> Result<Vec<String>> {
    let ours: Vec<serde_json::Value> = ours()?;
    Ok(ours.iter().filter_map(|container| Some(container["id"].as_str()?.to_owned())).collect())
}

fn ports() -> Result<Vec<u64>> {
    Ok(ours()?.iter().filter_map(|container| container["ports"][0]["port"].as_u64()).collect())
}

/// The containers that the demo started.
fn ours() -> Result<Vec<serde_json::Value>> {
    let text = shell::output(&mut cli(&["containers", "--output", "json"]))?;
    let containers: Vec<serde_json::Value> = serde_json::from_str(&text)?;
    let is_ours = |container: &serde_json::Value| {
        container["managed"] == true
            && container["image"]["name"].as_str().is_some_and(|name| name.contains("demo-web"))
    };
    Ok(containers.into_iter().filter(is_ours).collect())
}

fn say_how_to_go_on(simulated: bool) {
    let what = if simulated { " It SIMULATES: nothing really runs." } else { "" };
    println!(
        "\nThe platform is running at http://{ADDRESS}/ with its data in {}.{what}",
        state().join("data").display()
    );
    println!("\nGo on with:");
    println!("  export PATH={}:$PATH PAAS_CONFIG_DIR={}", program("").display(), state().display());
    println!("  paas-cli app show demo");
    println!("  paas-cli containers");
    println!("  paas-cli --help");
    println!("The account is admin with the password {PASSWORD}.");
    println!("\nStop it, and remove what it started, with:\n  cargo xtask demo --stop");
}

/// Stops everything that a demo left running.
pub(crate) fn stop() -> Result<()> {
    if !state().exists() {
        println!("There is nothing to stop.");
        return Ok(());
    }
    stop_quietly()?;
    println!("Stopped the demo and removed what it started.");
    Ok(())
}

fn stop_quietly() -> Result<()> {
    if !state().exists() {
        return Ok(());
    }
    let pid = fs::read_to_string(state().join("server.pid")).ok().and_then(|text| text.trim().parse().ok());
    if let Some(pid) = pid
        && shell::is_running(pid, SERVER)
    {
        remove_application();
        let ids = ids().unwrap_or_default();
        if !ids.is_empty() {
            let mut arguments = vec!["destroy", "--quiet"];
            arguments.extend(ids.iter().map(String::as_str));
            shell::output(&mut cli(&arguments)).context("the containers of the demo cannot be destroyed")?;
        }
        shell::end(pid, SERVER, Duration::from_secs(30));
    } else {
        remove_containers_of_a_dead_server();
    }
    docker::stop(&state());
    fs::remove_dir_all(state()).context("the data of the demo cannot be removed")
}

/// The application makes its containers again as long as it is there.
fn remove_application() {
    if shell::output(&mut cli(&["app", "destroy", "demo", "--yes"])).is_ok() {
        shell::wait_until(Duration::from_secs(30), || shell::output(&mut cli(&["app", "show", "demo"])).is_err());
    }
}

/// A server that was killed cannot remove its containers any more; Docker itself can.
fn remove_containers_of_a_dead_server() {
    if !docker::answers() || !shell::has("docker") {
        return;
    }
    let mut list = Command::new("docker");
    let (one, other) = (format!("ancestor={IMAGE}"), format!("ancestor={NEXT_IMAGE}"));
    list.args(["ps", "-aq", "--filter", &one, "--filter", &other, "--filter", "label=paas.version"]);
    let ids = shell::output(&mut list).unwrap_or_default();
    let ids: Vec<&str> = ids.split_whitespace().collect();
    if ids.is_empty() {
        return;
    }
    let mut remove = Command::new("docker");
    remove.args(["rm", "-f"]).args(ids).stdout(Stdio::null());
    if let Err(error) = shell::run(&mut remove) {
        eprintln!("some containers of the demo stay: {error:#}");
    }
}
