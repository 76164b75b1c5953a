//! What the platform writes on its containers, as Docker labels, and reads back.
//!
//! One namespace, `paas.`, with a format number, so that a controller that starts from nothing rebuilds the truth from the
//! hosts. A label that this version does not know is ignored, one that is missing has its default: a container stays ours.
//!
//! Labels alone say little about who made a container: `docker commit` keeps them in the image, and tools copy them. So
//! each container's own name is among them, and what an image has already says nothing about the containers made of it.

use std::collections::{BTreeMap, HashMap};

use super::{CreateRequest, Managed, Owner, ReplicaLabels, RequestMark};
#[cfg(feature = "docker")]
use super::{NetworkRequest, ObjectLabels, VolumeRequest};
use crate::model::{ContainerSpec, LaunchId};

/// The format of the labels below. It changes only when one of them comes to mean something else; a new one needs no new
/// number.
const FORMAT: &str = "1";
/// The owner of what `run` and scaling start.
pub const OWNER_RUN: &str = "run";
/// The owner of containers of applications.
pub const OWNER_APP: &str = "app";

const KEY_FORMAT: &str = "paas.version";
const KEY_SPEC: &str = "paas.spec";
const KEY_PLATFORM: &str = "paas.platform";
const KEY_LAUNCH: &str = "paas.launch";
const KEY_USER: &str = "paas.user";
const KEY_REQUEST: &str = "paas.request";
const KEY_NAME: &str = "paas.name";
const KEY_OWNER: &str = "paas.owner";
const KEY_APP: &str = "paas.app";
const KEY_DECLARED: &str = "paas.declared";
const KEY_COMPONENT: &str = "paas.component";
const KEY_SLOT: &str = "paas.slot";
const KEY_GENERATION: &str = "paas.generation";
const KEY_REVISION: &str = "paas.revision";
const KEY_FINGERPRINT: &str = "paas.fingerprint";
const KEY_IMAGE_ID: &str = "paas.image_id";
const KEY_RUN: &str = "paas.run";

/// The attempt that the labels of a container name, if a platform wrote them.
#[cfg(feature = "docker")]
pub(super) fn launch(labels: &HashMap<String, String>) -> Option<LaunchId> {
    labels.get(KEY_LAUNCH)?.parse().ok()
}

/// The attempt that labels name, as written: of a container or of an image.
#[cfg(feature = "docker")]
pub(super) fn launch_text(labels: &HashMap<String, String>) -> Option<&str> {
    labels.get(KEY_LAUNCH).map(String::as_str)
}

/// Whether a platform writes labels of that name.
#[cfg(feature = "docker")]
pub(super) fn is_own(key: &str) -> bool {
    key.starts_with("paas.")
}

/// Takes everything away that a platform wrote: what is left are the labels of somebody else's container.
#[cfg(feature = "docker")]
pub(super) fn strip(labels: &mut HashMap<String, String>) {
    labels.retain(|key, _| !is_own(key));
}

