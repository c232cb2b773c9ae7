//! Cases about users and their sessions.

use super::Harness;
use super::fixtures::{at, done, token_row};
use crate::{Op, SessionHolder, SessionRow, Store, UserChange, UserRow};
use fleetfoot_model::api::TokenKind;
use fleetfoot_model::ids::{TokenId, UserId};
use fleetfoot_model::users::{Identity, Role, SignInMethod};

/// Runs all cases of this part.
pub async fn all(h: &dyn Harness) {
    users_read_back(h).await;
    names_and_identities_are_taken_once(h).await;
    ids_are_not_reused(h).await;
    sessions_read_back(h).await;
    sessions_end_with_what_they_stand_on(h).await;
    an_older_proof_begins_nothing(h).await;
    the_longest_unused_session_makes_room(h).await;
    unused_and_expired_sessions_are_forgotten(h).await;
}

fn row(name: &str) -> UserRow {
    UserRow {
        id: UserId(0),
        name: name.to_owned(),
        display_name: "Ada Lovelace".to_owned(),
        role: Role::Member,
        password: Some("$argon2id$x".to_owned()),
        disabled: false,
        identity: None,
        generation: 1,
        created_at: at(1),
        last_sign_in_at: None,
    }
}

fn identity(subject: &str) -> Option<Identity> {
    Some(Identity { provider: "corp".to_owned(), subject: subject.to_owned() })
}

fn session(hash: u8, holder: SessionHolder, seen: i64) -> SessionRow {
    let method = match holder {
        SessionHolder::User(_) => SignInMethod::Password,
        SessionHolder::Token(_) => SignInMethod::Token,
    };
    SessionRow {
        hash: [hash; 32],
        holder,
        method,
        provider: None,
        created_at: at(2),
        seen_at: at(seen),
        expires_at: at(1000),
    }
}

async fn add(store: &dyn Store, row: UserRow) -> UserRow {
    let UserChange::Done(id) = store.add_user(row).await.expect("writes work") else {
        panic!("the user is new")
    };
    store.user(id).await.expect("reads work").expect("it was added")
}

async fn begin(store: &dyn Store, user: &UserRow, hash: u8, seen: i64) {
    let row = session(hash, SessionHolder::User(user.id), seen);
    assert!(store.begin_session(row, Some(user.generation), 10).await.expect("writes work"));
}

async fn lives(store: &dyn Store, hash: u8) -> bool {
    store.session(&[hash; 32]).await.expect("reads work").is_some()
}

/// Every field is kept; what may change changes.
pub async fn users_read_back(h: &dyn Harness) {
    let store = h.fresh().await;
    assert!(!store.any_password().await.expect("reads work"));
    let ada = add(&*store, UserRow { identity: identity("1"), ..row("Ada") }).await;
    assert_eq!(ada, UserRow { id: ada.id, identity: identity("1"), ..row("Ada") });
    assert!(store.any_password().await.expect("reads work"));
    assert_eq!(store.user_by_name("aDA").await.expect("reads work").as_ref(), Some(&ada));
    let by = store.user_by_identity(&identity("1").expect("one")).await.expect("reads work");
    assert_eq!(by.as_ref(), Some(&ada));
    let changed = UserRow {
        display_name: "Countess".to_owned(),
        role: Role::Admin,
        disabled: true,
        identity: None,
        generation: 2,
        ..ada.clone()
    };
    assert_eq!(store.update_user(changed.clone()).await.expect("writes work"), UserChange::Done(ada.id));
    assert_eq!(store.user(ada.id).await.expect("reads work"), Some(changed.clone()));
    assert!(!store.any_password().await.expect("reads work"), "a disabled user signs in nowhere");
    assert!(store.set_password(ada.id, Some("$argon2id$y".to_owned()), None).await.expect("writes work"));
    let changed = UserRow { password: Some("$argon2id$y".to_owned()), generation: 3, ..changed };
    assert_eq!(store.users().await.expect("reads work"), [changed]);
    assert!(store.remove_user(ada.id).await.expect("writes work"));
    assert!(!store.remove_user(ada.id).await.expect("writes work"));
    assert!(!store.set_password(ada.id, None, None).await.expect("writes work"));
    assert_eq!(store.update_user(ada).await.expect("writes work"), UserChange::Missing);
    assert!(store.users().await.expect("reads work").is_empty());
}

