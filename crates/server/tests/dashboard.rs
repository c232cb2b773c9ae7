//! The dashboard over HTTP: where it is, and the headers of its answers, whether
//! or not it was built into this program.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod support;

use reqwest::redirect::Policy;
use support::Bench;

#[tokio::test]
async fn browsers_come_to_the_dashboard_and_runners_to_the_api() {
    let bench = Bench::new().await;
    let http = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
    let get = |path: &str, accept: &str| {
        http.get(format!("{}{path}", bench.url)).header("accept", accept.to_owned()).send()
    };
    let browser = "text/html,application/xhtml+xml,*/*;q=0.8";
    let to = get("/", browser).await.unwrap();
    assert_eq!((to.status().as_u16(), &to.headers()["location"]), (307, &"/ui/".parse().unwrap()));
    assert_eq!(get("/", "*/*").await.unwrap().status(), 200);
    let to = get("/ui", browser).await.unwrap();
    assert_eq!((to.status().as_u16(), &to.headers()["location"]), (308, &"/ui/".parse().unwrap()));
    for path in ["/ui/", "/ui/runs/7", "/ui/runners", "/ui/a/b/c.d?x=1"] {
        let page = get(path, browser).await.unwrap();
        assert_eq!(page.status(), 200, "{path}");
        let headers = page.headers().clone();
        assert_eq!(headers["content-type"], "text/html; charset=utf-8");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe-inline") && !policy.contains("http"), "{policy}");
        assert!(!headers["cache-control"].to_str().unwrap().contains("max-age"));
        let text = page.text().await.unwrap().to_lowercase();
        assert!(text.starts_with("<!doctype html>") && !text.contains("<style"), "{text}");
    }
    let missing = get("/ui/assets/gone-0123.js", "*/*").await.unwrap();
    assert_eq!(missing.headers()["content-type"], "application/problem+json");
    assert_eq!(missing.status(), 404);
    // The root belongs to plain HTTP runners, whatever a browser would like.
    let runners = get("/runners", browser).await.unwrap();
    assert_eq!(runners.status(), 401);
    let posted = http.post(format!("{}/ui/", bench.url)).send().await.unwrap();
    assert_eq!(posted.status(), 405);
    bench.stop().await;
}