/// The labels of a container that is to be made: those that its description asks for, and ours, which come before them.
///
/// On a container of an application the description is nothing but its image: values of secrets may be in its environment.
pub fn write(request: &CreateRequest) -> HashMap<String, String> {
    let shown = request.replica.as_ref().map(|_| ContainerSpec::new(request.spec.name.clone()));
    // A spec has no map with keys other than strings, so it always has a JSON form.
    let spec = serde_json::to_string(shown.as_ref().unwrap_or(&request.spec)).unwrap_or_default();
    let mark = request.mark.map(|mark| format!("{}/{}", mark.request, mark.index));
    let owner = if request.replica.is_some() { OWNER_APP } else { OWNER_RUN };
    // Each of them always, so that none is inherited from an image.
    let labels = [
        (KEY_FORMAT, FORMAT.to_owned()),
        (KEY_SPEC, spec),
        (KEY_PLATFORM, request.platform.clone()),
        (KEY_LAUNCH, request.launch.to_string()),
        (KEY_USER, request.user.clone()),
        (KEY_NAME, request.name.clone()),
        (KEY_OWNER, owner.to_owned()),
        (KEY_REQUEST, mark.unwrap_or_default()),
    ];
    let of_replica = request.replica.iter().flat_map(|replica| {
        [
            (KEY_APP, replica.app.to_string()),
            (KEY_COMPONENT, replica.component.to_string()),
            (KEY_SLOT, replica.slot.map(|slot| slot.to_string()).unwrap_or_default()),
            (KEY_GENERATION, replica.generation.to_string()),
            (KEY_REVISION, replica.revision.to_string()),
            (KEY_FINGERPRINT, replica.fingerprint.clone()),
            (KEY_IMAGE_ID, replica.image_id.as_ref().map(ToString::to_string).unwrap_or_default()),
        ]
    });
    // Only where there is no slot, and always there.
    let command = request.replica.as_ref().filter(|replica| replica.slot.is_none());
    let of_command = command.map(|replica| (KEY_RUN, replica.run.map(|run| run.to_string()).unwrap_or_default()));
    let declared = request.replica.as_ref().and_then(|replica| replica.declared);
    let of_replica = of_replica.chain(of_command).chain(declared.map(|at| (KEY_DECLARED, at.to_string())));
    let of_user = request.spec.docker_labels.clone().into_iter();
    of_user.chain(labels.into_iter().chain(of_replica).map(|(key, value)| (key.to_owned(), value))).collect()
}

/// The labels of a network that is to be made.
#[cfg(feature = "docker")]
pub(super) fn of_network(request: &NetworkRequest) -> HashMap<String, String> {
    owned([(KEY_PLATFORM, request.platform.clone()), (KEY_APP, request.app.to_string())])
}

/// The labels of a volume that is to be made.
#[cfg(feature = "docker")]
pub(super) fn of_volume(request: &VolumeRequest) -> HashMap<String, String> {
    owned([
        (KEY_PLATFORM, request.platform.clone()),
        (KEY_APP, request.app.to_string()),
        (KEY_COMPONENT, request.component.to_string()),
        (KEY_SLOT, request.slot.to_string()),
    ])
}

/// Whose a network or a volume is.
#[cfg(feature = "docker")]
pub(super) fn of_object(labels: &HashMap<String, String>) -> ObjectLabels {
    let text = |key| labels.get(key).cloned().unwrap_or_default();
    ObjectLabels { platform: text(KEY_PLATFORM), app: text(KEY_APP) }
}