/// A name (whatever its case) and an identity belong to one user.
pub async fn names_and_identities_are_taken_once(h: &dyn Harness) {
    let store = h.fresh().await;
    add(&*store, UserRow { identity: identity("1"), ..row("ada") }).await;
    let again = store.add_user(row("ADA")).await.expect("writes work");
    assert_eq!(again, UserChange::NameTaken);
    let other = UserRow { identity: identity("1"), ..row("grace") };
    assert_eq!(store.add_user(other).await.expect("writes work"), UserChange::IdentityTaken);
    let grace = add(&*store, row("grace")).await;
    let taken = UserRow { identity: identity("1"), ..grace.clone() };
    assert_eq!(store.update_user(taken).await.expect("writes work"), UserChange::IdentityTaken);
    assert_eq!(store.user(grace.id).await.expect("reads work"), Some(grace));
}

/// The audit log names users for longer than they exist.
pub async fn ids_are_not_reused(h: &dyn Harness) {
    let store = h.fresh().await;
    let first = add(&*store, row("ada")).await;
    store.remove_user(first.id).await.expect("writes work");
    assert!(add(&*store, row("ada")).await.id > first.id);
}

/// Every field is kept, and uses move on only.
pub async fn sessions_read_back(h: &dyn Harness) {
    let store = h.fresh().await;
    let ada = add(&*store, row("ada")).await;
    let own = SessionRow {
        method: SignInMethod::Oidc,
        provider: Some("corp".to_owned()),
        ..session(1, SessionHolder::User(ada.id), 5)
    };
    assert!(store.begin_session(own.clone(), Some(1), 10).await.expect("writes work"));
    let (found, user) = store.session(&[1; 32]).await.expect("reads work").expect("it began");
    assert_eq!(found, own);
    assert_eq!(user, Some(UserRow { last_sign_in_at: Some(at(2)), ..ada }));
    done(&*store, Op::CreateToken(Box::new(token_row(7, TokenKind::Member)))).await;
    let token = session(2, SessionHolder::Token(TokenId(7)), 5);
    assert!(store.begin_session(token.clone(), None, 10).await.expect("writes work"));
    assert_eq!(store.session(&[2; 32]).await.expect("reads work"), Some((token.clone(), None)));
    store.touch_sessions(vec![([2; 32], at(9)), ([3; 32], at(9))]).await.expect("writes work");
    store.touch_sessions(vec![([2; 32], at(7))]).await.expect("writes work");
    let (touched, _) = store.session(&[2; 32]).await.expect("reads work").expect("it began");
    assert_eq!(touched, SessionRow { seen_at: at(9), ..token });
    assert!(store.end_session(&[2; 32]).await.expect("writes work"));
    assert!(!store.end_session(&[2; 32]).await.expect("writes work"));
    assert!(lives(&*store, 1).await && !lives(&*store, 2).await);
}

