//! Cases about runners, tokens, answered creates and the audit log.

use super::Harness;
use super::fixtures::*;
use crate::{IdempotencyRow, Op, OpError, OpOk, RunnerRow, TokenRow};
use fleetfoot_model::api::TokenKind;
use fleetfoot_model::ids::{RunId, RunnerId, TokenId};
use serde_json::{Value, json};

/// Runs all cases of this part.
pub async fn all(h: &dyn Harness) {
    runners_read_back(h).await;
    names_of_runners_are_unique(h).await;
    deleted_runner_loses_its_tokens(h).await;
    tokens_read_back(h).await;
    tokens_are_revoked(h).await;
    tokens_of_a_runner_are_rotated(h).await;
    limited_uses_hold_under_concurrency(h).await;
    unusable_tokens_are_refused(h).await;
    failed_registration_makes_nothing(h).await;
    answered_creates_are_kept_once(h).await;
    audit_is_read_backwards(h).await;
}

async fn runners(store: &dyn crate::Store) -> Vec<RunnerRow> {
    let mut all = store.runners().await.expect("reads work");
    all.sort_unstable_by_key(|r| r.id);
    all
}

async fn token(store: &dyn crate::Store, id: u64) -> TokenRow {
    store.token(TokenId(id)).await.expect("reads work").expect("the token exists")
}

/// Every field of a runner is kept, replaced and touched.
pub async fn runners_read_back(h: &dyn Harness) {
    let store = h.fresh().await;
    let row = runner_row(1, "cellar-1");
    done(&*store, Op::CreateRunner(Box::new(row.clone()))).await;
    assert_eq!(runners(&*store).await, std::slice::from_ref(&row));
    let new = RunnerRow {
        name: "attic".to_owned(),
        description: String::new(),
        fixed_labels: Vec::new(),
        fixed_queue: None,
        info: Default::default(),
        slots: 1,
        drain: true,
        last_seen_at: Some(at(50)),
        ..row
    };
    done(&*store, Op::UpdateRunner(Box::new(new.clone()))).await;
    assert_eq!(runners(&*store).await, std::slice::from_ref(&new));
    missing(&*store, Op::UpdateRunner(Box::new(runner_row(2, "x")))).await;
    let touch = |t| Op::TouchRunners(vec![(RunnerId(1), at(t)), (RunnerId(9), at(t))]);
    done(&*store, touch(60)).await;
    assert_eq!(runners(&*store).await[0].last_seen_at, Some(at(60)));
    unchanged(&*store, touch(55)).await;
    assert_eq!(runners(&*store).await[0].last_seen_at, Some(at(60)), "contact never goes back");
}

/// A name belongs to one runner until that is deleted.
pub async fn names_of_runners_are_unique(h: &dyn Harness) {
    let store = h.fresh().await;
    let make = |id, name| Op::CreateRunner(Box::new(runner_row(id, name)));
    done(&*store, make(1, "a")).await;
    conflict(&*store, make(2, "a")).await;
    conflict(&*store, make(1, "b")).await;
    done(&*store, make(2, "b")).await;
    conflict(&*store, Op::UpdateRunner(Box::new(runner_row(2, "a")))).await;
    done(&*store, Op::UpdateRunner(Box::new(runner_row(2, "b")))).await;
    done(&*store, Op::DeleteRunner { runner: RunnerId(1), at: at(9) }).await;
    done(&*store, make(3, "a")).await;
    let names: Vec<_> = runners(&*store).await.into_iter().map(|r| (r.id.0, r.name)).collect();
    assert_eq!(names, [(2, "b".to_owned()), (3, "a".to_owned())]);
}

/// Deleting a runner revokes its tokens and no others.
pub async fn deleted_runner_loses_its_tokens(h: &dyn Harness) {
    let store = h.fresh().await;
    done(&*store, Op::CreateRunner(Box::new(runner_row(1, "a")))).await;
    let own = TokenRow { runner: Some(RunnerId(1)), ..token_row(1, TokenKind::Runner) };
    let other = TokenRow { runner: Some(RunnerId(2)), ..token_row(2, TokenKind::Runner) };
    for row in [own, other] {
        done(&*store, Op::CreateToken(Box::new(row))).await;
    }
    let delete = || Op::DeleteRunner { runner: RunnerId(1), at: at(9) };
    done(&*store, delete()).await;
    missing(&*store, delete()).await;
    assert!(runners(&*store).await.is_empty());
    assert_eq!(token(&*store, 1).await.revoked_at, Some(at(9)));
    assert_eq!(token(&*store, 2).await.revoked_at, None);
}

