//! Secrets of applications: containers have them, and nothing else shows them.

use sha2::{Digest, Sha256};

use super::apps::{platform, request, start};
use super::*;
use crate::engine::EngineErrorKind;
use crate::model::app::SecretValue;
use crate::store::KeyRange;
use crate::store::tables::{ALL, OUTPUTS, REQUESTS, SECRETS, STORE};
use crate::testing::store::FailingStore;
use crate::wire::app::{AppRequest, ApplyRequest, RollbackRequest, RolloutOutcome, SecretSet};

const ROLL: RollSecret = RollSecret { roll: true, supersede: false };
const KEEP: RollSecret = RollSecret { roll: false, supersede: false };

fn value(text: &str) -> SecretValue {
    SecretValue::new(text).unwrap()
}

/// A component with a secret in its environment.
fn with_secret(image: &str) -> ApplyRequest {
    request(&format!(
        "[component.web]\nimage = '{image}'\nenv = {{ LOG = 'info', URL = {{ secret = 'url' }} }}\nupdate = {{ drain = '1s' }}"
    ))
}

impl Platform {
    async fn set(&self, text: &str, roll: RollSecret) -> Result<SecretSet> {
        self.controller.set_secret(&ann(), "shop", "url", value(text), roll).await
    }

    /// What the program of the only container sees.
    fn seen(&self) -> Option<String> {
        let host = self.host("one");
        let [container] = &host.really_there()[..] else { return None };
        let environment = host.hidden_environment(&container.id);
        Some(environment.get("URL")?.as_text()?.to_owned())
    }