#[cfg(feature = "docker")]
fn owned<const N: usize>(labels: [(&str, String); N]) -> HashMap<String, String> {
    labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Whether a container says that it is of an application. Values of secrets may be in its environment, also when it bears another
/// name by now and is not known as ours.
#[cfg(feature = "docker")]
pub(super) fn may_have_secrets(labels: &HashMap<String, String>) -> bool {
    labels.get(KEY_OWNER).is_some_and(|owner| owner == OWNER_APP)
}

/// What is written on the container called `name`, with or without Docker's slash: nothing for one that no platform made,
/// whose labels are those of a container of another name, or whose labels somebody spoiled.
pub fn read(labels: &HashMap<String, String>, name: &str) -> Option<(ContainerSpec, Managed)> {
    if is_of_another(labels, name) { None } else { read_written(labels) }
}

/// What is written on the container called `name` where that is of a container of another name: somebody renamed this one, or
/// copied the labels. For [`ObservedContainer::labels_of_another`](super::ObservedContainer::labels_of_another).
pub fn read_of_another(labels: &HashMap<String, String>, name: &str) -> Option<Box<(ContainerSpec, Managed)>> {
    if is_of_another(labels, name) { read_written(labels).map(Box::new) } else { None }
}

fn is_of_another(labels: &HashMap<String, String>, name: &str) -> bool {
    // Containers of before have no name on them.
    labels.get(KEY_NAME).is_some_and(|own| own != name.trim_start_matches('/'))
}

fn read_written(labels: &HashMap<String, String>) -> Option<(ContainerSpec, Managed)> {
    labels.get(KEY_FORMAT)?.parse::<u32>().ok()?;
    let launch: LaunchId = labels.get(KEY_LAUNCH)?.parse().ok()?;
    let (spec, unknown) = read_spec(labels.get(KEY_SPEC)?)?;
    let text = |key| labels.get(key).map(|text| text.as_str().into()).unwrap_or_default();
    let (platform, user) = (text(KEY_PLATFORM), text(KEY_USER));
    let owner = match labels.get(KEY_OWNER).map(String::as_str) {
        None | Some(OWNER_RUN) => Owner::Run { group: spec.group_beside(&unknown), mark: read_mark(labels) },
        Some(OWNER_APP) => read_replica(labels).map_or_else(|| Owner::Other(OWNER_APP.into()), Owner::Replica),
        Some(other) => Owner::Other(other.into()),
    };
    Some((spec, Managed { platform, launch, user, owner }))
}

fn read_mark(labels: &HashMap<String, String>) -> Option<RequestMark> {
    let (request, index) = labels.get(KEY_REQUEST)?.split_once('/')?;
    Some(RequestMark { request: request.parse().ok()?, index: index.parse().ok()? })
}

/// Which container of which application one is: nothing where that is not written as it should be.
fn read_replica(labels: &HashMap<String, String>) -> Option<ReplicaLabels> {
    let slot = match labels.get(KEY_SLOT)?.as_str() {
        "" => None,
        slot => Some(slot.parse().ok()?),
    };
    Some(ReplicaLabels {
        app: labels.get(KEY_APP)?.parse().ok()?,
        declared: labels.get(KEY_DECLARED).and_then(|at| at.parse().ok()),
        component: labels.get(KEY_COMPONENT)?.parse().ok()?,
        generation: labels.get(KEY_GENERATION)?.parse().ok()?,
        revision: labels.get(KEY_REVISION)?.parse().ok()?,
        fingerprint: labels.get(KEY_FINGERPRINT).cloned().unwrap_or_default(),
        image_id: labels.get(KEY_IMAGE_ID).and_then(|id| id.parse().ok()),
        run: labels.get(KEY_RUN).filter(|_| slot.is_none()).and_then(|run| run.parse().ok()),
        slot,
    })
}

/// A description, and what is in it that this version does not know: a field, or a value of one.
fn read_spec(text: &str) -> Option<(ContainerSpec, BTreeMap<String, serde_json::Value>)> {
    if let Ok(spec) = serde_json::from_str(text) {
        return Some((spec, BTreeMap::new()));
    }
    ContainerSpec::read_known(serde_json::from_str(text).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EngineId, LaunchId, MemoryMb, RequestId};

    fn request(spec: ContainerSpec) -> CreateRequest {
        CreateRequest {
            name: "httpd-1".into(),
            spec,
            links: Vec::new(),
            platform: "p1".into(),
            engine: "local".parse::<EngineId>().unwrap(),
            launch: LaunchId::new(),
            user: "admin".into(),
            mark: Some(RequestMark { request: RequestId::new(), index: 7 }),
            log_rotation: None,
            replica: None,
            network: None,
            hidden_environment: Default::default(),
        }
    }

    fn replica(slot: Option<u32>) -> CreateRequest {
        let labels = ReplicaLabels {
            app: "shop".parse().unwrap(),
            declared: None,
            component: "web".parse().unwrap(),
            slot,
            generation: 7,
            revision: 12,
            fingerprint: "00ff".into(),
            image_id: Some(format!("sha256:{}", "a".repeat(64)).parse().unwrap()),
            run: None,
        };
        CreateRequest { replica: Some(labels), mark: None, ..request(httpd()) }
    }

    fn httpd() -> ContainerSpec {
        ContainerSpec::new("httpd:2".parse().unwrap())
    }

    fn golden(text: &str) -> HashMap<String, String> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut spec = httpd();
        spec.environment.insert("GREETING".into(), "hello \"world\"".into());
        let request = request(spec.clone());
        let (read_spec, managed) = read(&write(&request), "/httpd-1").unwrap();
        assert_eq!(read_spec, spec);
        assert_eq!(managed.launch, request.launch);
        assert_eq!(managed.owner, Owner::Run { group: spec.group(), mark: request.mark });
        let unmarked = CreateRequest { mark: None, ..request };
        assert_eq!(read(&write(&unmarked), "httpd-1").unwrap().1.mark(), None);
        assert_eq!((&*managed.platform, &*managed.user), ("p1", "admin"));
    }

    #[test]
    fn labels_of_the_users_own_are_beside_ours_and_never_in_their_place() {
        let mut spec = httpd();
        spec.docker_labels =
            [("org.example", "x"), (KEY_USER, "root")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let labels = write(&request(spec.clone()));
        assert_eq!((labels["org.example"].as_str(), labels[KEY_USER].as_str()), ("x", "admin"));
        assert_eq!(read(&labels, "/httpd-1").unwrap().0, spec);
    }

    #[test]
    fn others_and_spoiled_labels_are_nobodys() {
        assert!(read(&HashMap::new(), "a").is_none());
        let spoiled =
            HashMap::from([(KEY_FORMAT.to_owned(), FORMAT.to_owned()), (KEY_SPEC.to_owned(), "{".to_owned())]);
        assert!(read(&spoiled, "a").is_none());
        let no_format = HashMap::from([(KEY_FORMAT.to_owned(), "new".to_owned())]);
        assert!(read(&no_format, "a").is_none());
    }

    #[test]
    fn labels_that_were_copied_to_another_container_say_nothing() {
        let labels = write(&request(httpd()));
        assert!(read(&labels, "/httpd-1").is_some());
        assert!(read(&labels, "/httpd-2").is_none());
    }

    #[test]
    fn labels_of_the_first_format_are_read_for_ever() {
        let least = golden(include_str!("golden/labels-v1-least.json"));
        let (spec, managed) = read(&least, "/httpd-0a1b2c3d").unwrap();
        assert_eq!((&spec, managed.group()), (&httpd(), Some(&httpd().group())));
        assert_eq!(managed.launch.to_string(), "0199a1b2-c3d4-7e5f-8a6b-7c8d0a1b2c3d");
        assert_eq!(&*managed.platform, "9f0c2a54-6f0e-4c34-9d2f-6f6f5c5c1b11");
        assert_eq!(managed.mark(), Some(RequestMark { request: RequestId::of("admin", "key"), index: 7 }));
        assert_eq!((&*managed.user, managed.other_owner()), ("admin", None));

        let full = golden(include_str!("golden/labels-v1-full.json"));
        let (spec, managed) = read(&full, "/whatever").unwrap();
        assert_eq!(serde_json::to_string(&spec).unwrap(), full[KEY_SPEC], "every field is read, and written so");
        assert_eq!(managed.group(), Some(&spec.group()));
        // Fields that came later change the identity of no container that is without them.
        assert_eq!(spec.group().as_str(), "90e38300aa4780c3");
    }

    #[test]
    fn what_a_later_version_added_does_not_take_a_container_from_us() {
        let mut labels = write(&request(httpd()));
        labels.insert(KEY_FORMAT.into(), "2".into());
        labels.insert("paas.later".into(), "something".into());
        let later = r#"{"name":"httpd:2","memory":64,"later":{"a":1},"type":"gang","network_mode":"bridge"}"#;
        labels.insert(KEY_SPEC.into(), later.into());
        let (spec, managed) = read(&labels, "httpd-1").unwrap();
        assert_eq!(spec, ContainerSpec { memory: Some(MemoryMb::new(64)), ..httpd() });
        assert_ne!(managed.group(), Some(&spec.group()), "but it is not the same as one without");
    }

    #[test]
    fn an_owner_that_is_not_known_is_named() {
        let mut labels = write(&request(httpd()));
        labels.insert(KEY_OWNER.into(), "gang".into());
        let (_, managed) = read(&labels, "httpd-1").unwrap();
        assert_eq!(managed.owner, Owner::Other("gang".into()));
        assert_eq!((managed.group(), managed.mark(), managed.replica()), (None, None, None));
    }

    #[test]
    fn a_container_of_an_application_says_which_and_nothing_of_its_environment() {
        for (slot, run) in [(Some(2), None), (None, None), (None, Some(7))] {
            let mut request = replica(slot);
            if let Some(labels) = &mut request.replica {
                labels.run = run;
            }
            request.spec.environment.insert("PASSWORD".into(), "hunter2".into());
            let labels = write(&request);
            assert!(labels.values().all(|value| !value.contains("hunter2")), "{labels:?}");
            let (spec, managed) = read(&labels, "/httpd-1").unwrap();
            assert_eq!((spec, managed.replica()), (httpd(), request.replica.as_ref()));
            assert_eq!((managed.group(), managed.other_owner(), managed.launch), (None, None, request.launch));
            // A version before this one reads these two, and whose it is.
            assert_eq!((&*labels[KEY_NAME], &*labels[KEY_OWNER]), ("httpd-1", "app"));
        }
    }

    #[test]
    fn one_that_does_not_say_properly_which_container_of_an_application_it_is_is_left_alone() {
        for key in [KEY_APP, KEY_COMPONENT, KEY_SLOT, KEY_GENERATION, KEY_REVISION] {
            let mut labels = write(&replica(Some(2)));
            labels.insert(key.into(), "?".into());
            assert_eq!(read(&labels, "httpd-1").unwrap().1.owner, Owner::Other("app".into()), "{key} is spoiled");
            labels.remove(key);
            assert_eq!(read(&labels, "httpd-1").unwrap().1.owner, Owner::Other("app".into()), "{key} is missing");
        }
    }

    #[test]
    fn labels_of_a_replica_are_read_for_ever() {
        let labels = golden(include_str!("golden/labels-v1-replica.json"));
        let (spec, managed) = read(&labels, "/shop.web.2.7").unwrap();
        let mut of_before = replica(Some(2));
        of_before.replica.iter_mut().for_each(|replica| replica.image_id = None);
        assert_eq!((spec, managed.replica()), (httpd(), of_before.replica.as_ref()));
        assert_eq!(managed.launch.to_string(), "0199a1b2-c3d4-7e5f-8a6b-7c8d0a1b2c3d");
        assert_eq!((&*managed.platform, &*managed.user), ("9f0c2a54-6f0e-4c34-9d2f-6f6f5c5c1b11", "admin"));
        let mut written = write(&CreateRequest {
            name: "shop.web.2.7".into(),
            platform: managed.platform.to_string(),
            launch: managed.launch,
            ..of_before
        });
        assert_eq!(written.remove(KEY_IMAGE_ID).as_deref(), Some(""), "so that none is inherited");
        assert_eq!(written, labels, "and written so");

        let mut declared = replica(Some(2));
        let at = Some("2026-01-02T03:04:05.678Z".parse().unwrap());
        declared.replica.iter_mut().for_each(|replica| replica.declared = at);
        let written = write(&CreateRequest { name: "shop.web.2.7".into(), launch: managed.launch, ..declared.clone() });
        assert_eq!(written[KEY_DECLARED], "2026-01-02T03:04:05.678Z");
        assert_eq!(read(&written, "/shop.web.2.7").unwrap().1.replica(), declared.replica.as_ref());
    }
}
