//! Logins, tokens and accounts.

use super::*;
use crate::model::NewAccount;
use crate::store::{KeyRange, MemoryStore, Table};

const PASSWORD: &str = "correct horse";

fn quick(token_ttl: Duration) -> AuthSettings {
    AuthSettings { token_ttl, hash_cost: HashCost { memory_kib: 8, passes: 1 } }
}

async fn with_store(store: Arc<dyn Store>, token_ttl: Duration) -> Authenticator {
    with_clock(store, token_ttl, Clock::system()).await
}

async fn with_clock(store: Arc<dyn Store>, token_ttl: Duration, clock: Clock) -> Authenticator {
    Authenticator::new(store, vec![Role::admin(), Role::user()], quick(token_ttl), clock).await.unwrap()
}

async fn authenticator() -> Authenticator {
    with_store(Arc::new(MemoryStore::new()), Duration::from_secs(60)).await
}

fn new(username: &str, role: &str) -> NewAccount {
    let role = RoleName::new(role);
    NewAccount { id: None, username: username.parse().unwrap(), password: PASSWORD.into(), role }
}

async fn login(auth: &Authenticator, username: &str, password: &str) -> Result<IssuedToken> {
    let checked = auth.check(username, password, None).await?;
    Ok(auth.issue(&checked, vec![]).await?.0)
}

fn bearer(issued: &IssuedToken) -> Presented {
    Presented { username: None, token: issued.token.clone() }
}

#[tokio::test]
async fn a_login_gives_a_token_that_opens_what_the_role_opens() {
    let auth = authenticator().await;
    auth.add_account(new("ann", "user"), vec![]).await.unwrap();
    let issued = login(&auth, "ann", PASSWORD).await.unwrap();
    let session = auth.authenticate(&bearer(&issued)).unwrap();
    assert_eq!(session.username.as_str(), "ann");
    auth.authorize(&session, "/api/containers/abc").unwrap();
    assert!(matches!(auth.authorize(&session, "/api/account"), Err(AuthError::Forbidden { .. })));
    assert!(!auth.is_admin(&session));
}

#[tokio::test]
async fn wrong_names_passwords_and_tokens_are_turned_away() {
    let auth = authenticator().await;
    auth.add_account(new("ann", "user"), vec![]).await.unwrap();
    assert!(matches!(login(&auth, "ann", "wrong password").await, Err(AuthError::WrongPassword)));
    assert!(matches!(login(&auth, "bob", PASSWORD).await, Err(AuthError::WrongPassword)));
    assert!(matches!(login(&auth, "ann", &"x".repeat(5000)).await, Err(AuthError::WrongPassword)));
    let issued = login(&auth, "ann", PASSWORD).await.unwrap();
    let of_another = Presented { username: Some("bob".into()), token: issued.token.clone() };
    assert!(auth.authenticate(&of_another).is_err());
    let named = Presented { username: Some("ann".into()), token: issued.token.clone() };
    assert!(auth.authenticate(&named).is_ok());
    let wrong = Presented { username: None, token: format!("{}x", issued.token) };
    assert!(auth.authenticate(&wrong).is_err());
}

#[tokio::test]
async fn guessing_has_to_wait() {
    let auth = authenticator().await;
    auth.add_account(new("ann", "user"), vec![]).await.unwrap();
    for _ in 0..5 {
        assert!(matches!(login(&auth, "ann", "wrong password").await, Err(AuthError::WrongPassword)));
    }
    assert!(matches!(login(&auth, "ann", PASSWORD).await, Err(AuthError::Throttled { .. })));
}

#[tokio::test]
async fn tokens_end_by_time_and_by_logout() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let auth = with_store(store.clone(), Duration::from_millis(200)).await;
    auth.add_account(new("ann", "user"), vec![]).await.unwrap();
    let issued = login(&auth, "ann", PASSWORD).await.unwrap();
    assert!(auth.authenticate(&bearer(&issued)).is_ok());
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(auth.authenticate(&bearer(&issued)).is_err());
    let auth = with_store(store, Duration::from_secs(60)).await;
    let issued = login(&auth, "ann", PASSWORD).await.unwrap();
    assert_eq!(auth.logout(&issued.token, vec![]).await.unwrap().stored, Stored::Yes);
    assert!(auth.authenticate(&bearer(&issued)).is_err());
    assert_eq!(auth.logout(&issued.token, vec![]).await.unwrap().stored, Stored::Yes);
}

#[tokio::test]
async fn tokens_survive_a_restart_and_are_not_stored_in_clear() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let auth = with_store(store.clone(), Duration::from_secs(60)).await;
    auth.add_account(new("ann", "user"), vec![]).await.unwrap();
    let issued = login(&auth, "ann", PASSWORD).await.unwrap();
    let again = with_store(store.clone(), Duration::from_secs(60)).await;
    assert!(again.authenticate(&bearer(&issued)).is_ok());
    for table in ["accounts", "tokens"] {
        for document in store.list(Table::new(table), &KeyRange::all()).await.unwrap() {
            let text = format!("{} {}", document.key, document.body);
            assert!(!text.contains(&issued.token) && !text.contains(PASSWORD), "{text}");
        }
    }
}

