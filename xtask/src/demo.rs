//! `cargo xtask demo`: the first five minutes of the README, on this machine.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{docker, packages, shell};

/// What is told, and what is then typed in `examples/demo`. The README's five minutes have the same lines.
const TOUR: [(&str, &[&str]); 6] = [
    ("The Docker of this machine is a host of the platform:", &[LOGIN, "paas-cli engines"]),
    (
        "A file declares an application of two components, and the platform makes it so:",
        &["cat paas.toml", "paas-cli deploy", "paas-cli app logs demo/visitor --tail 4"],
    ),
    (
        "Somebody kills a container behind the platform's back. It is missed at once:",
        &["docker kill demo.web.1.1", "paas-cli app show demo"],
    ),
    ("A moment later it is back:", &["paas-cli app show demo", "paas-cli events 6"]),
    (
        "Version 2 takes the place of version 1, one container after the other, each once it answers:",
        &["paas-cli deploy --yes --image web=paas-demo-web:2", "paas-cli app logs demo/visitor --tail 4"],
    ),
    ("Version 3 cannot run. It goes back by itself, and says why:", &[BROKEN, "paas-cli app history demo"]),
];
const LOGIN: &str = "paas-cli login --url http://127.0.0.1:5002 --name admin";
/// Ends with status 1.
const BROKEN: &str = "paas-cli deploy --yes --image web=paas-demo-web:3";
/// The same where there are no programs that could fail: an image that its registry lists and nobody gets.
const BROKEN_SIMULATED: &str = "paas-cli deploy --yes --image web=withdrawn:3";

/// The versions of the example's image, and what each runs.
const IMAGES: [(&str, &str); 3] = [
    ("paas-demo-web:1", "echo \"Hello from $(hostname)\" > /www/index.html; httpd -f -p 80 -h /www & wait"),
    (
        "paas-demo-web:2",
        "echo \"Version 2 says hello from $(hostname)\" > /www/index.html; httpd -f -p 80 -h /www & wait",
    ),
    ("paas-demo-web:3", "echo 'cannot read /etc/web.conf: no such file'; exit 1"),
];

const SERVER: &str = "paas-server";
const ADDRESS: &str = "127.0.0.1:5002";
const PASSWORD: &str = "demo-password";

/// Where the demo keeps its database, its token, its logs and what it started.
fn state() -> PathBuf {
    shell::target().join("demo")
}

fn programs() -> PathBuf {
    shell::target().join("debug")
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
    if !simulated {
        for (image, program) in IMAGES {
            docker::make_web_image(image, program, &state())?;
        }
    }
    let begun = Instant::now();
    start_server(simulated)?;
    if let Err(error) = tour(simulated) {
        eprintln!("\nThe server's log was:\n{}", shell::last_lines(&state().join("server.log"), 20));
        stop_quietly()?;
        return Err(error);
    }
    println!("\nThat took {} seconds.", begun.elapsed().as_secs());
    say_how_to_go_on(simulated);
    Ok(())
}

/// Whether there is a Docker to show it with; says why when there is not.
fn has_docker() -> bool {
    match docker::ensure(&state()) {
        Ok(()) => true,
        Err(error) => {
            println!(
                "\nThere is no Docker here: {error:#}\nHere is the same on a SIMULATED host. Nothing really runs.\n"
            );
            false
        }
    }
}

/// What makes a shell one in which the commands of the README can be typed.
fn surroundings() -> String {
    let (programs, state) = (programs(), state());
    format!(
        "export PATH={}:$PATH PAAS_CONFIG_DIR={}\nexport PAAS_ADMIN_PASSWORD={PASSWORD} PAAS_PASSWORD={PASSWORD}\n\
         cd {}",
        programs.display(),
        state.display(),
        shell::root().join("examples/demo").display()
    )
}

/// A shell with these surroundings that runs one line.
fn typed(line: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{}\n{line}", surroundings())]).env_remove("PAAS_TOKEN").env_remove("PAAS_URL");
    shell.stdin(Stdio::null());
    shell
}