/// Every field of a token is kept; tokens are found by hash, id and kind.
pub async fn tokens_read_back(h: &dyn Harness) {
    let store = h.fresh().await;
    let kinds = [
        TokenKind::Admin,
        TokenKind::Member,
        TokenKind::ReadOnly,
        TokenKind::Registration,
        TokenKind::Runner,
    ];
    let rows: Vec<_> = (1..).zip(kinds).map(|(id, kind)| token_row(id, kind)).collect();
    for row in &rows {
        done(&*store, Op::CreateToken(Box::new(row.clone()))).await;
        assert_eq!(store.token_by_hash(&row.hash).await.expect("reads work").as_ref(), Some(row));
        assert_eq!(&token(&*store, row.id.0).await, row);
        let of_kind = store.tokens(Some(row.kind)).await.expect("reads work");
        assert_eq!(of_kind, std::slice::from_ref(row));
    }
    let all = store.tokens(None).await.expect("reads work");
    assert_eq!(all.iter().map(|t| t.id.0).collect::<Vec<_>>(), [5, 4, 3, 2, 1]);
    conflict(&*store, Op::CreateToken(Box::new(rows[0].clone()))).await;
    let same_hash = TokenRow { hash: rows[0].hash, ..token_row(6, TokenKind::Member) };
    conflict(&*store, Op::CreateToken(Box::new(same_hash))).await;
    let job = apply(&*store, Op::CreateToken(Box::new(token_row(7, TokenKind::Job)))).await;
    assert!(matches!(job, Err(OpError::Failed(_))), "{job:?}");
    assert_eq!(store.token_by_hash(&[77; 32]).await.expect("reads work"), None);
    let touch = |t| Op::TouchTokens(vec![(TokenId(1), at(t)), (TokenId(99), at(t))]);
    done(&*store, touch(5)).await;
    unchanged(&*store, touch(4)).await;
    assert_eq!(token(&*store, 1).await.last_used_at, Some(at(5)));
}

/// A revoked token stays visible; the first revocation counts.
pub async fn tokens_are_revoked(h: &dyn Harness) {
    let store = h.fresh().await;
    done(&*store, Op::CreateToken(Box::new(token_row(1, TokenKind::Member)))).await;
    let revoke = |id, t| Op::RevokeToken { token: TokenId(id), at: at(t) };
    done(&*store, revoke(1, 5)).await;
    unchanged(&*store, revoke(1, 6)).await;
    missing(&*store, revoke(2, 6)).await;
    assert_eq!(token(&*store, 1).await.revoked_at, Some(at(5)));
    assert_eq!(store.tokens(None).await.expect("reads work").len(), 1);
}

/// Rotation keeps the newest token of a runner.
pub async fn tokens_of_a_runner_are_rotated(h: &dyn Harness) {
    let store = h.fresh().await;
    for id in 1..=3 {
        let row = TokenRow { runner: Some(RunnerId(1)), ..token_row(id, TokenKind::Runner) };
        done(&*store, Op::CreateToken(Box::new(row))).await;
    }
    let revoke = |keep| Op::RevokeRunnerTokens { runner: RunnerId(1), keep, at: at(5) };
    done(&*store, revoke(Some(TokenId(3)))).await;
    let state: Vec<_> =
        store.tokens(None).await.expect("reads work").into_iter().map(|t| t.revoked_at).collect();
    assert_eq!(state, [None, Some(at(5)), Some(at(5))]);
    unchanged(&*store, revoke(Some(TokenId(3)))).await;
    done(&*store, revoke(None)).await;
    unchanged(&*store, revoke(None)).await;
}

/// Of many callers, exactly as many use a registration token as it allows.
pub async fn limited_uses_hold_under_concurrency(h: &dyn Harness) {
    let store = h.fresh().await;
    let row = TokenRow { uses_left: Some(5), ..token_row(1, TokenKind::Registration) };
    done(&*store, Op::CreateToken(Box::new(row))).await;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..24 {
        let store = store.clone();
        callers.spawn(async move { apply(&*store, Op::UseToken { token: TokenId(1), at: at(9) }).await });
    }
    let answers = callers.join_all().await;
    assert_eq!(answers.iter().filter(|a| **a == Ok(OpOk::Done)).count(), 5);
    assert_eq!(answers.iter().filter(|a| matches!(a, Err(OpError::Conflict(_)))).count(), 19);
    let used = token(&*store, 1).await;
    assert_eq!((used.uses_left, used.last_used_at), (Some(0), Some(at(9))));
}

/// Expired, revoked and foreign tokens register nobody; one without a limit always works.
pub async fn unusable_tokens_are_refused(h: &dyn Harness) {
    let store = h.fresh().await;
    let base = token_row(1, TokenKind::Registration);
    let rows = [
        TokenRow { expires_at: Some(at(9)), ..base.clone() },
        TokenRow { revoked_at: Some(at(1)), ..token_row(2, TokenKind::Registration) },
        token_row(3, TokenKind::Admin),
        TokenRow { expires_at: None, ..token_row(4, TokenKind::Registration) },
    ];
    for row in rows {
        done(&*store, Op::CreateToken(Box::new(row))).await;
    }
    let uses = |id, t| Op::UseToken { token: TokenId(id), at: at(t) };
    done(&*store, uses(1, 8)).await;
    conflict(&*store, uses(1, 9)).await;
    conflict(&*store, uses(2, 8)).await;
    conflict(&*store, uses(3, 8)).await;
    for _ in 0..3 {
        done(&*store, uses(4, 8)).await;
    }
    assert_eq!(token(&*store, 4).await.uses_left, None);
    missing(&*store, uses(5, 8)).await;
}

