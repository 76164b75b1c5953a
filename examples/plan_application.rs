//! What would happen if this file were applied? Plans an application on three hosts, without any of them.

use jiff::Timestamp;
use paas_core::apps::{Desired, Observed, Reach, plan};
use paas_core::model::{Cpus, MemoryMb, Resources};
use paas_core::scheduler::{EngineState, Snapshot, Spread};
use paas_core::wire::app::read_files;

const FILE: &str = r#"
app = "shop"
component.web = { image = "shop:${VERSION}", replicas = 3, port = 8080, health = { http = "/up" }, uses = ["db"] }
component.db = { image = "postgres:17", volumes = ["data:/var/lib/postgresql/data"], port = 5432 }
"#;

fn main() -> anyhow::Result<()> {
    let version = |name: &str| (name == "VERSION").then(|| "1.8".to_owned());
    let shop = read_files(&[("paas.toml", FILE)], version)?.normalise(None)?;
    let (mut snapshot, mut observed) = (Snapshot::default(), Observed::default());
    for id in ["a", "b", "c"] {
        let total = Resources { cpus: Cpus::from_milli(4000), memory: MemoryMb::new(4096) };
        snapshot.insert(EngineState::new(id.parse()?, total));
        observed.engines.insert(id.parse()?, Reach::Up);
    }
    let now = Timestamp::now();
    for step in plan(&Desired::first(shop, now), &observed, &snapshot, &Spread::default(), now) {
        println!("{step}");
    }
    Ok(())
}
