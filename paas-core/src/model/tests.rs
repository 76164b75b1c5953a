//! What people type is read or refused, and never more than that; what is written is read back as it was.

use proptest::prelude::*;

use super::*;

/// Text that looks like something, as what is typed wrongly does.
fn almost() -> impl Strategy<Value = String> {
    let pieces =
        ["tcp", "udp", "unix", "sim", "https", "://", "/", ":", "::", "80", "0", "65536", "[::1]", "127.0.0.1", "a"];
    let more = [
        "web",
        "@sha256:",
        ".",
        "-",
        "_",
        "?",
        "cpus=",
        "&",
        "memory=9",
        "é",
        " ",
        "\u{0}",
        "99999999999999999999",
        "host:",
    ];
    let piece = prop::sample::select([pieces.as_slice(), more.as_slice()].concat());
    prop_oneof![prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat()), ".{0,40}"]
}

proptest! {
    #[test]
    fn whatever_is_typed_is_read_or_refused(text in almost()) {
        if let Ok(port) = text.parse::<BindPort>() {
            prop_assert_eq!(port.to_string().parse::<BindPort>().unwrap(), port);
        }
        if let Ok(address) = text.parse::<EngineAddress>() {
            prop_assert_eq!(address.to_string().parse::<EngineAddress>().unwrap().place(), address.place());
        }
        if let Ok(image) = text.parse::<ImageRef>() {
            let canonical = image.canonical();
            prop_assert_eq!(canonical.parse::<ImageRef>().unwrap().canonical(), canonical);
            let (repository, tag) = image.repository_and_tag();
            prop_assert!(text.starts_with(repository) && (text.ends_with(tag) || tag == "latest"));
            prop_assert!(text.contains(image.base_name()));
        }
        if let Ok(id) = text.parse::<EngineId>() {
            prop_assert_eq!(id.as_str(), text.as_str());
        }
        let _ = (text.parse::<ContainerId>(), text.parse::<UserName>(), text.parse::<EventId>(), text.parse::<Protocol>());
        let _ = serde_json::from_str::<ContainerSpec>(&text);
    }

    #[test]
    fn a_description_that_is_valid_is_written_and_read_back(
        (image, cpus, memory) in ("[a-z]{1,8}(:[0-9]{1,3})?", prop::option::of(10..100_000_u64), prop::option::of(6..100_000_u64)),
        environment in prop::collection::btree_map("[A-Z]{1,5}", ".{0,20}", 0..4),
        ports in prop::collection::vec((prop::option::of(1..=65_535_u16), 1..=65_535_u16), 0..4),
        labels in prop::collection::btree_set("[a-z=]{1,6}", 0..4),
    ) {
        let mut spec = ContainerSpec::new(image.parse().unwrap());
        spec.cpus = cpus.map(Cpus::from_milli);
        spec.memory = memory.map(MemoryMb::new);
        spec.environment = environment;
        spec.labels = labels;
        let port = |(host_port, container_port)| BindPort { proto: Protocol::Tcp, host_ip: None, host_port, container_port };
        spec.bind_ports = ports.into_iter().map(port).collect();
        let text = serde_json::to_string(&spec).unwrap();
        let read: ContainerSpec = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(read.group(), spec.group());
        prop_assert_eq!(read, spec);
    }
}
