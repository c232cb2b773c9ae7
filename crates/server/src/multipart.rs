//! `POST /runs` as `multipart/form-data`, for `curl -F document=@ci.yml`. The
//! parts become the same [`CreateRun`] that JSON gives; nothing else reads forms.

use crate::error::{Answer, Failure};
use axum::body::Body;
use axum::extract::multipart::Field;
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Request};
use axum::http::request::Parts;
use bytes::Bytes;
use fleetfoot_model::api::CreateRun;
use fleetfoot_model::{Code, Diagnostic, Problem, Severity};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeSet;

const PARTS: &str = "document, kind, path, event, inputs, secrets, vars, env, project, repository, jobs, matrix, \
                     queue, priority";

/// Reads the parts of a form whose body is already complete.
pub(crate) async fn read(parts: Parts, body: Bytes) -> Answer<CreateRun> {
    let mut request = Request::from_parts(parts, Body::from(body));
    // The body was measured when it was read.
    DefaultBodyLimit::disable().apply(&mut request);
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|e| Failure::bad_request(format!("the form cannot be read: {}", e.body_text())))?;
    let mut run = CreateRun { kind: "workflow".to_owned(), ..CreateRun::default() };
    let mut seen = BTreeSet::new();
    let broken = |e: axum::extract::multipart::MultipartError| {
        Failure::bad_request(format!("the form cannot be read: {}", e.body_text()))
    };
    let mut file_name = None;
    while let Some(field) = form.next_field().await.map_err(broken)? {
        let Some(name) = field.name().map(str::to_owned) else {
            return Err(Failure::bad_request("a part of the form has no name"));
        };
        if name == "document" {
            file_name = field.file_name().map(str::to_owned);
        }
        read_part(&mut run, &name, field).await?;
        if !seen.insert(name.clone()) {
            return Err(Failure::bad_request(format!("the form has two parts '{name}'")));
        }
    }
    if !seen.contains("document") {
        return Err(Failure::bad_request("the form has no part 'document'")
            .with_hint("curl -F document=@.github/workflows/ci.yml …"));
    }
    if run.path.is_none() {
        run.path = file_name.filter(|name| !name.is_empty());
    }
    Ok(run)
}

async fn read_part(run: &mut CreateRun, name: &str, field: Field<'_>) -> Answer<()> {
    let file = field.file_name().filter(|f| !f.is_empty()).unwrap_or("document").to_owned();
    let bytes = field
        .bytes()
        .await
        .map_err(|e| Failure::bad_request(format!("part '{name}' cannot be read: {}", e.body_text())))?;
    if name == "document" {
        run.document = document_text(&file, &bytes)?;
        return Ok(());
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Failure::bad_request(format!("part '{name}' is not UTF-8")))?;
    match name {
        "kind" => run.kind = text.trim().to_owned(),
        "path" => run.path = Some(text.to_owned()),
        // A name alone is no JSON; `{"name": …}` is.
        "event" => {
            run.event =
                Some(serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.trim().to_owned())));
        }
        "inputs" => run.inputs = json(name, text)?,
        "secrets" => run.secrets = json(name, text)?,
        "vars" => run.vars = json(name, text)?,
        "env" => run.env = json(name, text)?,
        "project" => run.project = Some(text.trim().to_owned()),
        "repository" => run.repository = Some(json(name, text)?),
        "jobs" => run.jobs = json(name, text)?,
        "matrix" => run.matrix = json(name, text)?,
        "queue" => run.queue = Some(text.trim().to_owned()),
        "priority" => run.priority = Some(json(name, text)?),
        other => {
            return Err(Failure::bad_request(format!("the form has an unknown part '{other}'"))
                .with_hint(format!("parts are: {PARTS}")));
        }
    }
    Ok(())
}

/// Parses a part; the message never repeats the text, which may be a secret.
fn json<T: DeserializeOwned>(name: &str, text: &str) -> Answer<T> {
    serde_json::from_str(text).map_err(|e| {
        Failure::bad_request(format!(
            "part '{name}' is not the JSON that is expected here (line {}, column {})",
            e.line(),
            e.column()
        ))
    })
}

