//! Logins to image registries that serve every engine.

use super::{Actor, Controller, ControllerError, Result};
use crate::executor::PullLogin;
use crate::model::{EngineId, Event, EventKind, ImageRef, RegistryLogin, ShownRegistryLogin};
use crate::store::tables::REGISTRY_LOGINS;
use crate::store::{KeyRange, StoreErrorKind};

impl Controller {
    /// All logins, by registry, without their passwords. Those that an engine has for itself are not among them.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn registry_logins(&self) -> Result<Vec<ShownRegistryLogin>> {
        // Nothing is opened for that, so a login that cannot be is listed as well, and can be deleted.
        let all = self.shared.store.list(REGISTRY_LOGINS, &KeyRange::all()).await.map_err(ControllerError::Store)?;
        let username = |body: &serde_json::Value| body["username"].as_str().unwrap_or_default().to_owned();
        Ok(all
            .into_iter()
            .map(|kept| ShownRegistryLogin { username: username(&kept.body), server: kept.key })
            .collect())
    }

    /// Sets the login of every engine to a registry, in place of the one before; of every engine but those that an account
    /// other than an admin added.
    ///
    /// # Errors
    /// [`ControllerError::Invalid`].
    pub async fn set_registry_login(&self, actor: &Actor, login: RegistryLogin) -> Result<()> {
        login.validate()?;
        self.owned(actor, |controller, actor| async move { controller.set_registry_login_now(&actor, &login).await })
            .await
    }

    async fn set_registry_login_now(&self, actor: &Actor, login: &RegistryLogin) -> Result<()> {
        self.check_open()?;
        if actor.made_before().is_some() {
            return Ok(());
        }
        let logins = &self.shared.registry_logins;
        let registry = login.registry();
        let message = format!("images of {registry} are pulled as {}", login.username);
        let event = Event::new(EventKind::SetRegistryLogin, message);
        loop {
            let kept = match logins.get(registry).await {
                // One that cannot be unsealed any more can still be replaced.
                Err(error) if error.kind() == StoreErrorKind::Broken => None,
                kept => kept.map_err(ControllerError::Store)?,
            };
            let version = logins.version(registry).await.map_err(ControllerError::Store)?;
            let write = match (kept, version) {
                (Some(kept), _) => logins.rewriting(&kept, login),
                (None, Some(version)) => logins.replacement(registry, version, login),
                (None, None) => logins.insertion(registry, login),
            };
            let publication = self.publication(actor, event.clone())?;
            match self.commit(vec![write.map_err(ControllerError::Store)?], publication, || {}).await {
                // Somebody else was faster, and this one is the later.
                Err(error) if error.is_conflict_in(REGISTRY_LOGINS) => {}
                outcome => return outcome.map_err(ControllerError::Store),
            }
        }
    }

    /// Deletes the login to a registry.
    ///
    /// # Errors
    /// [`ControllerError::RegistryLoginNotFound`].
    pub async fn delete_registry_login(&self, actor: &Actor, registry: &str) -> Result<()> {
        let registry = RegistryLogin::registry_called(registry).to_owned();
        self.owned(actor, move |controller, actor| async move {
            controller.check_open()?;
            if actor.made_before().is_some() {
                return Ok(());
            }
            let message = format!("images of {registry} are pulled without a login");
            let event = Event::new(EventKind::DeleteRegistryLogin, message);
            let publication = controller.publication(&actor, event)?;
            let deletion = controller.shared.registry_logins.deletion(&registry, None);
            match controller.commit(vec![deletion], publication, || {}).await {
                Err(error) if error.kind() == StoreErrorKind::NotFound => {
                    Err(ControllerError::RegistryLoginNotFound { registry })
                }
                outcome => outcome.map_err(ControllerError::Store),
            }
        })
        .await
    }

    /// The login that `engine` pulls `image` with: its own if that is for the registry of the image, or else the
    /// platform's. A password goes to the registry it is for and to no other. It goes by way of the host, so the platform's is not
    /// for hosts for which no admin answers: only admins may set and read who the logins are.
    pub(super) async fn login_for(&self, engine: &EngineId, image: &ImageRef) -> Result<PullLogin> {
        let spec = self.shared.cluster.engine_spec(engine);
        let own = spec.as_ref().and_then(|spec| spec.registry_login.clone());
        if let Some(own) = own.filter(|login| login.is_for(image)) {
            return Ok(PullLogin::Given(own));
        }
        let kept = self.shared.registry_logins.get(image.registry()).await.map_err(ControllerError::Store)?;
        Ok(match (kept, spec.and_then(|spec| spec.added_by.clone())) {
            (None, _) => PullLogin::None,
            (Some(kept), None) => PullLogin::Given(kept.value),
            (Some(kept), Some(added_by)) => PullLogin::Withheld { added_by, registry: kept.key },
        })
    }
}
