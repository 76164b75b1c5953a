//! What a controller is made of: the store, the registry, the settings; and what a server does before it serves, such as the
//! first account and the engines that it is started with.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use paas_core::auth::AuthSettings;
use paas_core::cluster::ClusterSettings;
use paas_core::controller::{Actor, Controller, ControllerError, Settings};
use paas_core::files;
use paas_core::leadership::Term;
use paas_core::model::EngineSpec;
use paas_core::registry::{Registry, RegistryErrorKind, open_registry};
use paas_core::scheduler::{Binpack, Scheduler, Spread};
use paas_core::store::{Store, StoreErrorKind, open_store};
use tokio_util::task::TaskTracker;

use crate::config::{AdminPassword, Config, EnginesAtStart, SchedulerName};
use crate::custody::Custody;
use crate::process::{make_data_dir, say};

/// How long a server that begins waits for hosts that do not answer, before it serves without them.
const WAIT_READY: Duration = Duration::from_secs(2);

/// What a controller is made of, again for every term.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) config: Arc<Config>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) custody: Custody,
    /// Where a person on this machine reaches the server.
    url: Arc<str>,
    /// Making the first account and showing its password: it is waited for before the program ends.
    first_account: TaskTracker,
}

impl Parts {
    pub(crate) async fn open(config: Config, url: String) -> Result<Self> {
        if config.store.is_none() {
            make_data_dir(&config.data_dir)?;
        }
        let store = open_store(config.store_url().as_str()).await.map_err(|error| {
            let what = match (&config.store, config.data_dir.display(), error.kind()) {
                (Some(store), ..) => format!("the store {store} cannot be opened"),
                // There is nothing wrong with the place.
                (None, place, StoreErrorKind::Full) => {
                    format!("the store in the data directory {place} cannot be opened")
                }
                (None, place, _) => {
                    format!("the store in the data directory {place} cannot be opened; choose another with --data-dir")
                }
            };
            anyhow::Error::new(error).context(what)
        })?;
        let registry = open_registry(config.registry.as_str()).context("the registry cannot be opened")?;
        check_registry(&*registry).await?;
        let custody = Custody::of(&config);
        Ok(Self {
            config: Arc::new(config),
            store,
            registry,
            custody,
            url: url.into(),
            first_account: TaskTracker::new(),
        })
    }

    /// A controller that has read the records and the hosts. With a term, it changes things as long as that lasts.
    pub(crate) async fn controller(&self, term: Option<Term>) -> Result<Controller> {
        let config = &self.config;
        let scheduler: Arc<dyn Scheduler> = match config.scheduler {
            SchedulerName::Spread => Arc::new(Spread::new(config.weights)),
            SchedulerName::Binpack => Arc::new(Binpack::new(config.weights)),
        };
        let settings = Settings {
            auth: AuthSettings { token_ttl: config.token_ttl, ..AuthSettings::default() },
            cluster: ClusterSettings {
                probe: config.probe,
                probe_interval: config.probe_interval,
                probe_timeout: config.probe_timeout,
                probe_misses: config.probe_misses,
                overbooking: config.overbooking,
                record_exec_events: config.record_exec_events,
                ..ClusterSettings::default()
            },
            retention: config.retention.clone(),
            log_rotation: config.log_rotation,
            app_subnets: config.app_subnets,
            policy: config.policy.clone(),
            ..Settings::default()
        };
        let mut builder = Controller::builder().store(self.store.clone()).registry(self.registry.clone());
        if let Some(term) = term {
            builder = builder.term(term);
        }
        builder = builder.sealer(self.custody.sealer(&*self.store).await?);
        if let Some(platform) = &config.platform {
            builder = builder.platform(platform);
        }
        let built = builder.scheduler(scheduler).settings(settings).build().await;
        let controller = built.context("the platform cannot start")?;
        // Said at once: if anything below fails, the password is known all the same. And in one task: if the term or the
        // program ended between the two, nobody would ever know it.
        let (parts, of_its_own) = (self.clone(), controller.clone());
        let first_account = self.first_account.track_future(async move {
            if let Some(password) = make_first_account(&parts.config, &of_its_own).await? {
                say(&format!("The account 'admin' was made with {password}."));
                say(&format!("Log in with: paas-cli login --url {} --name admin", parts.url));
            }
            anyhow::Ok(())
        });
        controller.run_to_end(first_account).await.context("the first account cannot be made")??;
        add_engines(&config.engines, &controller).await?;
        controller.wait_ready(WAIT_READY).await;
        let cluster = controller.cluster();
        if let Some(platform) = &config.platform
            && let (0, read) = cluster.containers_of_platform(platform)
        {
            let kept = match cluster.platform() == platform {
                true => "This store is called so itself.",
                false => "It is remembered once a container of it is seen.",
            };
            say(&format!("{} {kept}", none_of(platform, read, controller.engines().len())));
        }
        for adopted in cluster.adopted_platforms().filter(|&adopted| config.platform.as_deref() != Some(adopted)) {
            if let (0, read) = cluster.containers_of_platform(adopted) {
                tracing::info!(
                    platform = adopted,
                    engines = read,
                    "no container of a platform that was taken over is here"
                );
            }
        }
        for (platform, count) in cluster.other_platforms() {
            say(&others(&platform, count));
        }
        Ok(controller)
    }

