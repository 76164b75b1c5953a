//! The network of the bed: a switch that every host and the machine itself are plugged in to.
//!
//! The switch is in a network namespace of its own. In the machine's, a dockerd that runs there would drop what the hosts
//! say to each other.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::shell;

/// The machine's end of its cable.
const MACHINE_LINK: &str = "paas-bed";
/// The address of the machine itself.
pub(super) const MACHINE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// The address of a host; hosts are counted from 1.
pub(super) fn address(host: usize) -> Ipv4Addr {
    let last = u8::try_from(host + 1).unwrap_or(u8::MAX);
    let [a, b, c, _] = MACHINE.octets();
    Ipv4Addr::new(a, b, c, last)
}

/// Refuses a machine on which something else has the addresses of the bed.
pub(super) fn is_free() -> Result<()> {
    let links = shell::output(Command::new("ip").args(["-o", "-4", "addr", "show", "to", "10.77.0.0/24"]))?;
    let taken = links.lines().find_map(|line| line.split_whitespace().nth(1)).filter(|&link| link != MACHINE_LINK);
    if let Some(link) = taken {
        bail!("the addresses of the bed, 10.77.0.0/24, are taken by {link} on this machine");
    }
    Ok(())
}

/// Plugs the machine in to the switch that a process holds.
pub(super) fn plug_machine(switch: u32) -> Result<()> {
    if has_address(None, MACHINE_LINK, MACHINE)? {
        return Ok(());
    }
    let _ = unplug_machine();
    batch(
        Some(switch),
        "link set lo up\n\
         link add br0 type bridge forward_delay 0\n\
         link set br0 up\n",
    )?;
    batch(
        None,
        &format!(
            "link add {MACHINE_LINK} type veth peer name machine netns {switch}\n\
             addr add {MACHINE}/24 dev {MACHINE_LINK}\n\
             link set {MACHINE_LINK} up\n"
        ),
    )?;
    batch(Some(switch), "link set machine master br0 up\n")
}

/// Pulls the machine's cable; false when there is none.
pub(super) fn unplug_machine() -> bool {
    delete(None, MACHINE_LINK)
}

/// Plugs a host in.
pub(super) fn plug(switch: u32, host: usize, holder: u32) -> Result<()> {
    if has_address(Some(holder), "eth0", address(host))? {
        return Ok(());
    }
    unplug(switch, host);
    let (cable, address) = (cable(host), address(host));
    // The same after every crash: the others remember who had the address, and would talk to nobody for a while.
    let hardware = format!("02:00:0a:4d:00:{:02x}", address.octets()[3]);
    let link = format!("link add {cable} type veth peer name eth0 address {hardware} netns {holder}\n");
    batch(Some(switch), &link)?;
    batch(Some(holder), &format!("link set lo up\naddr add {address}/24 dev eth0\nlink set eth0 up\n"))?;
    batch(Some(switch), &format!("link set {cable} master br0 up\n"))
}

/// Pulls the cable of a host out for good: nothing that the host still says arrives.
pub(super) fn unplug(switch: u32, host: usize) -> bool {
    delete(Some(switch), &cable(host))
}

/// Interrupts the cable of a host, or mends it.
pub(super) fn set_cable(switch: u32, host: usize, whole: bool) -> Result<()> {
    let state = if whole { "up" } else { "down" };
    batch(Some(switch), &format!("link set {} {state}\n", cable(host)))
}

/// Whether what a host says arrives.
pub(super) fn is_connected(switch: u32, host: usize) -> bool {
    let mut show = ip(Some(switch));
    show.args(["-o", "link", "show", &cable(host)]).stderr(Stdio::null());
    show.output().is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("state UP"))
}

fn cable(host: usize) -> String {
    format!("host{host}")
}

/// `ip`, in the network of the process that holds it, or in the machine's.
fn ip(holder: Option<u32>) -> Command {
    let Some(pid) = holder else { return Command::new("ip") };
    let mut command = Command::new("nsenter");
    command.args(["--target", &pid.to_string(), "--net", "ip"]);
    command
}

fn has_address(holder: Option<u32>, link: &str, address: Ipv4Addr) -> Result<bool> {
    let mut show = ip(holder);
    show.args(["-o", "-4", "addr", "show", "dev", link]).stderr(Stdio::null());
    let output = show.output().context("ip cannot be run")?;
    Ok(String::from_utf8_lossy(&output.stdout).contains(&format!(" {address}/")))
}

fn delete(holder: Option<u32>, link: &str) -> bool {
    let mut delete = ip(holder);
    delete.args(["link", "del", link]).stdout(Stdio::null()).stderr(Stdio::null());
    delete.status().is_ok_and(|status| status.success())
}

fn batch(holder: Option<u32>, lines: &str) -> Result<()> {
    let mut command = ip(holder);
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().context("ip cannot be run")?;
    child.stdin.take().context("ip takes no input")?.write_all(lines.as_bytes())?;
    let status = child.wait()?;
    if !status.success() {
        bail!(
            "the network of the bed cannot be set up: ip failed at one of these: {}",
            lines.trim().replace('\n', "; ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn hosts_come_after_the_machine() {
        assert_eq!(address(1).to_string(), "10.77.0.2");
        assert_eq!(address(250).to_string(), "10.77.0.251");
    }
}
