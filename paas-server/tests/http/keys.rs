//! The key that seals secrets in the store: made once, needed at every start, brought elsewhere and changed.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};

use paas_core::store::{KeyRange, SqliteStore, Store, tables};
use serde_json::json;

use crate::program::{Running, program, stderr, stdout};
use crate::support::{Api, PASSWORD};

const SECRET: &str = "hush-hush-1";

fn key(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = program(&["key"]);
    command.args(arguments).args(["--data-dir", folder.join("data").to_str().unwrap()]).output().unwrap()
}

async fn start(folder: &Path) -> (Running, Api) {
    let server = Running::start_with(folder, &["--no-engine"], &[("PAAS_ADMIN_PASSWORD", PASSWORD)]);
    let mut api = Api::new(&server.url());
    let login = api.post("/auth/login", &json!({"username": "admin", "password": PASSWORD})).await;
    api.token = Some(login.json()["token"].as_str().unwrap().to_owned());
    (server, api)
}

/// What a start that is refused says.
fn refused(folder: &Path) -> String {
    let data = folder.join("data");
    let arguments = ["--listen", "127.0.0.1:0", "--no-engine", "--data-dir", data.to_str().unwrap()];
    let output = program(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    stderr(&output)
}

async fn stop(server: Running) {
    server.signal("-TERM");
    assert_eq!(server.end().await.0, Some(0));
}

/// Everything that a secret could lie in.
async fn stored(folder: &Path) -> String {
    let store = SqliteStore::open(&folder.join("data/paas.db")).await.unwrap();
    let mut text = String::new();
    for table in tables::ALL {
        for document in store.list(table, &KeyRange::all()).await.unwrap() {
            text += &format!("{table}/{} {}\n", document.key, document.body);
        }
    }
    text
}

#[tokio::test]
async fn a_server_that_has_lost_the_key_says_what_to_do_and_goes_on_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data/secret.key");
    let (server, api) = start(folder.path()).await;
    let login = json!({"server": "r.local", "username": "ann", "password": SECRET});
    assert_eq!(api.post("/api/registry-logins", &login).await.status, 204);
    stop(server).await;
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let stored = stored(folder.path()).await;
    assert!(stored.contains("registry_logins/r.local") && !stored.contains(SECRET), "{stored}");

    let exported = key(folder.path(), &["export"]);
    assert!(exported.status.success());
    let copy = folder.path().join("copy");
    fs::write(&copy, &exported.stdout).unwrap();
    fs::remove_file(&file).unwrap();
    let said = refused(folder.path());
    assert!(said.contains("there is no key file") && said.contains("paas-server key import"), "{said}");
    assert!(!file.exists(), "no other key is made for a store that has one");
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    stop(start(&other).await.0).await;
    fs::copy(other.join("data/secret.key"), &file).unwrap();
    let said = refused(folder.path());
    assert!(said.contains("that key is not in") && said.contains("secret.key"), "{said}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let said = refused(folder.path());
    assert!(said.contains("open to others") && said.contains("chmod 600"), "{said}");
    fs::remove_file(&file).unwrap();
    let imported = key(folder.path(), &["import", copy.to_str().unwrap()]);
    assert!(stdout(&imported).contains("Added 1 of 1 keys"), "{imported:?}");
    let (server, api) = start(folder.path()).await;
    assert_eq!(api.get("/api/registry-logins").await.json()[0]["username"], "ann");
    stop(server).await;
}

#[tokio::test]
async fn a_key_is_changed_and_a_backup_says_which_one_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let (server, api) = start(folder.path()).await;
    for registry in ["a.local", "b.local"] {
        let login = json!({"server": registry, "username": "ann", "password": SECRET});
        assert_eq!(api.post("/api/registry-logins", &login).await.status, 204);
    }
    stop(server).await;
    let before = stored(folder.path()).await;
    let prepared = key(folder.path(), &["rotate", "--prepare"]);
    assert!(prepared.status.success(), "{prepared:?}");
    assert_eq!(stored(folder.path()).await, before, "nothing is sealed with it yet");
    let rotated = key(folder.path(), &["rotate"]);
    assert!(stdout(&rotated).contains("Sealed 2 records with it"), "{rotated:?}");
    let fingerprint = stdout(&rotated).split_whitespace().nth(2).unwrap().to_owned();
    assert!(stdout(&prepared).contains(&fingerprint), "the one that was prepared");
    let exported = stdout(&key(folder.path(), &["export"]));
    assert_eq!(exported.lines().filter(|line| line.starts_with("paas-key-1 ")).count(), 2, "old ones stay");
    let after = stored(folder.path()).await;
    assert_eq!(after.matches(&fingerprint).count(), 3, "{after}");

    let backup = folder.path().join("backup");
    let mut command = program(&["store", "backup", backup.to_str().unwrap()]);
    let backed_up = command.args(["--data-dir", folder.path().join("data").to_str().unwrap()]).output().unwrap();
    let said = stdout(&backed_up);
    assert!(said.contains(&fingerprint) && said.contains("The key is not in it"), "{said}");
    let text = fs::read_to_string(&backup).unwrap();
    assert!(!text.contains(SECRET) && !text.contains("paas-key-1"));
    let (server, api) = start(folder.path()).await;
    assert_eq!(api.get("/api/registry-logins").await.json().as_array().unwrap().len(), 2);
    stop(server).await;
}