/// A registration whose token cannot be used, or whose name is taken, leaves nothing behind.
pub async fn failed_registration_makes_nothing(h: &dyn Harness) {
    let store = h.fresh().await;
    let row = TokenRow { uses_left: Some(1), ..token_row(1, TokenKind::Registration) };
    done(&*store, Op::CreateToken(Box::new(row))).await;
    let register = |id: u64, name: &str| {
        let token = TokenRow { runner: Some(RunnerId(id)), ..token_row(id + 10, TokenKind::Runner) };
        vec![
            Op::UseToken { token: TokenId(1), at: at(9) },
            Op::CreateRunner(Box::new(runner_row(id, name))),
            Op::CreateToken(Box::new(token)),
        ]
    };
    let first = store.apply(register(1, "a")).await.expect("the store takes writes");
    assert!(first.iter().all(|a| *a == Ok(OpOk::Done)), "{first:?}");
    let second = store.apply(register(2, "b")).await.expect("the store takes writes");
    assert!(matches!(second[0], Err(OpError::Conflict(_))), "{second:?}");
    assert!(second[1..].iter().all(|a| matches!(a, Err(OpError::Failed(_)))), "{second:?}");
    let taken = store.apply(register(3, "a").split_off(1)).await.expect("the store takes writes");
    assert!(matches!(taken[0], Err(OpError::Conflict(_))), "{taken:?}");
    assert!(matches!(taken[1], Err(OpError::Failed(_))), "{taken:?}");
    assert_eq!(runners(&*store).await.len(), 1);
    assert_eq!(store.tokens(None).await.expect("reads work").len(), 2);
}

/// The first answer under a key stays until it is forgotten; a used key creates nothing.
pub async fn answered_creates_are_kept_once(h: &dyn Harness) {
    let store = h.fresh().await;
    let row = |key: &str, t| IdempotencyRow {
        key: key.to_owned(),
        request_hash: [7; 32],
        response: r#"{"run": 1}"#.to_owned(),
        created_at: at(t),
    };
    let keep = |key, t| Op::KeepIdempotent(Box::new(row(key, t)));
    let both = store.apply(vec![create(1, &[10]), keep("1:a", 5)]).await.expect("the store takes writes");
    assert!(both.iter().all(|a| *a == Ok(OpOk::Done)), "{both:?}");
    assert_eq!(store.idempotent("1:a").await.expect("reads work"), Some(row("1:a", 5)));
    assert_eq!(store.idempotent("1:b").await.expect("reads work"), None);
    conflict(&*store, keep("1:a", 6)).await;
    let again = store.apply(vec![keep("1:a", 6), create(2, &[20])]).await.expect("the store takes writes");
    assert!(matches!(again[..], [Err(OpError::Conflict(_)), Err(OpError::Failed(_))]), "{again:?}");
    assert_eq!(store.run(RunId(2)).await.expect("reads work"), None);
    let bad = store.apply(vec![create(1, &[10]), keep("1:c", 6)]).await.expect("the store takes writes");
    assert!(matches!(bad[..], [Err(OpError::Conflict(_)), Err(OpError::Failed(_))]), "{bad:?}");
    assert_eq!(store.idempotent("1:c").await.expect("reads work"), None, "no answer without its create");
    done(&*store, keep("1:b", 8)).await;
    done(&*store, Op::ForgetIdempotent { before: at(8) }).await;
    unchanged(&*store, Op::ForgetIdempotent { before: at(8) }).await;
    assert_eq!(store.idempotent("1:a").await.expect("reads work"), None);
    assert_eq!(store.idempotent("1:b").await.expect("reads work"), Some(row("1:b", 8)));
}

/// Audit entries count upwards and are read newest first.
pub async fn audit_is_read_backwards(h: &dyn Harness) {
    let store = h.fresh().await;
    for i in 0..5 {
        let op = Op::Audit {
            at: at(i),
            actor: "token:3".to_owned(),
            action: "token.create".to_owned(),
            subject: format!("token:{i}"),
            detail: if i == 0 { Value::Null } else { json!({"n": i}) },
        };
        done(&*store, op).await;
    }
    let newest = store.audit(None, 2).await.expect("reads work");
    assert_eq!(newest.iter().map(|e| e.subject.as_str()).collect::<Vec<_>>(), ["token:4", "token:3"]);
    assert!(newest[0].id > newest[1].id);
    assert_eq!(newest[0].detail, json!({"n": 4}));
    let rest = store.audit(Some(newest[1].id), 10).await.expect("reads work");
    assert_eq!(rest.len(), 3);
    assert_eq!((rest[2].detail.clone(), rest[2].at), (Value::Null, at(0)));
    assert_eq!((rest[2].actor.as_str(), rest[2].action.as_str()), ("token:3", "token.create"));
}
