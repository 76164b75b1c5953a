//! What the platform writes on its containers, as Docker labels, and reads back.
//!
//! One namespace, `paas.`, with a version, so that a controller that starts from nothing rebuilds the truth from the
//! hosts, and a later version knows what it reads.

use std::collections::HashMap;

use super::{CreateRequest, Managed, RequestMark};
use crate::model::{ContainerSpec, Group, LaunchId};

/// Version of the labels below; this reads no other.
const VERSION: &str = "1";

const KEY_VERSION: &str = "paas.version";
const KEY_SPEC: &str = "paas.spec";
const KEY_GROUP: &str = "paas.group";
const KEY_PLATFORM: &str = "paas.platform";
const KEY_LAUNCH: &str = "paas.launch";
const KEY_USER: &str = "paas.user";
const KEY_REQUEST: &str = "paas.request";

/// The attempt that the labels of a container name, if a platform wrote them.
pub(super) fn launch(labels: &HashMap<String, String>) -> Option<LaunchId> {
    labels.get(KEY_LAUNCH)?.parse().ok()
}

/// The labels of a container that is to be made.
pub fn write(request: &CreateRequest) -> HashMap<String, String> {
    // A spec has no map with keys other than strings, so it always has a JSON form.
    let spec = serde_json::to_string(&request.spec).unwrap_or_default();
    let labels = [
        (KEY_VERSION, VERSION.to_owned()),
        (KEY_SPEC, spec),
        (KEY_GROUP, request.spec.group().to_string()),
        (KEY_PLATFORM, request.platform.clone()),
        (KEY_LAUNCH, request.launch.to_string()),
        (KEY_USER, request.user.clone()),
    ];
    let mark = request.mark.map(|mark| (KEY_REQUEST, format!("{}/{}", mark.request, mark.index)));
    labels.into_iter().chain(mark).map(|(key, value)| (key.to_owned(), value)).collect()
}

/// What is written on a container: nothing for one that the platform did not make, or whose labels somebody spoiled.
pub fn read(labels: &HashMap<String, String>) -> Option<(ContainerSpec, Managed)> {
    if labels.get(KEY_VERSION)? != VERSION {
        return None;
    }
    let spec: ContainerSpec = serde_json::from_str(labels.get(KEY_SPEC)?).ok()?;
    let launch: LaunchId = labels.get(KEY_LAUNCH)?.parse().ok()?;
    let group: Group = spec.group();
    let text = |key| labels.get(key).map(|text| text.as_str().into()).unwrap_or_default();
    let mark = labels.get(KEY_REQUEST).and_then(|text| {
        let (request, index) = text.split_once('/')?;
        Some(RequestMark { request: request.parse().ok()?, index: index.parse().ok()? })
    });
    Some((spec, Managed { platform: text(KEY_PLATFORM), launch, group, user: text(KEY_USER), mark }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EngineId, LaunchId, RequestId};

    #[test]
    fn what_is_written_is_read_back() {
        let mut spec = ContainerSpec::new("httpd:2".parse().unwrap());
        spec.environment.insert("GREETING".into(), "hello \"world\"".into());
        let request = CreateRequest {
            name: "httpd-1".into(),
            spec: spec.clone(),
            links: Vec::new(),
            platform: "p1".into(),
            engine: "local".parse::<EngineId>().unwrap(),
            launch: LaunchId::new(),
            user: "admin".into(),
            mark: Some(RequestMark { request: RequestId::new(), index: 7 }),
            log_rotation: None,
        };
        let (read_spec, managed) = read(&write(&request)).unwrap();
        assert_eq!(read_spec, spec);
        assert_eq!((managed.launch, managed.mark), (request.launch, request.mark));
        let unmarked = CreateRequest { mark: None, ..request };
        assert_eq!(read(&write(&unmarked)).unwrap().1.mark, None);
        assert_eq!(managed.group, spec.group());
        assert_eq!((&*managed.platform, &*managed.user), ("p1", "admin"));
    }

    #[test]
    fn others_and_spoiled_labels_are_nobodys() {
        assert!(read(&HashMap::new()).is_none());
        let spoiled =
            HashMap::from([(KEY_VERSION.to_owned(), VERSION.to_owned()), (KEY_SPEC.to_owned(), "{".to_owned())]);
        assert!(read(&spoiled).is_none());
        let other_version = HashMap::from([(KEY_VERSION.to_owned(), "99".to_owned())]);
        assert!(read(&other_version).is_none());
    }
}