    /// Waits until the password of an account that is being made was shown.
    pub(crate) async fn finish(&self) {
        self.first_account.close();
        self.first_account.wait().await;
    }
}

/// What is said when no container is of the platform that is to be taken over, on the engines that were `read` of all that
/// are `known`.
fn none_of(platform: &str, read: usize, known: usize) -> String {
    let engines = match known {
        1 => "engine",
        _ => "engines",
    };
    let read = if read == known { known.to_string() } else { format!("{read} of {known}") };
    format!(
        "Warning: no container of platform {platform} is here ({read} {engines} read so far). Is the id right? It stands on \
         containers as the label paas.platform."
    )
}

/// What is said of the containers of another platform, and how they become this one's.
fn others(platform: &str, count: usize) -> String {
    let containers = if count == 1 { "1 container" } else { &format!("{count} containers") };
    format!(
        "Here: {containers} of platform {platform}, shown and otherwise left alone; this one's own with --platform {platform}."
    )
}

/// Fails with what a person has to mend. That the registry does not answer is no reason not to start: it may later, and
/// until then there is what was known of it.
pub(crate) async fn check_registry(registry: &dyn Registry) -> Result<()> {
    match registry.list().await {
        Err(error) if error.kind() == RegistryErrorKind::Unavailable => {
            tracing::warn!(%error, "starting without the registry");
            Ok(())
        }
        Err(error) => Err(error).context("the registry cannot be used"),
        Ok(_) => Ok(()),
    }
}

/// Makes the first account, and says with which password; nothing when there were accounts already.
async fn make_first_account(config: &Config, controller: &Controller) -> Result<Option<String>> {
    // Before the password is read: its file is needed this once, and may be gone later.
    if controller.has_accounts().await.context("the accounts cannot be read")? {
        return Ok(None);
    }
    let given = match &config.admin_password {
        None => None,
        Some(AdminPassword::Given(password)) => Some(password.clone()),
        Some(AdminPassword::File(path)) => {
            let text = files::read_text(path)
                .with_context(|| format!("the password file {} cannot be read", path.display()))?;
            let password = text.trim_end_matches(['\r', '\n']).to_owned();
            if password.is_empty() {
                bail!("the password file {} is empty", path.display());
            }
            Some(password)
        }
    };
    let is_given = given.is_some();
    let made = controller.ensure_admin(given).await.context("the account 'admin' cannot be made")?;
    Ok(made.map(|password| match is_given {
        true => "the password you gave".to_owned(),
        false => format!("the password {password} (it is shown only this once)"),
    }))
}

async fn add_engines(engines: &EnginesAtStart, controller: &Controller) -> Result<()> {
    match engines {
        EnginesAtStart::None => Ok(()),
        EnginesAtStart::Named(named) => {
            for spec in named {
                add_engine(spec.clone(), controller).await?;
            }
            Ok(())
        }
        EnginesAtStart::IfNoneIsKnown(spec) if controller.engines().is_empty() => {
            add_engine((**spec).clone(), controller).await
        }
        EnginesAtStart::IfNoneIsKnown(_) => Ok(()),
    }
}

async fn add_engine(spec: EngineSpec, controller: &Controller) -> Result<()> {
    let (id, addr) = (spec.id.clone(), spec.addr.to_string());
    if let Ok(known) = controller.engine(id.as_str()) {
        if known.addr != addr {
            tracing::warn!(%id, known = known.addr, given = addr, "the engine is known under another address, which stays");
        }
        return Ok(());
    }
    match controller.add_engine(&Actor::system(), spec).await {
        Ok(engine) => {
            tracing::info!(%id, addr, status = %engine.health.status, "added an engine");
            Ok(())
        }
        // The operator gave it another id since: it is in service, so nothing is missing.
        Err(ControllerError::EngineExists { reason }) => {
            tracing::warn!(%id, reason, "an engine was not added");
            Ok(())
        }
        Err(error) => Err(error).with_context(|| format!("the engine {id} at {addr} cannot be added")),
    }
}

#[cfg(test)]
mod tests {
    use paas_core::registry::EmbeddedRegistry;
    use paas_core::store::MemoryStore;
    use paas_core::store::tables::ACCOUNTS;
    use paas_core::testing::store::GatedStore;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_program_that_is_told_to_end_waits_until_the_first_password_was_shown() {
        let gated = Arc::new(GatedStore::new(Arc::new(MemoryStore::new())));
        let store: Arc<dyn Store> = gated.clone();
        let (config, _) = Config::load(["paas-server", "--store", "memory:"]).unwrap();
        let custody = Custody::of(&config);
        let parts = Parts {
            config: Arc::new(config),
            store: store.clone(),
            registry: Arc::new(EmbeddedRegistry::new()),
            custody,
            url: "http://localhost:5002".into(),
            first_account: TaskTracker::new(),
        };
        gated.close_for(ACCOUNTS);
        tokio::select! {
            _ = parts.controller(None) => panic!("the gate is closed"),
            () = gated.until_one_waits_for(ACCOUNTS) => {}
        }
        assert!(timeout(Duration::from_millis(50), parts.finish()).await.is_err());
        gated.open();
        timeout(Duration::from_secs(10), parts.finish()).await.unwrap();
        assert!(store.get(ACCOUNTS, "admin").await.unwrap().is_some());
    }
}