/// A document is text; where it is not, the error has the same form as any other error in it.
fn document_text(file: &str, bytes: &[u8]) -> Answer<String> {
    let error = match std::str::from_utf8(bytes) {
        Ok(text) => return Ok(text.to_owned()),
        Err(error) => error,
    };
    let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
    let last = good.rsplit('\n').next().unwrap_or_default();
    let mut problem = Problem::new(Code::BadDocument, format!("{file} is not UTF-8"));
    problem.errors.push(Diagnostic {
        file: file.to_owned(),
        line: good.matches('\n').count() + 1,
        column: last.chars().count() + 1,
        severity: Severity::Error,
        code: "invalid-utf-8".to_owned(),
        message: format!("byte {} of the document is not UTF-8", error.valid_up_to()),
        hint: Some("save the file as UTF-8".to_owned()),
        snippet: last.chars().take(200).collect(),
    });
    Err(problem.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::header;
    use serde_json::json;

    fn form(parts: &[(&str, Option<&str>, &[u8])]) -> (Parts, Bytes) {
        let mut body = Vec::new();
        for (name, file, content) in parts {
            body.extend_from_slice(b"--XX\r\nContent-Disposition: form-data; name=\"");
            body.extend_from_slice(name.as_bytes());
            body.extend_from_slice(b"\"");
            if let Some(file) = file {
                body.extend_from_slice(format!("; filename=\"{file}\"").as_bytes());
            }
            body.extend_from_slice(b"\r\n\r\n");
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--XX--\r\n");
        let request = Request::builder()
            .method("POST")
            .header(header::CONTENT_TYPE, "multipart/form-data; boundary=XX");
        (request.body(()).unwrap().into_parts().0, body.into())
    }

    async fn parse(parts: &[(&str, Option<&str>, &[u8])]) -> Answer<CreateRun> {
        let (parts, body) = form(parts);
        read(parts, body).await
    }

    #[tokio::test]
    async fn all_parts_arrive() {
        let run = parse(&[
            ("document", Some("ci.yml"), b"on: push\n"),
            ("kind", None, b"workflow"),
            ("event", None, b"pull_request"),
            ("inputs", None, br#"{"n": 1}"#),
            ("secrets", None, br#"{"KEY": "s3cret"}"#),
            ("jobs", None, br#"["build"]"#),
            ("priority", None, b"-5"),
        ])
        .await
        .unwrap();
        assert_eq!(run.document, "on: push\n");
        assert_eq!(run.path.as_deref(), Some("ci.yml"));
        assert_eq!(run.event, Some(json!("pull_request")));
        assert_eq!(run.inputs["n"], 1);
        assert_eq!(run.secrets["KEY"], "s3cret");
        assert_eq!((run.jobs, run.priority), (vec!["build".to_owned()], Some(-5)));
    }

    #[tokio::test]
    async fn the_event_may_be_json_and_the_path_explicit() {
        let run = parse(&[
            ("path", None, b"a/b.yml"),
            ("document", Some("b.yml"), b""),
            ("event", None, br#"{"name":"push","payload":{}}"#),
        ])
        .await
        .unwrap();
        assert_eq!(run.path.as_deref(), Some("a/b.yml"));
        assert_eq!(run.event, Some(json!({"name": "push", "payload": {}})));
        assert_eq!(run.kind, "workflow");
    }

    #[tokio::test]
    async fn mistakes_are_named() {
        let detail = async |parts: &[(&str, Option<&str>, &[u8])]| parse(parts).await.unwrap_err().0.detail;
        assert_eq!(detail(&[("kind", None, b"job")]).await, "the form has no part 'document'");
        assert_eq!(
            detail(&[("document", None, b""), ("inpts", None, b"{}")]).await,
            "the form has an unknown part 'inpts'"
        );
        assert_eq!(
            detail(&[("document", None, b""), ("document", None, b"")]).await,
            "the form has two parts 'document'"
        );
        let secret = detail(&[("document", None, b""), ("secrets", None, b"hunter2")]).await;
        assert_eq!(secret, "part 'secrets' is not the JSON that is expected here (line 1, column 1)");
    }

    #[tokio::test]
    async fn a_document_that_is_not_utf_8_is_a_bad_document() {
        let problem = parse(&[("document", Some("ci.yml"), b"on: push\nname: \xff\n")]).await.unwrap_err().0;
        assert_eq!(problem.code, Code::BadDocument);
        let d = &problem.errors[0];
        assert_eq!((d.file.as_str(), d.line, d.column), ("ci.yml", 2, 7));
    }

    #[tokio::test]
    async fn a_torn_form_is_a_bad_request() {
        let (parts, body) = form(&[("document", None, b"on: push")]);
        let torn = body.slice(..body.len() - 8);
        assert_eq!(read(parts, torn).await.unwrap_err().0.code, Code::BadRequest);
    }
}