    async fn until_value(&self, text: &str) {
        assert!(eventually(|| self.seen().as_deref() == Some(text)).await, "{:?}", self.seen());
        self.settled().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_has_the_value_and_the_next_apply_takes_a_new_one() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    let missing = controller.apply_app(&ann(), "shop", with_secret("web:1")).await.unwrap_err().to_string();
    assert!(missing.contains("component.web.env.URL") && missing.contains("paas-cli secret set shop url"), "{missing}");
    assert!(controller.plan_app(&ann(), "shop", with_secret("web:1")).await.is_err());
    // Before there is such an application.
    let set = platform.set("first", KEEP).await.unwrap();
    assert_eq!(set, SecretSet { version: 1, changed: true, revision: None });
    controller.apply_app(&ann(), "shop", with_secret("web:1")).await.unwrap();
    platform.until_value("first").await;
    assert!(!controller.apply_app(&ann(), "shop", with_secret("web:1")).await.unwrap().changed);

    assert_eq!(platform.set("first", KEEP).await.unwrap(), SecretSet { version: 1, changed: false, revision: None });
    assert_eq!(platform.set("second", KEEP).await.unwrap().version, 2);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(platform.seen().unwrap(), "first", "nobody asked for the second yet");
    let plan = controller.plan_app(&ann(), "shop", with_secret("web:1")).await.unwrap();
    let shown: Vec<_> =
        plan.changes.iter().map(|change| (&*change.field, change.old.as_deref(), change.new.as_deref())).collect();
    assert_eq!(shown, [("component.web.env.URL", Some("secret url 1"), Some("secret url 2"))]);
    assert!(plan.changes[0].new_containers);
    assert!(controller.apply_app(&ann(), "shop", with_secret("web:1")).await.unwrap().changed);
    platform.until_value("second").await;

    // Back means back to the value as well.
    controller.rollback_app(&ann(), "shop", RollbackRequest { to: Some(1), supersede: false }).await.unwrap();
    platform.until_value("first").await;
    let secrets = controller.secrets("shop").await.unwrap();
    let versions: Vec<_> = secrets[0].versions.iter().map(|version| (version.version, version.used)).collect();
    assert_eq!((secrets[0].name.as_str(), versions), ("url", vec![(2, false), (1, true)]));
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_value_is_rolled_out_at_once_where_that_is_asked_for() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    let none = platform.set("first", ROLL).await.unwrap_err();
    assert!(matches!(none, ControllerError::AppNotFound { .. }), "{none}");
    assert!(controller.secrets("shop").await.unwrap().is_empty(), "nothing was set");
    platform.set("first", KEEP).await.unwrap();
    controller.apply_app(&ann(), "shop", with_secret("web:1")).await.unwrap();
    platform.until_value("first").await;

    let set = platform.set("second", ROLL).await.unwrap();
    assert_eq!(set, SecretSet { version: 2, changed: true, revision: Some(2) });
    let third = platform.set("third", ROLL).await.unwrap_err();
    assert!(matches!(third, ControllerError::RolloutUnderWay { .. }), "{third}");
    platform.until_value("second").await;
    assert_eq!(controller.secrets("shop").await.unwrap()[0].versions[0].version, 2, "the third was not set");
    let history = controller.app_revisions("shop").unwrap();
    assert_eq!(
        (history[0].message.as_str(), history[0].user.as_ref().unwrap().as_str()),
        ("secret url is version 2", "ann")
    );

    platform.set("third", ROLL).await.unwrap();
    let superseding = RollSecret { supersede: true, ..ROLL };
    assert_eq!(platform.set("fourth", superseding).await.unwrap().revision, Some(4));
    platform.until_value("fourth").await;
    // What is there already is not rolled out again, nor what nothing uses.
    assert_eq!(platform.set("fourth", ROLL).await.unwrap(), SecretSet { version: 4, changed: false, revision: None });
    let other = controller.set_secret(&ann(), "shop", "other", value("x"), ROLL).await.unwrap();
    assert_eq!((other.version, other.revision), (1, None));
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_request_to_set_a_secret_that_is_made_again_sets_it_once() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    platform.set("first", KEEP).await.unwrap();
    controller.apply_app(&ann(), "shop", with_secret("web:1")).await.unwrap();
    platform.until_value("first").await;
    let begin = async |text: &str| controller.begin_request(&ann(), "key", &[b"PUT", text.as_bytes()]).await;
    let set = async |begun: Begin| {
        let Begin::Execute(request) = begun else { panic!("{begun:?}") };
        let actor = ann().by_request(request.context());
        controller.set_secret(&actor, "shop", "url", value("second"), ROLL).await.unwrap()
    };
    // The server dies before it answers.
    let first = set(begin("second").await.unwrap()).await;
    assert_eq!(first, SecretSet { version: 2, changed: true, revision: Some(2) });
    assert_eq!(set(begin("second").await.unwrap()).await, first);
    assert_eq!(controller.secrets("shop").await.unwrap()[0].versions.len(), 2);
    assert!(matches!(begin("another").await, Err(ControllerError::KeyReused { .. })));
    // Nobody finds out by trying what it was.
    let kept = platform.store.list(REQUESTS, &KeyRange::all()).await.unwrap();
    let plain = |parts: &[&[u8]]| {
        let with_length = |part: &&[u8]| [&(part.len() as u64).to_be_bytes()[..], part].concat();
        hex::encode(Sha256::digest(parts.iter().flat_map(with_length).collect::<Vec<u8>>()))
    };
    assert_eq!(kept.len(), 1);
    assert_ne!(kept[0].body["fingerprint"], plain(&[b"PUT", b"second"]));
    // What a version before had begun is known all the same.
    let mut body = kept[0].body.clone();
    body["fingerprint"] = plain(&[b"PUT", b"second"]).into();
    platform.store.replace(REQUESTS, &kept[0].key, kept[0].version, body).await.unwrap();
    assert_eq!(set(begin("second").await.unwrap()).await, first);
}

#[tokio::test(start_paused = true)]
async fn three_values_are_kept_and_those_that_may_be_needed_unasked() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    platform.set("1", KEEP).await.unwrap();
    controller.apply_app(&ann(), "shop", with_secret("web:1")).await.unwrap();
    platform.until_value("1").await;
    for text in ["2", "3", "4", "5"] {
        platform.set(text, KEEP).await.unwrap();
    }
    let kept = async || {
        let secrets = controller.secrets("shop").await.unwrap();
        secrets[0].versions.iter().map(|version| version.version).collect::<Vec<_>>()
    };
    assert_eq!(kept().await, [5, 4, 3, 1], "a container has the first, and may be made again");
    let id = platform.host("one").really_there()[0].id.clone();
    platform.host("one").outsider_remove(&id).unwrap();
    platform.until_value("1").await;
    platform.set("6", ROLL).await.unwrap();
    platform.until_value("6").await;
    platform.set("7", KEEP).await.unwrap();
    assert_eq!(kept().await, [7, 6, 5]);
    let back = || RollbackRequest { to: Some(1), supersede: false };
    let refused = controller.rollback_app(&ann(), "shop", back()).await.unwrap_err();
    assert!(
        matches!(&refused, ControllerError::Conflict { reason } if reason.contains("version 1 of secret url")),
        "{refused}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_deleted_when_nothing_uses_it_and_its_numbers_are_not_used_again() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    let delete = async || controller.delete_secret(&ann(), "shop", "url").await;
    assert!(matches!(delete().await, Err(ControllerError::SecretNotFound { .. })));
    platform.set("first", KEEP).await.unwrap();
    delete().await.unwrap();
    assert!(platform.store.list(SECRETS, &KeyRange::all()).await.unwrap().is_empty());

    platform.set("first", KEEP).await.unwrap();
    controller.apply_app(&ann(), "shop", with_secret("web:1")).await.unwrap();
    platform.until_value("first").await;
    let used = delete().await.unwrap_err();
    assert!(matches!(&used, ControllerError::Conflict { reason } if reason.contains("web of revision 1")), "{used}");
    let without = request("[component.web]\nimage = 'web:1'\nupdate = { drain = '1s' }");
    controller.apply_app(&ann(), "shop", without).await.unwrap();
    let used = delete().await.unwrap_err();
    assert!(matches!(used, ControllerError::Conflict { .. }), "the rollout may go back to it: {used}");
    platform.settled().await;
    delete().await.unwrap();
    assert!(controller.secrets("shop").await.unwrap().is_empty());
    assert!(matches!(delete().await, Err(ControllerError::SecretNotFound { .. })));
    let back = || RollbackRequest { to: Some(1), supersede: false };
    assert!(matches!(controller.rollback_app(&ann(), "shop", back()).await, Err(ControllerError::Conflict { .. })));
    assert_eq!(platform.set("second", KEEP).await.unwrap().version, 2);
    let still = controller.rollback_app(&ann(), "shop", back()).await;
    assert!(matches!(still, Err(ControllerError::Conflict { .. })), "the second is not what revision 1 had");

    platform.host("one").set_latency(Duration::from_secs(1));
    controller.destroy_app(&ann(), "shop", false).await.unwrap();
    let late = platform.set("third", KEEP).await.unwrap_err();
    assert!(matches!(late, ControllerError::Conflict { .. }), "it would go with the application: {late}");
    assert!(eventually(|| controller.app("shop").is_err()).await);
    assert!(platform.store.list(SECRETS, &KeyRange::all()).await.unwrap().is_empty(), "they went with it");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_no_variable_can_hold_is_refused_before_anything_is_changed() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    let binary = SecretValue::new(&b"a\0b"[..]).unwrap();
    controller.set_secret(&ann(), "shop", "url", binary.clone(), KEEP).await.unwrap();
    let refused = controller.apply_app(&ann(), "shop", with_secret("web:1")).await.unwrap_err().to_string();
    assert!(refused.contains("component.web.env.URL") && refused.contains("as a file"), "{refused}");
    platform.set("text", KEEP).await.unwrap();
    controller.apply_app(&ann(), "shop", with_secret("web:1")).await.unwrap();
    platform.until_value("text").await;
    assert!(controller.set_secret(&ann(), "shop", "url", binary, ROLL).await.is_err());
    assert_eq!(controller.secrets("shop").await.unwrap()[0].versions[0].version, 2);
}

#[tokio::test(start_paused = true)]
async fn while_the_store_does_not_answer_no_container_is_made_and_nobody_is_to_blame() {
    let mut platform = Platform::without_engines(&["one"]).await;
    let store = Arc::new(FailingStore::new(platform.store.clone()));
    platform.store = store.clone();
    platform.controller = start(&platform).await;
    platform.add("one").await;
    platform.set("first", KEEP).await.unwrap();
    platform.controller.apply_app(&ann(), "shop", with_secret("web:1")).await.unwrap();
    platform.until_value("first").await;
    let made = platform.host("one").asked("create").times;
    store.fail_after_reads(Some(0));
    let id = platform.host("one").really_there()[0].id.clone();
    platform.host("one").outsider_remove(&id).unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(platform.host("one").asked("create").times, made, "not without its secret");
    let app = platform.controller.app("shop").unwrap();
    assert_eq!((app.rollout, app.last_rollout.unwrap().outcome), (None, RolloutOutcome::Done));
    store.fail_after_reads(None);
    platform.until_value("first").await;
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_kept_no_more_fails_the_rollout_with_the_reason() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    platform.set("first", KEEP).await.unwrap();
    controller.apply_app(&ann(), "shop", with_secret("web:1")).await.unwrap();
    platform.until_value("first").await;
    platform.set("second", KEEP).await.unwrap();
    let file =
        "[component.web]\nimage = 'web:2'\nbefore = { command = ['migrate'] }\nenv = { URL = { secret = 'url' } }";
    controller.apply_app(&ann(), "shop", request(file)).await.unwrap();
    let command = || platform.host("one").really_there().into_iter().find(|found| found.name.contains("before"));
    assert!(eventually(|| command().is_some()).await);
    // Somebody changes the store by hand: from one of a backup, say.
    let mut found = platform.store.get(SECRETS, "shop/url").await.unwrap().unwrap();
    found.body["versions"].as_object_mut().unwrap().remove("2");
    platform.store.replace(SECRETS, "shop/url", found.version, found.body).await.unwrap();
    platform.host("one").outsider_end(&command().unwrap().id, 0).unwrap();
    let app = platform.app_until(|app| app.last_rollout.as_ref().is_some_and(|last| last.to == 3)).await;
    let last = app.last_rollout.unwrap();
    assert_eq!(last.outcome, RolloutOutcome::RolledBack);
    assert!(last.why.contains("version 2 of secret url is not kept"), "{}", last.why);
    let web = || platform.host("one").really_there().into_iter().find(|found| found.name.contains("web.1"));
    assert_eq!(platform.host("one").hidden_environment(&web().unwrap().id)["URL"].as_text(), Some("first"));
}

/// The value in every form in which it could have come somewhere.
fn forms(planted: &str) -> Vec<String> {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD.encode(planted);
    let hex = hex::encode(planted);
    vec![planted.to_owned(), base64.trim_end_matches('=').to_owned(), hex, hex::encode(Sha256::digest(planted))]
}

#[tokio::test(start_paused = true)]
async fn a_planted_value_is_found_nowhere() {
    const PLANTED: &str = "hunter2-planted-value";
    let (heard, _guard) = hear_log(tracing::Level::TRACE);
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    let mut said = String::new();
    let mut say = |part: &str, what: String| said.push_str(&format!("\n[{part}] {what}"));
    let file = |image: &str| {
        let text = "\nbefore = { command = ['printenv'] }\ncommand = ['printenv']\nsecrets = [{ name = 'url' }]\nenv = { URL = { secret = 'url' } }\nupdate = { drain = '1s' }";
        request(&format!("[component.web]\nimage = '{image}'{text}"))
    };
    let Begin::Execute(asked) = controller.begin_request(&ann(), "key", &[PLANTED.as_bytes()]).await.unwrap() else {
        panic!("begun twice")
    };
    let actor = ann().by_request(asked.context());
    let set = controller.set_secret(&actor, "shop", "url", value(PLANTED), KEEP).await.unwrap();
    say("set", format!("{set:?} {}", serde_json::to_string(&set).unwrap()));
    let plan = controller.plan_app(&ann(), "shop", file("web:1")).await.unwrap();
    say("plan", format!("{plan:?} {}", serde_json::to_string(&plan).unwrap()));
    controller.apply_app(&ann(), "shop", file("web:1")).await.unwrap();
    let command = || platform.host("one").really_there().into_iter().find(|found| found.name.contains("before"));
    assert!(eventually(|| command().is_some()).await);
    let id = command().unwrap().id;
    assert_eq!(platform.host("one").hidden_environment(&id)["URL"].as_text(), Some(PLANTED), "the command has it, too");
    platform.host("one").outsider_end(&id, 0).unwrap();
    platform.settled().await;

    // Programs that write what they were given: the command that fails, and the container that is replaced.
    controller.apply_app(&ann(), "shop", file("web:7")).await.unwrap();
    assert!(eventually(|| command().is_some_and(|found| found.name.ends_with("r2"))).await);
    platform.host("one").outsider_end(&command().unwrap().id, 1).unwrap();
    let app = platform.app_until(|app| app.rollout.is_none() && app.summary.revision == 3).await;
    assert!(format!("{app:?}").contains("URL=***"), "{app:#?}");
    say("last lines", format!("{app:?} {}", serde_json::to_string(&app).unwrap()));
    controller.restart_app(&ann(), "shop", Default::default()).await.unwrap();
    platform.settled().await;
    let kept = platform.store.list(OUTPUTS, &KeyRange::all()).await.unwrap();
    assert!(kept.iter().any(|kept| kept.body.to_string().contains("URL=***")), "{kept:?}");

    // A host that repeats what it was given when it refuses.
    let words = format!("invalid environment: \"URL={PLANTED}\"");
    platform.host("one").set_words_of_failure(&words);
    platform.host("one").fail_next("create", 1000, EngineErrorKind::Refused);
    let broken = request(
        "[component.web]\nimage = 'web:2'\nenv = { URL = { secret = 'url' } }\nupdate = { drain = '1s', on_failure = 'pause' }",
    );
    let to = controller.apply_app(&ann(), "shop", broken).await.unwrap().revision;
    let app = platform.app_until(|app| app.last_rollout.as_ref().is_some_and(|last| last.to == to)).await;
    assert!(app.last_rollout.as_ref().unwrap().why.contains("URL=***"), "{app:#?}");
    say("status", format!("{app:?} {}", serde_json::to_string(&app).unwrap()));

    let revision = controller.app_revision("shop", 1).unwrap();
    say("revision", format!("{revision:?} {}", serde_json::to_string(&revision).unwrap()));
    say("export", AppRequest::to_toml(&revision.app).unwrap());
    say("diff", format!("{:?}", controller.app_diff("shop", 1, 2).unwrap()));
    say("secrets", serde_json::to_string(&controller.secrets("shop").await.unwrap()).unwrap());
    say("containers", format!("{:?}", controller.app_containers("shop", None).unwrap()));
    say("events", format!("{:?} {:?}", controller.events(10_000).await.unwrap(), platform.events.events()));
    for container in platform.host("one").really_there() {
        say("host", format!("{container:?}"));
    }
    for table in ALL.into_iter().chain([STORE]) {
        for document in platform.store.list(table, &KeyRange::all()).await.unwrap() {
            say("store", format!("{table} {} {}", document.key, document.body));
        }
    }
    let records = controller.shared.apps.secrets().records().all().await.unwrap();
    say("record", format!("{records:?} {asked:?}"));
    say("memory", format!("{controller:?}"));
    let errors = [
        controller.set_secret(&ann(), "shop", "no name", value(PLANTED), KEEP).await.unwrap_err(),
        controller.delete_secret(&ann(), "shop", "url").await.unwrap_err(),
    ];
    say("errors", format!("{errors:?}"));
    let heard = String::from_utf8_lossy(&heard.lock()).into_owned();
    assert!(heard.contains("a step failed") && heard.contains("URL=***"), "the log was heard");
    say("log", heard);
    for form in forms(PLANTED) {
        if let Some(at) = said.find(&form) {
            panic!("{form} is found: {}", &said[said[..at].rfind("\n[").unwrap()..at + form.len()]);
        }
    }
}
