//! Dashboard, alerts and manual use only metrics and labels that exist, and the manual has them all.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use serde_json::Value;
use tidemill::telemetry::catalogue::{self, CATALOGUE};

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Every `tidemill_…` name in a text with the labels in the braces behind it.
fn series(text: &str) -> Vec<(String, Vec<String>)> {
    let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let mut found = Vec::new();
    for (start, _) in text.match_indices("tidemill_") {
        if text[..start].ends_with(is_name) {
            continue;
        }
        let name: String = text[start..].chars().take_while(|it| is_name(*it)).collect();
        let rest = &text[start + name.len()..];
        let inside = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inside, _)| inside);
        let label = |part: &str| part.split(['=', '!']).next().unwrap().trim().to_owned();
        let labels = inside.split(',').map(label).filter(|it| !it.is_empty()).collect();
        found.push((name, labels));
    }
    found
}

fn check(place: &str, expression: &str) -> usize {
    let found = series(expression);
    for (name, labels) in &found {
        let Some(metric) = catalogue::of_series(name) else { panic!("{place}: no metric has the series {name}") };
        for label in labels {
            let known = metric.labels.contains(&label.as_str()) || ["instance", "job", "le"].contains(&label.as_str());
            assert!(known, "{place}: {name} has no label {label}; it has {:?}", metric.labels);
        }
    }
    found.len()
}

/// Every string in a JSON tree that stands under one of these keys.
fn strings_under<'a>(tree: &'a Value, keys: &[&str], out: &mut Vec<&'a str>) {
    match tree {
        Value::Object(table) => {
            for (key, value) in table {
                if let (true, Some(text)) = (keys.contains(&key.as_str()), value.as_str()) {
                    out.push(text);
                }
                strings_under(value, keys, out);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| strings_under(item, keys, out)),
        _ => {}
    }
}

#[test]
fn dashboard_uses_only_metrics_and_labels_that_exist() {
    let dashboard: Value = serde_json::from_str(&read("grafana/tidemill.json")).unwrap();
    let mut expressions = Vec::new();
    strings_under(&dashboard, &["expr", "query", "definition"], &mut expressions);
    let used: usize = expressions.iter().map(|expression| check("grafana/tidemill.json", expression)).sum();
    assert!(used > 40, "only {used} series found: is the dashboard read?");
}

#[test]
fn alerts_use_only_metrics_and_labels_that_exist() {
    let used = check("deploy/alerts.yml", &read("deploy/alerts.yml"));
    assert!(used >= 7, "only {used} series found: are the alerts read?");
}

#[test]
fn dashboard_panels_have_titles_descriptions_and_their_own_ids() {
    let dashboard: Value = serde_json::from_str(&read("grafana/tidemill.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids: Vec<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert!(!panel["title"].as_str().unwrap().is_empty() && !panel["description"].as_str().unwrap().is_empty());
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "panel ids repeat");
}

#[test]
fn manual_has_every_metric_with_its_labels_and_help() {
    let manual = read("docs/operations.md");
    for row in catalogue::table().lines() {
        assert!(manual.contains(row), "docs/operations.md lacks the row:\n{row}");
    }
    let rows = manual.lines().filter(|line| line.starts_with("| `tidemill_")).count();
    assert_eq!(rows, CATALOGUE.len(), "docs/operations.md has rows of metrics that are gone");
}
