//! Logins to image registries that serve every engine.

use super::{Actor, Controller, ControllerError, Result};
use crate::model::{EngineId, Event, EventKind, ImageRef, RegistryLogin, ShownRegistryLogin};
use crate::store::StoreErrorKind;

impl Controller {
    /// All logins, by registry, without their passwords. Those that an engine has for itself are not among them.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn registry_logins(&self) -> Result<Vec<ShownRegistryLogin>> {
        let all = self.shared.registry_logins.all().await.map_err(ControllerError::Store)?;
        Ok(all.into_iter().map(|login| login.value.shown()).collect())
    }

    /// Sets the login of every engine to a registry, in place of the one before.
    ///
    /// # Errors
    /// [`ControllerError::Invalid`].
    pub async fn set_registry_login(&self, actor: &Actor, login: RegistryLogin) -> Result<()> {
        self.check_open()?;
        login.validate()?;
        let logins = &self.shared.registry_logins;
        let registry = login.registry();
        match logins.insert(registry, &login).await {
            Ok(_) => {}
            Err(error) if error.kind() == StoreErrorKind::AlreadyExists => {
                logins.update(registry, |kept| *kept = login.clone()).await.map_err(ControllerError::Store)?;
            }
            Err(error) => return Err(ControllerError::Store(error)),
        }
        let message = format!("images of {registry} are pulled as {}", login.username);
        self.record(actor.sign(Event::new(EventKind::SetRegistryLogin, message))).await
    }

    /// Deletes the login to a registry.
    ///
    /// # Errors
    /// [`ControllerError::RegistryLoginNotFound`].
    pub async fn delete_registry_login(&self, actor: &Actor, registry: &str) -> Result<()> {
        self.check_open()?;
        match self.shared.registry_logins.delete(registry).await {
            Ok(()) => {}
            Err(error) if error.kind() == StoreErrorKind::NotFound => {
                return Err(ControllerError::RegistryLoginNotFound { registry: registry.to_owned() });
            }
            Err(error) => return Err(ControllerError::Store(error)),
        }
        let message = format!("images of {registry} are pulled without a login");
        self.record(actor.sign(Event::new(EventKind::DeleteRegistryLogin, message))).await
    }

    /// The login that `engine` pulls `image` with: its own if that is for the registry of the image, or else the
    /// platform's. A password goes to the registry it is for and to no other.
    pub(super) async fn login_for(&self, engine: &EngineId, image: &ImageRef) -> Result<Option<RegistryLogin>> {
        let own = self.shared.cluster.engine_spec(engine).and_then(|spec| spec.registry_login.clone());
        if let Some(own) = own.filter(|login| login.is_for(image)) {
            return Ok(Some(own));
        }
        let kept = self.shared.registry_logins.get(image.registry()).await.map_err(ControllerError::Store)?;
        Ok(kept.map(|login| login.value))
    }
}