/// Password, identity, disabled, removed; a token's on demand.
pub async fn sessions_end_with_what_they_stand_on(h: &dyn Harness) {
    let store = h.fresh().await;
    let mut ada = add(&*store, row("ada")).await;
    begin(&*store, &ada, 1, 5).await;
    begin(&*store, &ada, 2, 5).await;
    store.set_password(ada.id, Some("new".to_owned()), Some([2; 32])).await.expect("writes work");
    assert!(!lives(&*store, 1).await && lives(&*store, 2).await, "the one that was to be kept is kept");
    ada = UserRow { role: Role::ReadOnly, ..ada };
    store.update_user(ada.clone()).await.expect("writes work");
    assert!(lives(&*store, 2).await, "a role is looked up, not kept");
    store.update_user(UserRow { identity: identity("2"), ..ada.clone() }).await.expect("writes work");
    assert!(!lives(&*store, 2).await);
    ada = store.user(ada.id).await.expect("reads work").expect("she is there");
    begin(&*store, &ada, 3, 5).await;
    store.update_user(UserRow { disabled: true, ..ada.clone() }).await.expect("writes work");
    assert!(!lives(&*store, 3).await);
    store.update_user(UserRow { disabled: false, ..ada.clone() }).await.expect("writes work");
    ada = store.user(ada.id).await.expect("reads work").expect("she is there");
    begin(&*store, &ada, 4, 5).await;
    store.remove_user(ada.id).await.expect("writes work");
    assert!(!lives(&*store, 4).await);
    done(&*store, Op::CreateToken(Box::new(token_row(7, TokenKind::Member)))).await;
    let of_token = SessionHolder::Token(TokenId(7));
    assert!(store.begin_session(session(5, of_token, 5), None, 10).await.expect("writes work"));
    store.end_sessions(of_token).await.expect("writes work");
    assert!(!lives(&*store, 5).await);
    done(&*store, Op::RevokeToken { token: TokenId(7), at: at(9) }).await;
    assert!(!store.begin_session(session(6, of_token, 5), None, 10).await.expect("writes work"));
}

/// Who verified a password that was changed meanwhile begins no session with it.
pub async fn an_older_proof_begins_nothing(h: &dyn Harness) {
    let store = h.fresh().await;
    let ada = add(&*store, row("ada")).await;
    store.set_password(ada.id, Some("new".to_owned()), None).await.expect("writes work");
    let late = session(1, SessionHolder::User(ada.id), 5);
    assert!(!store.begin_session(late.clone(), Some(ada.generation), 10).await.expect("writes work"));
    store.update_user(UserRow { disabled: true, ..ada.clone() }).await.expect("writes work");
    let now = store.user(ada.id).await.expect("reads work").expect("she is there");
    assert!(!store.begin_session(late.clone(), Some(now.generation), 10).await.expect("writes work"));
    store.remove_user(ada.id).await.expect("writes work");
    assert!(!store.begin_session(late, Some(now.generation), 10).await.expect("writes work"));
    assert!(!lives(&*store, 1).await);
}

/// The number of sessions of a holder is bounded.
pub async fn the_longest_unused_session_makes_room(h: &dyn Harness) {
    let store = h.fresh().await;
    let ada = add(&*store, row("ada")).await;
    let grace = add(&*store, row("grace")).await;
    begin(&*store, &grace, 9, 1).await;
    for (hash, seen) in [(1, 30), (2, 10), (3, 20)] {
        begin(&*store, &ada, hash, seen).await;
    }
    let fourth = session(4, SessionHolder::User(ada.id), 5);
    assert!(store.begin_session(fourth, Some(1), 3).await.expect("writes work"));
    let mut left = Vec::new();
    for hash in [1, 2, 3, 4, 9] {
        if lives(&*store, hash).await {
            left.push(hash);
        }
    }
    assert_eq!(left, [1, 3, 4, 9]);
}

/// Housekeeping.
pub async fn unused_and_expired_sessions_are_forgotten(h: &dyn Harness) {
    let store = h.fresh().await;
    let ada = add(&*store, row("ada")).await;
    begin(&*store, &ada, 1, 50).await;
    begin(&*store, &ada, 2, 60).await;
    store.forget_sessions(at(100), at(55)).await.expect("writes work");
    assert!(!lives(&*store, 1).await && lives(&*store, 2).await);
    store.forget_sessions(at(1000), at(55)).await.expect("writes work");
    assert!(!lives(&*store, 2).await);
}