#[tokio::test]
async fn a_key_that_is_lost_for_good_is_replaced_and_what_is_lost_with_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (server, api) = start(folder.path()).await;
    let login = json!({"server": "r.local", "username": "ann", "password": SECRET});
    assert_eq!(api.post("/api/registry-logins", &login).await.status, 204);
    stop(server).await;
    let not_lost = key(folder.path(), &["rotate", "--lost"]);
    assert!(stderr(&not_lost).contains("is not lost"), "{not_lost:?}");
    fs::remove_file(folder.path().join("data/secret.key")).unwrap();
    let missing = key(folder.path(), &["rotate"]);
    assert!(stderr(&missing).contains("there is no key file"), "{missing:?}");
    let replaced = key(folder.path(), &["rotate", "--lost"]);
    assert_eq!(replaced.status.code(), Some(1));
    assert!(stderr(&replaced).contains("registry_logins/r.local"), "{replaced:?}");
    let (server, api) = start(folder.path()).await;
    assert_eq!(api.get("/api/registry-logins").await.json()[0]["server"], "r.local", "it is listed");
    assert_eq!(api.post("/api/registry-logins", &login).await.status, 204, "and can be set again");
    stop(server).await;
    let rotated = key(folder.path(), &["rotate"]);
    assert_eq!(rotated.status.code(), Some(0));
    assert!(stdout(&rotated).contains("Sealed 1 record with it."), "{rotated:?}");
}

#[tokio::test]
async fn what_an_older_version_left_in_clear_is_sealed_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    {
        let store = SqliteStore::open(&folder.path().join("data/paas.db")).await.unwrap();
        store.insert(tables::PLATFORM, "name", json!("first")).await.unwrap();
        let login = json!({"server": "r.local", "username": "ann", "password": SECRET});
        store.insert(tables::REGISTRY_LOGINS, "r.local", login).await.unwrap();
        let engine =
            json!({"id": "one", "addr": "tcp://127.0.0.1:1", "registry_login": {"username": "u", "password": SECRET}});
        store.insert(tables::ENGINES, "one", engine).await.unwrap();
    }
    let no_key = key(folder.path(), &["rotate"]);
    assert!(stderr(&no_key).contains("has no key yet"), "{no_key:?}");
    let (server, api) = start(folder.path()).await;
    assert_eq!(api.get("/api/engines/one").await.json()["registry_user"], "u");
    stop(server).await;
    let stored = stored(folder.path()).await;
    assert!(!stored.contains(SECRET) && stored.contains("\"name\"") | stored.contains("platform/name"), "{stored}");
}

#[tokio::test]
async fn a_store_in_memory_needs_no_file_and_what_is_no_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), &["--no-engine", "--store", "memory:"]);
    stop(server).await;
    assert!(!folder.path().join("data").exists());
    let mut importing = program(&["key", "import", "-", "--data-dir", folder.path().join("data").to_str().unwrap()]);
    let mut importing = importing.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    importing.stdin.take().unwrap().write_all(b"paas-key-1 not-a-key\n").unwrap();
    let output = importing.wait_with_output().unwrap();
    let said = stderr(&output);
    assert!(!output.status.success() && said.contains("line 1") && !said.contains("not-a-key"), "{said}");
    assert!(!folder.path().join("data").exists());
}