#[tokio::test]
async fn accounts_are_added_once_with_a_role_that_exists_and_a_good_password() {
    let auth = authenticator().await;
    let added = auth.add_account(new("ann", "user"), vec![]).await.unwrap();
    assert_eq!(added.id.as_str(), "ann");
    assert!(matches!(auth.add_account(new("ann", "admin"), vec![]).await, Err(AuthError::AlreadyExists(_))));
    let Err(AuthError::Invalid(invalid)) = auth.add_account(new("bob", "king"), vec![]).await else { panic!("taken") };
    assert!(invalid.message.contains("admin, user"), "{invalid}");
    let weak = NewAccount { password: "short".into(), ..new("bob", "user") };
    assert!(matches!(auth.add_account(weak, vec![]).await, Err(AuthError::Invalid(_))));
    assert_eq!(auth.accounts().await.unwrap().len(), 1);
    assert_eq!(auth.account("ann").await.unwrap().role.as_str(), "user");
    assert!(matches!(auth.account("bob").await, Err(AuthError::NotFound(_))));
}

#[tokio::test]
async fn a_deleted_account_is_logged_out_at_once() {
    let auth = authenticator().await;
    auth.add_account(new("ann", "user"), vec![]).await.unwrap();
    let issued = login(&auth, "ann", PASSWORD).await.unwrap();
    auth.delete_account("ann", vec![]).await.unwrap();
    assert!(auth.authenticate(&bearer(&issued)).is_err());
    assert!(matches!(auth.delete_account("ann", vec![]).await, Err(AuthError::NotFound(_))));
}

#[tokio::test]
async fn of_the_last_two_admins_one_stays() {
    let auth = authenticator().await;
    auth.add_account(new("ann", "admin"), vec![]).await.unwrap();
    auth.add_account(new("bob", "admin"), vec![]).await.unwrap();
    let (first, second) = tokio::join!(auth.delete_account("ann", vec![]), auth.delete_account("bob", vec![]));
    assert!(first.is_ok() != second.is_ok());
    assert_eq!(auth.accounts().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions() {
    let auth = authenticator().await;
    auth.add_account(new("ann", "user"), vec![]).await.unwrap();
    let kept = login(&auth, "ann", PASSWORD).await.unwrap();
    let other = login(&auth, "ann", PASSWORD).await.unwrap();
    let wrong = auth.change_password("ann", Some(("wrong password", None)), "battery staple", None, vec![]).await;
    assert!(matches!(wrong, Err(AuthError::WrongPassword)));
    assert!(auth.change_password("ann", Some((PASSWORD, None)), "short", None, vec![]).await.is_err());
    auth.change_password("ann", Some((PASSWORD, None)), "battery staple", Some(&kept.token), vec![]).await.unwrap();
    assert!(auth.authenticate(&bearer(&kept)).is_ok() && auth.authenticate(&bearer(&other)).is_err());
    assert!(login(&auth, "ann", PASSWORD).await.is_err());
    assert!(login(&auth, "ann", "battery staple").await.is_ok());
    assert!(matches!(auth.change_password("bob", None, PASSWORD, None, vec![]).await, Err(AuthError::NotFound(_))));
}

#[tokio::test]
async fn the_first_admin_is_made_once() {
    let auth = authenticator().await;
    let password = auth.ensure_admin(None, vec![]).await.unwrap().unwrap();
    assert!(password.len() >= 20);
    assert!(auth.is_admin(&auth.authenticate(&bearer(&login(&auth, "admin", &password).await.unwrap())).unwrap()));
    assert_eq!(auth.ensure_admin(Some("another one".into()), vec![]).await.unwrap(), None);
}

#[tokio::test]
async fn secrets_are_not_printed() {
    let auth = authenticator().await;
    auth.add_account(new("ann", "user"), vec![]).await.unwrap();
    let issued = login(&auth, "ann", PASSWORD).await.unwrap();
    let printed = format!("{auth:?} {issued:?} {:?} {:?}", bearer(&issued), new("ann", "user"));
    assert!(!printed.contains(&issued.token) && !printed.contains(PASSWORD) && !printed.contains("argon2"));
}

#[tokio::test]
async fn tokens_and_waits_are_over_when_their_time_has_passed() {
    let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let ttl = Duration::from_secs(3600);
    let auth = with_clock(store.clone(), ttl, clock.clone()).await;
    auth.add_account(new("ann", "user"), vec![]).await.unwrap();
    let issued = login(&auth, "ann", PASSWORD).await.unwrap();
    for _ in 0..5 {
        assert!(login(&auth, "ann", "wrong password").await.is_err());
    }
    assert!(matches!(login(&auth, "ann", PASSWORD).await, Err(AuthError::Throttled { .. })));
    clock.advance(Duration::from_secs(1));
    login(&auth, "ann", PASSWORD).await.unwrap();
    clock.advance(ttl - Duration::from_secs(2));
    auth.authenticate(&bearer(&issued)).unwrap();
    clock.advance(Duration::from_secs(1));
    assert!(auth.authenticate(&bearer(&issued)).is_err());
    clock.advance(Duration::from_secs(1));
    let next = with_clock(store, ttl, clock).await;
    assert!(next.known_sessions().is_empty(), "nor does the next server take it");
}
