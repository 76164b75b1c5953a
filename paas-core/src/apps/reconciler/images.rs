//! Images that no registry has: until images travel between hosts, only those run them that have them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{App, Apps};
use crate::engine::{EngineError, EngineErrorKind};
use crate::executor::Executor;
use crate::model::app::ComponentSpec;
use crate::model::{ExactImage, Scarce};

/// For how long it is believed which hosts have such an image. Somebody may push it, or load it on another host.
const BELIEVED: SignedDuration = SignedDuration::from_secs(60);

impl Apps {
    /// Whether another host may do what one did not. Where a host could not get an image, the others are asked whether they have it: from
    /// then on containers of it are made there.
    pub(super) async fn is_of_host(
        &self,
        executor: &Executor,
        app: &App,
        component: Option<&ComponentSpec>,
        error: &EngineError,
    ) -> bool {
        let Some(component) = component.filter(|_| error.kind() == EngineErrorKind::NoSuchImage) else {
            return error.is_of_the_engine();
        };
        let image = component.exact_image();
        let found = executor.who_has(&image).await;
        let anybody = !found.hosts.is_empty();
        let mut scarce = app.scarce.lock();
        match anybody {
            true => drop(scarce.insert(image, (found, self.now()))),
            false => drop(scarce.remove(&image)),
        }
        anybody
    }
}

impl App {
    /// The images that no registry gave a moment ago, and where they are.
    pub(super) fn scarce_images(&self, now: Timestamp) -> BTreeMap<ExactImage, Scarce> {
        let mut scarce = self.scarce.lock();
        scarce.retain(|_, (_, asked)| now.duration_since(*asked) < BELIEVED);
        scarce.iter().map(|(image, (found, _))| (image.clone(), found.clone())).collect()
    }
}