fn start_server(simulated: bool) -> Result<()> {
    let engine = if simulated { " --engine 'local=sim://local?cpus=4&memory=8192'" } else { "" };
    let line = format!("paas-server --data-dir $PAAS_CONFIG_DIR/data{engine}");
    println!("\n$ {}\n$ {line} > $PAAS_CONFIG_DIR/server.log 2>&1 &", surroundings().replace('\n', "\n$ "));
    let log = state().join("server.log");
    let pid = shell::start(&mut typed(&format!("exec {line}")), &log)?;
    fs::write(state().join("server.pid"), pid.to_string())?;
    let healthy = || shell::page(ADDRESS, "/healthz").is_ok();
    let up = shell::wait_until(Duration::from_secs(20), || healthy() || shell::program(pid).is_empty());
    if !up || !shell::is_running(pid, SERVER) {
        let said = fs::read_to_string(&log).unwrap_or_default();
        stop_quietly()?;
        bail!("the server does not come up; it says:\n{said}");
    }
    Ok(())
}

fn tour(simulated: bool) -> Result<()> {
    for (told, lines) in TOUR {
        if shell::quietly(&mut typed("paas-cli app show demo")).is_ok()
            && !shell::wait_until(Duration::from_secs(60), is_ready)
        {
            bail!("the application does not come back");
        }
        println!("\n# {told}");
        for line in lines {
            show(line, simulated)?;
        }
    }
    Ok(())
}

fn show(line: &str, simulated: bool) -> Result<()> {
    let is_broken = line == BROKEN;
    let line = match simulated {
        true => line.replace("docker kill", "paas-cli destroy").replace(BROKEN, BROKEN_SIMULATED),
        false => line.to_owned(),
    };
    println!("\n$ {line}");
    let status = typed(&line).status()?;
    if status.success() == is_broken {
        bail!("that ended with {status}");
    }
    if line.ends_with(".1.1") {
        shell::wait_until(Duration::from_secs(2), || !is_ready());
    }
    Ok(())
}

/// Whether all replicas of the application are.
fn is_ready() -> bool {
    let shown = shell::output(&mut typed("paas-cli app show demo --output json")).unwrap_or_default();
    serde_json::from_str::<Value>(&shown).is_ok_and(|app| app["ready"] == app["replicas"])
}

fn say_how_to_go_on(simulated: bool) {
    let what = if simulated { " It SIMULATES: nothing really runs." } else { "" };
    println!("\nThe platform goes on running at http://{ADDRESS}/.{what} To go on by hand:\n");
    println!("{}", surroundings());
    println!("paas-cli app rollback demo");
    println!("paas-cli --help");
    println!("\nTo stop it, and remove what it started:\n\ncargo xtask demo --stop");
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
        let mut rest = typed("paas-cli containers --managed --all --quiet | paas-cli destroy -");
        shell::quietly(&mut rest).context("the containers of the demo cannot be destroyed")?;
        shell::end(pid, SERVER, Duration::from_secs(30));
    }
    if docker::answers() && shell::has("docker") {
        remove_from_docker();
    }
    docker::stop(&state());
    fs::remove_dir_all(state()).context("the data of the demo cannot be removed")
}

/// The application makes its containers again as long as it is there.
fn remove_application() {
    if shell::quietly(&mut typed("paas-cli app destroy demo --yes")).is_ok() {
        shell::wait_until(Duration::from_secs(30), || shell::quietly(&mut typed("paas-cli app show demo")).is_err());
    }
}

/// The images, and what a server left that was killed: it cannot remove that any more.
fn remove_from_docker() {
    let images = IMAGES.map(|(image, _)| image);
    let ancestors = images.map(|image| format!("--filter ancestor={image}")).join(" ");
    let line = format!(
        "docker ps -aq {ancestors} --filter label=paas.version | xargs -r docker rm -f; docker network rm paas-demo; docker rmi {}",
        images.join(" ")
    );
    // What is not there cannot be removed; what stays is in nobody's way.
    let _ = shell::quietly(&mut typed(&line));
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn the_readme_shows_what_the_demo_does() {
        let readme = include_str!("../../README.md");
        let (_, section) = readme.split_once("\n## Five minutes\n").unwrap();
        let section = section.split("\n## ").next().unwrap();
        let (_, section) = section.split_once(" &\n").unwrap();
        let lines: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
        assert_eq!(lines, TOUR.map(|(_, lines)| lines).concat());
    }
}
