//! Configuration files, which are sent before the application that has them.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::background::Report;
use crate::controller::{Actor, Controller, ControllerError, Result};
use crate::model::Invalid;
use crate::model::app::AppName;
use crate::wire::app::{AppRequest, ConfigRequest};

/// How often files are looked through for those that nothing uses.
pub(in crate::controller) const LOOK: Duration = Duration::from_secs(3600);

impl Controller {
    /// Keeps a configuration file of an application that is going to be applied. Nothing else is changed by it, so no event tells
    /// of it. One that is not applied within an hour is forgotten.
    ///
    /// # Errors
    /// [`ControllerError::Invalid`] where it is larger than [`ConfigRequest::LARGEST`], or `sha256` is not its SHA-256.
    pub async fn put_blob(&self, actor: &Actor, app: &str, sha256: &str, content: Vec<u8>) -> Result<()> {
        let app: AppName = app.parse()?;
        let sha256 = checked_sum(sha256)?;
        if content.len() > ConfigRequest::LARGEST {
            let message = format!(
                "is {} bytes long; a configuration file of {app} has at most {} (512 KB)",
                content.len(),
                ConfigRequest::LARGEST
            );
            return Err(Invalid::new("body", message).into());
        }
        let is = ConfigRequest::sum_of(&content);
        if is != sha256 {
            return Err(Invalid::new("sha256", format!("what was sent has {is}, and not {sha256}")).into());
        }
        self.owned(actor, move |controller, _| async move {
            controller.check_open()?;
            let apps = &controller.shared.apps;
            apps.blobs().put(&sha256, &content, apps.now()).await.map_err(ControllerError::Store)
        })
        .await
    }

    /// Checks that every configuration file of an application was sent, and that there are not too many. From now on they are
    /// kept long enough for the application to be applied.
    pub(super) async fn take_configs(&self, request: &AppRequest) -> Result<()> {
        let apps = &self.shared.apps;
        let mut sizes = BTreeMap::new();
        for (component, of) in &request.component {
            for ConfigRequest { source, target, sha256, .. } in &of.configs {
                let missing = |what: &str| {
                    let message = format!("{source} {what}; 'paas-cli' sends it where it lies beside the file");
                    Invalid::new(format!("component.{component}.configs.{target}"), message)
                };
                let sum = sha256.as_deref().ok_or_else(|| missing("was not sent: it has no sha256"))?;
                let sum = checked_sum(sum)?;
                let size = apps.blobs().take(&sum, apps.now()).await.map_err(ControllerError::Store)?;
                sizes.insert(sum, size.ok_or_else(|| missing("was not sent, or is forgotten by now"))?);
            }
        }
        let whole: u64 = sizes.values().sum();
        if whole > ConfigRequest::LARGEST_TOGETHER {
            let message = format!(
                "are {whole} bytes together; an application has at most {} (4 MB)",
                ConfigRequest::LARGEST_TOGETHER
            );
            return Err(Invalid::new("configs", message).into());
        }
        Ok(())
    }

    /// Forgets files that no revision has, until it is given up.
    pub(in crate::controller) async fn forget_unused_blobs(self, report: Report) {
        let mut ticker = interval(LOOK);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticker.tick() => {}
                () = report.woken() => {}
            }
            let apps = &self.shared.apps;
            match apps.blobs().forget_unused(apps.now()).await {
                Ok(_) => report.ok(),
                Err(error) => {
                    tracing::warn!(%error, "configuration files that nothing uses are not forgotten");
                    report.failed(&error);
                }
            }
        }
    }
}

fn checked_sum(text: &str) -> std::result::Result<String, Invalid> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() == 64 && text.bytes().all(is_digit) {
        return Ok(text.to_owned());
    }
    Err(Invalid::new("sha256", "must be 64 hexadecimal digits in lower case"))
}
