//! The keys of a service that have no counterpart, and what to do instead.

/// What becomes of a key that is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The application works without it.
    Noted,
    /// Something would be missing.
    Refused,
}

use Fate::{Noted, Refused};

/// Each key, what becomes of it, and why.
pub(super) const KEYS: &[(&str, Fate, &str)] = &[
    ("annotations", Noted, "containers have labels here, and no annotations"),
    ("attach", Noted, "nothing is attached to; 'app logs --follow' shows the output"),
    ("blkio_config", Refused, "input and output of disks are not limited"),
    ("cgroup", Refused, "the control group is Docker's own choice"),
    ("cgroup_parent", Refused, "the control group is Docker's own choice"),
    ("container_name", Noted, "containers are named APP.COMPONENT.SLOT.GENERATION"),
    ("cpu_count", Refused, "write cpus"),
    ("cpu_percent", Refused, "write cpus"),
    ("cpu_period", Refused, "write cpus"),
    ("cpu_quota", Refused, "write cpus"),
    ("cpu_rt_period", Refused, "real-time scheduling is not passed on"),
    ("cpu_rt_runtime", Refused, "real-time scheduling is not passed on"),
    ("cpu_shares", Refused, "write cpus"),
    ("credential_spec", Refused, "is for Windows"),
    ("develop", Noted, "is for development; a change is deployed with another image"),
    ("device_cgroup_rules", Refused, "write devices"),
    ("dns", Refused, "name servers are those of the host"),
    ("dns_opt", Refused, "name servers are those of the host"),
    ("dns_search", Refused, "name servers are those of the host"),
    ("domainname", Refused, "write the whole name in hostname"),
    ("extends", Refused, "copy what is extended into this service, or use an anchor and a merge key (<<: *name)"),
    ("external_links", Refused, "write uses: [\"APP/COMPONENT:PORT\"] under x-paas, and allow over there"),
    ("gpus", Refused, "GPUs are not passed on; write devices and a label in deploy.placement"),
    ("group_add", Refused, "write user: \"UID:GID\""),
    ("ipc", Refused, "each container has IPC of its own; shm_size says how large /dev/shm is"),
    ("isolation", Refused, "is for Windows"),
    ("label_file", Refused, "write labels"),
    (
        "links",
        Refused,
        "write depends_on, or uses: [\"COMPONENT:PORT\"] under x-paas; the name is that of the component",
    ),
    ("mac_address", Refused, "addresses are given by Docker"),
    ("mem_swappiness", Refused, "a container has no swap beyond its memory"),
    ("memswap_limit", Refused, "a container has no swap beyond its memory"),
    ("models", Refused, "run the model as a service of its own"),
    ("oom_kill_disable", Refused, "a container that needs more than its memory ends"),
    ("oom_score_adj", Refused, "a container that needs more than its memory ends"),
    ("pid", Refused, "each container has processes of its own"),
    ("platform", Refused, "use an image for the platform of the hosts, or a label in deploy.placement"),
    ("post_start", Refused, "do it in the image's entry point, or write before: {command: […]} under x-paas"),
    ("pre_stop", Refused, "do it where the program gets stop_signal"),
    ("privileged", Refused, "write the capabilities it needs in cap_add, and devices"),
    ("provider", Refused, "what is outside of the platform is not made by it"),
    ("pull_policy", Noted, "a tag is looked up when the image's text changed, or with --refresh-images"),
    ("runtime", Refused, "containers run with the host's own runtime"),
    ("security_opt", Refused, "security options are not passed on; cap_drop and read_only are"),
    ("stdin_open", Noted, "nothing is attached to"),
    ("storage_opt", Refused, "the size of a container's file system is not limited"),
    ("tty", Noted, "nothing is attached to"),
    ("use_api_socket", Refused, "the socket of Docker is not given to components"),
    ("userns_mode", Refused, "users are those of the host's own setting"),
    ("uts", Refused, "each container has a host name of its own"),
    ("volumes_from", Refused, "a volume belongs to one component; write volumes"),
    (
        "working_dir",
        Refused,
        "there is no word for it; set WORKDIR in the image, or write command: [\"sh\", \"-c\", \"cd DIR && …\"]",
    ),
];
