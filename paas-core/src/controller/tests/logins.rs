//! Tokens of accounts that are deleted or change their password meanwhile.

use super::lost_answers::{new_account, quick};
use super::*;
use crate::auth::{AuthError, IssuedToken, Presented};
use crate::store::{KeyRange, tables};
use crate::testing::store::{FailingStore, GatedStore};

const PASSWORD: &str = "correct horse battery";

fn is_good(controller: &Controller, issued: &IssuedToken) -> bool {
    let presented = Presented { username: None, token: issued.token.clone() };
    controller.shared.auth.authenticate(&presented).is_ok()
}

fn new_password() -> PasswordChange {
    PasswordChange {
        username: "bob".to_owned(),
        old_password: None,
        source: None,
        password: "battery staple".to_owned(),
        keep_token: None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_that_is_under_way_when_its_account_goes_gets_no_token() {
    for change in ["delete", "password"] {
        let platform = Platform::without_engines(&[]).await;
        let controller = quick(&platform.hosts, platform.store.clone()).await;
        controller.add_account(&ann(), new_account("bob")).await.unwrap();
        // The password is right, and what comes next waits.
        let checked = controller.shared.auth.check("bob", PASSWORD, None).await.unwrap();
        match change {
            "delete" => controller.delete_account(&ann(), "bob").await.unwrap(),
            _ => controller.change_password(&ann(), new_password()).await.unwrap(),
        }
        let issued = controller.shared.auth.issue(&checked, vec![]).await;
        assert!(matches!(issued, Err(AuthError::WrongPassword)), "{change}");
        assert!(platform.store.list(tables::TOKENS, &KeyRange::all()).await.unwrap().is_empty());
        // Nor when it is made again meanwhile, with the same password.
        if change == "delete" {
            controller.add_account(&ann(), new_account("bob")).await.unwrap();
            assert!(controller.shared.auth.issue(&checked, vec![]).await.is_err());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_of_an_account_waits_for_the_token_that_is_being_stored_and_ends_it() {
    for change in ["delete", "password"] {
        let platform = Platform::without_engines(&[]).await;
        let store = Arc::new(GatedStore::new(platform.store.clone()));
        let controller = quick(&platform.hosts, store.clone()).await;
        controller.add_account(&ann(), new_account("bob")).await.unwrap();
        store.close();
        let login = tokio::spawn({
            let controller = controller.clone();
            async move { controller.login("bob", PASSWORD).await }
        });
        store.until_one_waits().await;
        let changing = tokio::spawn({
            let controller = controller.clone();
            async move {
                match change {
                    "delete" => controller.delete_account(&ann(), "bob").await,
                    _ => controller.change_password(&ann(), new_password()).await,
                }
            }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        store.open();
        let issued = login.await.unwrap().unwrap();
        changing.await.unwrap().unwrap();
        assert!(!is_good(&controller, &issued), "{change}");
        assert!(platform.store.list(tables::TOKENS, &KeyRange::all()).await.unwrap().is_empty(), "{change}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_whose_account_is_gone_is_worth_nothing_at_the_next_start() {
    let platform = Platform::without_engines(&[]).await;
    let controller = quick(&platform.hosts, platform.store.clone()).await;
    controller.add_account(&ann(), new_account("bob")).await.unwrap();
    controller.add_account(&ann(), new_account("eve")).await.unwrap();
    let (bob, eve) =
        (controller.login("bob", PASSWORD).await.unwrap(), controller.login("eve", PASSWORD).await.unwrap());
    // As a store leaves it that makes a change in pieces and went away after the first.
    platform.store.delete(tables::ACCOUNTS, "bob", None).await.unwrap();
    let next = quick(&platform.hosts, platform.store.clone()).await;
    assert!(!is_good(&next, &bob) && is_good(&next, &eve));
    assert_eq!(platform.store.list(tables::TOKENS, &KeyRange::all()).await.unwrap().len(), 1);
    // One of the same name is another account.
    next.add_account(&ann(), new_account("bob")).await.unwrap();
    assert!(!is_good(&next, &bob));
    // This server finds it when it is told again.
    assert!(controller.delete_account(&ann(), "bob").await.is_ok());
    assert!(controller.delete_account(&ann(), "bob").await.is_err());
    assert!(!is_good(&controller, &bob) && is_good(&controller, &eve));
}

#[tokio::test(start_paused = true)]
async fn a_token_of_an_account_that_may_be_gone_is_worth_nothing_until_that_is_known() {
    let platform = Platform::without_engines(&[]).await;
    let failing = Arc::new(FailingStore::new(platform.store.clone()));
    let controller = quick(&platform.hosts, failing.clone()).await;
    controller.add_account(&ann(), new_account("bob")).await.unwrap();
    let issued = controller.login("bob", PASSWORD).await.unwrap();
    // Not made at all: it is good again.
    failing.fail_after_writes(Some(0));
    failing.fail_after_reads(Some(1));
    assert!(controller.delete_account(&ann(), "bob").await.unwrap_err().is_retryable());
    assert!(!is_good(&controller, &issued));
    failing.fail_after_writes(None);
    failing.fail_after_reads(None);
    assert!(eventually(|| is_good(&controller, &issued)).await);
    // Made in part, and nothing can be read for a while.
    failing.fail_after_writes(Some(0));
    failing.fail_after_reads(Some(1));
    assert!(controller.delete_account(&ann(), "bob").await.is_err());
    platform.store.delete(tables::ACCOUNTS, "bob", None).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!is_good(&controller, &issued));
    failing.fail_after_writes(None);
    failing.fail_after_reads(None);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!is_good(&controller, &issued));
    assert!(platform.store.list(tables::TOKENS, &KeyRange::all()).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn accounts_and_tokens_of_versions_before_are_good_together() {
    let platform = Platform::without_engines(&[]).await;
    let controller = quick(&platform.hosts, platform.store.clone()).await;
    controller.add_account(&ann(), new_account("bob")).await.unwrap();
    let issued = controller.login("bob", PASSWORD).await.unwrap();
    for table in [tables::ACCOUNTS, tables::TOKENS] {
        let document = platform.store.list(table, &KeyRange::all()).await.unwrap().remove(0);
        let mut body = document.body;
        assert!(body.as_object_mut().unwrap().remove("generation").is_some());
        body["of_a_later_version"] = serde_json::json!([1]);
        platform.store.replace(table, &document.key, document.version, body).await.unwrap();
    }
    let next = quick(&platform.hosts, platform.store.clone()).await;
    assert!(is_good(&next, &issued));
    let change = PasswordChange { keep_token: Some(issued.token.clone()), ..new_password() };
    next.change_password(&ann(), change).await.unwrap();
    let after = quick(&platform.hosts, platform.store.clone()).await;
    assert!(is_good(&next, &issued) && is_good(&after, &issued));
    for table in [tables::ACCOUNTS, tables::TOKENS] {
        let document = platform.store.list(table, &KeyRange::all()).await.unwrap().remove(0);
        assert_eq!(document.body["of_a_later_version"], serde_json::json!([1]), "what is not known is kept: {table:?}");
    }
}
