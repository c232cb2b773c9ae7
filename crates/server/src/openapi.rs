//! The OpenAPI document: collected from the handlers, with what is the same
//! everywhere (problems, the bearer token) added once. A copy is committed at
//! `docs/openapi.json`.

use crate::cookies::SESSION as SESSION_COOKIE;
use crate::routes;
use fleetfoot_model::Problem;
use fleetfoot_model::problem::PROBLEM_MEDIA_TYPE;
use fleetfoot_model::version::VERSION;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, Ref, RefOr, Response,
    ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};

const SCHEME: &str = "token";
const SESSION: &str = "session";
const ABOUT_SESSION: &str = "A session of a browser. The cookie has the name `fleetfoot_session_ID`, where the ID is the installation's, and the \
     prefix `__Host-` where https is. What changes something also needs its `csrf_token` as `X-Fleetfoot-CSRF`.";
const ABOUT: &str =
    "The control plane of a fleet of runners. Every error is a problem (RFC 9457) with a stable `code`.";

/// The document as JSON, as `/api/openapi.json` serves it.
#[must_use]
pub fn document() -> String {
    let mut text = build().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

pub(crate) fn build() -> OpenApi {
    let (_, collected) = routes::groups().unbounded().split_for_parts();
    let mut schemas = vec![("Problem".to_owned(), Problem::schema())];
    Problem::schemas(&mut schemas);
    let mut components = ComponentsBuilder::from(collected.components.unwrap_or_default())
        .security_scheme(
            SCHEME,
            SecurityScheme::Http(
                HttpBuilder::new()
                    .scheme(HttpAuthScheme::Bearer)
                    .description(Some("An API, registration, runner or job token"))
                    .build(),
            ),
        )
        .security_scheme(
            SESSION,
            SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
                SESSION_COOKIE,
                ABOUT_SESSION,
            ))),
        )
        .build();
    components.schemas.extend(schemas);
    let mut api = OpenApiBuilder::new()
        .info(InfoBuilder::new().title("Fleetfoot").version(VERSION).description(Some(ABOUT)).build())
        .paths(collected.paths)
        .components(Some(components))
        .security(Some([SCHEME, SESSION].map(|s| SecurityRequirement::new::<_, [&str; 0], &str>(s, []))))
        .build();
    for (path, item) in &mut api.paths.paths {
        let alias = !path.starts_with("/api/") && path.starts_with("/runners");
        for operation in operations(item) {
            finish(operation, alias);
        }
    }
    api
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete, &mut item.put].into_iter().flatten()
}

/// Adds the problems, and tells the two names of one operation apart.
fn finish(operation: &mut Operation, alias: bool) {
    let open = operation.security.as_ref().is_some_and(|all| !all.is_empty());
    let mut problems = vec![("default", "Any other problem")];
    if !open {
        problems.extend([
            ("401", "No token, or an unknown or ended one"),
            ("403", "The token does not allow this"),
        ]);
    }
    if operation
        .parameters
        .as_ref()
        .is_some_and(|all| all.iter().any(|p| matches!(p, RefOr::T(p) if p.name == "id")))
    {
        problems.push(("404", "No such thing, or not yours to know"));
    }
    if operation.request_body.is_some() {
        problems.extend([
            ("400", "The request cannot be understood"),
            ("409", "The state does not allow this now"),
            ("413", "The body is too large"),
            ("415", "The body has a media type that is not read here"),
        ]);
    }
    problems.push(("503", "Too much to do, or shutting down; `Retry-After` says when to try again"));
    for (status, description) in problems {
        operation
            .responses
            .responses
            .entry(status.to_owned())
            .or_insert_with(|| RefOr::T(problem(description)));
    }
    for (status, response) in &mut operation.responses.responses {
        // The standard wants words for every answer.
        if let RefOr::T(response) = response
            && response.description.is_empty()
        {
            response.description = match status.as_str() {
                "201" => "Created",
                "202" => "Accepted",
                "204" => "Done",
                _ => "The answer",
            }
            .to_owned();
        }
    }
    if alias {
        operation.operation_id = operation.operation_id.take().map(|id| format!("{id}_at_root"));
        operation.summary = operation.summary.take().map(|s| format!("{s} (the same as under /api/v1)"));
    }
}

fn problem(description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description(description).content(PROBLEM_MEDIA_TYPE, content).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    const UPDATE: &str = "UPDATE_OPENAPI";

    fn parsed() -> Value {
        serde_json::from_str(&document()).unwrap()
    }

    fn each_operation(api: &Value, mut check: impl FnMut(&str, &str, &Value)) {
        for (path, item) in api["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                check(path, method, operation);
            }
        }
    }

    #[test]
    fn the_committed_document_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        if std::env::var_os(UPDATE).is_some() {
            std::fs::write(path, document()).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == document(),
            "docs/openapi.json is not what the server serves; run this test with {UPDATE}=1"
        );
    }

    /// The router knows its paths only in its debug form; that is enough to compare.
    #[test]
    fn every_route_is_in_the_document() {
        let (router, api) = routes::groups().unbounded().split_for_parts();
        let debug = format!("{router:?}");
        let routed: BTreeSet<&str> =
            debug.split('"').filter(|s| s.starts_with('/') && !s.contains("axum_fallback")).collect();
        let documented: BTreeSet<&str> = api.paths.paths.keys().map(String::as_str).collect();
        assert_eq!(routed, documented);
        assert!(documented.len() > 40, "{documented:?}");
        for path in
            ["/runners/{id}/assign-job", "/api/v1/runners/{id}/assign-job", "/api/v1/runs/batch", "/metrics"]
        {
            assert!(documented.contains(path), "{path}");
        }
    }

    #[test]
    fn every_operation_has_problems_a_tag_words_and_an_id_of_its_own() {
        let mut ids = BTreeSet::new();
        each_operation(&parsed(), |path, method, operation| {
            let at = format!("{method} {path}");
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{at}");
            assert!(operation["summary"].as_str().is_some_and(|s| s.len() > 5), "{at}");
            assert!(operation["tags"][0].is_string(), "{at}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|s| s.starts_with('2')), "{at}");
            assert!(
                responses.values().all(|r| r["description"].as_str().is_some_and(|d| !d.is_empty())),
                "{at}"
            );
            let mut expected = vec!["default", "503"];
            if operation.get("security").is_none() {
                expected.extend(["401", "403"]);
            }
            if operation.get("requestBody").is_some() {
                expected.extend(["400", "413", "415"]);
            }
            for status in expected {
                let content = &responses[status]["content"]["application/problem+json"];
                assert_eq!(content["schema"]["$ref"], "#/components/schemas/Problem", "{at} {status}");
            }
        });
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn visit(value: &Value, root: &Value) {
            match value {
                Value::Object(map) => {
                    if let Some(Value::String(reference)) = map.get("$ref") {
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(root.pointer(pointer).is_some(), "{reference}");
                    }
                    map.values().for_each(|v| visit(v, root));
                }
                Value::Array(all) => all.iter().for_each(|v| visit(v, root)),
                _ => {}
            }
        }
        let api = parsed();
        assert!(api["openapi"].as_str().unwrap().starts_with("3.1"));
        visit(&api, &api);
    }
}
