//! The API's description in `OpenAPI` 3.1, made of the table of endpoints and the schemas beside it.

use serde_json::{Map, Value, json};

use super::routes::{self, Endpoint};
use crate::messages::code::ErrorCode;

/// The shapes that bodies and answers refer to.
const SCHEMAS: &str = include_str!("schemas.json");

/// The whole description.
pub(crate) fn document(faults: bool) -> Value {
    let mut paths = Map::new();
    for endpoint in routes::existing(faults) {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[endpoint.method.to_ascii_lowercase()] = operation(endpoint);
    }
    let mut schemas: Value = serde_json::from_str(SCHEMAS).unwrap_or_default();
    schemas["Error"] = error_schema();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tidemill",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Turns market text into deduplicated, scored, searchable documents. Writes need the bearer token once \
                one is configured. Every answer carries the header correlation-id; a given one is taken over, and the \
                documents of a list get it with - and their index behind it.",
            "license": { "name": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn operation(endpoint: &Endpoint) -> Value {
    let mut parameters: Vec<Value> = path_parameters(endpoint.path)
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    parameters.extend(endpoint.parameters.iter().map(|parameter| {
        json!({
            "name": parameter.name,
            "in": "query",
            "description": parameter.description,
            "schema": { "type": parameter.kind },
        })
    }));
    let (status, shape) = endpoint.answer;
    let mut operation = json!({
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        "operationId": operation_id(endpoint),
        "parameters": parameters,
        "responses": {
            status.to_string(): { "description": "done", "content": content(shape) },
            "default": { "description": "refused or failed", "content": content("Error") },
        },
    });
    if let Some(schema) = endpoint.body {
        let mut body = content(schema);
        if ["Documents", "Bars"].contains(&schema) {
            body["application/x-ndjson"] =
                json!({ "schema": { "type": "string", "description": "one object a line" } });
        }
        operation["requestBody"] = json!({ "required": true, "content": body });
    }
    if endpoint.method != "GET" {
        operation["security"] = json!([{ "token": [] }, {}]);
    }
    operation
}

fn content(shape: &str) -> Value {
    if shape.contains('/') {
        return json!({ shape: { "schema": { "type": "string" } } });
    }
    json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{shape}") } } })
}

/// Method and path as one name, such as `post_v1_dead_letters_id_replay`.
fn operation_id(endpoint: &Endpoint) -> String {
    let words = endpoint.path.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut id = endpoint.method.to_ascii_lowercase();
    for word in words {
        id.push('_');
        id.push_str(word);
    }
    id
}

fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn error_schema() -> Value {
    let codes: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    json!({
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "message", "correlation_id"],
                "properties": {
                    "code": { "type": "string", "enum": codes },
                    "message": { "type": "string" },
                    "field": { "type": "string" },
                    "correlation_id": { "type": ["string", "null"] },
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reference_has_its_schema_and_every_schema_is_used() {
        let document = document(true);
        let defined: BTreeSet<String> =
            document["components"]["schemas"].as_object().unwrap().keys().cloned().collect();
        let text = document.to_string();
        let used: BTreeSet<String> = text
            .split("#/components/schemas/")
            .skip(1)
            .map(|rest| rest.chars().take_while(char::is_ascii_alphanumeric).collect())
            .collect();
        assert_eq!(used, defined);
    }

    #[test]
    fn operation_ids_are_unique() {
        let ids: Vec<_> = routes::existing(true).map(operation_id).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    }
}
