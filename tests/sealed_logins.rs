//! Three servers on a real etcd, each with a key file of its own: who has the key leads, and opens what was sealed before it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::process::Command;
use std::time::Duration;

use paas_core::testing::etcd::Etcd;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::daemon::PretendedDocker;
use support::group::{Group, SERVERS};
use support::{eventually, program};

const PASSWORD: &str = "hush-hush >>>???~~~";

async fn health(group: &Group, number: usize) -> Value {
    let answer = group.http.get(format!("{}/healthz", group.peers[number].url)).send().await.unwrap();
    answer.json().await.unwrap()
}

fn key(folder: &std::path::Path, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(program("paas-server"));
    command.arg("key").args(arguments).args(["--secret-key-file", "secret.key"]).current_dir(folder).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_key_takes_over_and_pulls_with_a_login_that_another_sealed() {
    const NAME: &str = "who_has_the_key_takes_over_and_pulls_with_a_login_that_another_sealed";
    let Some(etcd) = Etcd::start(NAME).await else { return };
    let docker = PretendedDocker::start().await;
    let folder = Group::folder();
    let path = folder.path().to_owned();
    let engines = [format!("one={}", docker.address())];
    let mut group = Group::start_with_key(folder, &[&etcd.url(); SERVERS], &engines, "secret.key").await;
    let (first, _) = group.until_led(&[]).await;
    let client = group.client().await;
    let login = json!({"server": "r.example.org", "username": "ann", "password": PASSWORD});
    let (status, body) = client.send(Method::POST, "/api/registry-logins", Some(&login)).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{body}");

    let others: Vec<usize> = (0..SERVERS).filter(|&number| number != first).collect();
    for &number in &others {
        let says_so = || async { health(&group, number).await["stands_for_election"] == json!(false) };
        assert!(eventually(Duration::from_secs(20), says_so).await, "{}", health(&group, number).await);
        assert!(!path.join(number.to_string()).join("secret.key").exists(), "nobody makes a second key");
    }
    group.peers[first].process.kill().unwrap();
    group.peers[first].process.wait().unwrap();
    let is_led = || async {
        let mut leads = false;
        for &number in &others {
            leads |= group.peers[number].role(&group.http).await.as_deref() == Some("leader");
        }
        leads
    };
    assert!(!eventually(Duration::from_secs(8), is_led).await, "nobody leads without the key");

    let exported = key(&path.join(first.to_string()), &["export"]);
    std::fs::write(path.join("copy"), exported.stdout).unwrap();
    let imported = key(&path.join(others[1].to_string()), &["import", "../copy"]);
    assert!(imported.status.success(), "{imported:?}");
    let (second, _) = group.until_led(&[first]).await;
    assert_eq!(second, others[1]);
    // Asked of the one that has no key: it sends on what it is asked.
    let client = client.begun_at(others[0]);
    let pull = json!({"name": "r.example.org/web:1"});
    let (status, body) = client.send(Method::POST, "/api/images/pull", Some(&pull)).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let login = docker.logins().pop().expect("the host was asked to pull");
    assert_eq!((login["username"].as_str(), login["password"].as_str()), (Some("ann"), Some(PASSWORD)), "{login}");
}
