//! Every query of the PostgreSQL dashboard runs; with `TIDEMILL_TEST_ANALYSES` set to a number, on that many analyses,
//! each within 500 ms.

use std::time::{Duration, Instant};

use serde_json::Value;
use tidemill::stores::postgres::PostgresStore;

use crate::{config, database};

/// How many analyses to load, such as 1000000.
const VARIABLE: &str = "TIDEMILL_TEST_ANALYSES";
/// Analyses when it is not set: the queries are tried, not timed.
const FEW: u64 = 2_000;
/// How long a query may take on any number of analyses that was asked for.
const LIMIT: Duration = Duration::from_millis(500);

fn dashboard() -> Value {
    serde_json::from_str(include_str!("../../grafana/analytics.json")).unwrap()
}

/// A query as Grafana sends it, for the last seven days and all symbols.
fn filled(sql: &str) -> String {
    let mut sql = sql.to_owned();
    while let Some(start) = sql.find("$__timeFilter(") {
        let end = start + sql[start..].find(')').unwrap();
        let column = sql[start + "$__timeFilter(".len()..end].to_owned();
        sql.replace_range(start..=end, &format!("{column} BETWEEN now() - interval '7 days' AND now()"));
    }
    let symbols: Vec<String> = (0..20).map(|index| format!("'SYM{index}'")).collect();
    sql.replace("$__timeFrom()", "(now() - interval '7 days')")
        .replace("$__timeTo()", "now()")
        .replace("$symbol", &symbols.join(", "))
}

/// Title and query of every panel and variable.
fn queries() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let mut found: Vec<(String, String)> = panels
        .map(|panel| {
            let sql = panel["targets"][0]["rawSql"].as_str().unwrap();
            (panel["title"].as_str().unwrap().to_owned(), filled(sql))
        })
        .collect();
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    found.extend(
        variables
            .filter(|it| it["type"] == "query")
            .map(|it| ("variable".to_owned(), filled(it["query"].as_str().unwrap()))),
    );
    found
}

/// Thirty days of analyses: 500 symbols, 8 sources, one in seven a copy, two entities each.
async fn load(client: &tokio_postgres::Client, count: u64) {
    let number = format!(
        "CREATE TEMP TABLE g AS SELECT i, 'doc-' || i AS id, now() - (i * interval '30 days') / {count} AS at,
            (i % 7 = 6) AS copy, (random() * 2 - 1)::real AS score FROM generate_series(1, {count}) i;"
    );
    let fill = r#"
        INSERT INTO raw.documents SELECT id, 'c-' || i, 'source' || i % 8, NULL, 'Headline ' || i, 'Text of document ' || i,
            NULL, at, 0, '[]', 'en', '{}', '\x00', extract(epoch FROM at) * 1000, 'documents', 0, i FROM g;
        INSERT INTO analytics.analyses SELECT i, id, 'c-' || i, 'source' || i % 8,
            CASE WHEN copy THEN 'duplicate' ELSE 'stored' END, CASE WHEN copy THEN 'doc-' || (i / 700 * 700 + 1) END,
            NULL, NULL, CASE WHEN copy THEN NULL WHEN score > 0.3 THEN 'positive' WHEN score < -0.3 THEN 'negative' ELSE 'neutral' END,
            CASE WHEN copy THEN NULL ELSE score END, CASE WHEN copy THEN NULL ELSE 'category' || i % 12 END,
            ARRAY['SYM' || i % 500], at, at, extract(epoch FROM at) * 1000, 'documents', 0, i, '{}' FROM g;
        INSERT INTO analytics.symbols SELECT 'SYM' || i % 500, at, i, 'c-' || i,
            CASE WHEN score > 0.3 THEN 'positive' WHEN score < -0.3 THEN 'negative' ELSE 'neutral' END, score FROM g WHERE NOT copy;
        INSERT INTO analytics.entities SELECT i, n, at, 'c-' || i, CASE n WHEN 0 THEN 'company' ELSE 'percent' END,
            CASE n WHEN 0 THEN 'Company ' || i % 2000 ELSE i % 100 || '%' END, 0, 5, NULL FROM g, generate_series(0, 1) n WHERE NOT copy;
        INSERT INTO logging.log_entries SELECT now() - i * interval '1 millisecond', 'WARN', 'tidemill', 'message ' || i, 'c-' || i, '{"error": "e"}', 'd'
            FROM generate_series(1, 20000) i WHERE now() - i * interval '1 millisecond' >= date_trunc('day', now(), 'UTC');
    "#;
    client.batch_execute(&format!("{number}{fill}")).await.unwrap();
    client.batch_execute("VACUUM ANALYZE").await.unwrap();
}

#[tokio::test]
async fn every_query_of_the_dashboard_runs_and_on_many_analyses_within_half_a_second() {
    let Some(url) = database() else { return };
    let asked: Option<u64> = std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok());
    let mut config = config(&url);
    config.call_timeout_ms = 600_000;
    config.upkeep.refresh_seconds = 0;
    let store = PostgresStore::open(&config).await.unwrap();
    store.tend().await.unwrap();
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    load(&client, asked.unwrap_or(FEW)).await;
    let started = Instant::now();
    store.tend().await.unwrap();
    eprintln!("views refreshed on {} analyses in {:?}", asked.unwrap_or(FEW), started.elapsed());
    let mut late = Vec::new();
    for (title, sql) in queries() {
        // once to warm the caches, as a dashboard that refreshes every minute has them
        client.simple_query(&sql).await.unwrap_or_else(|error| panic!("{title}: {error}: {sql}"));
        let started = Instant::now();
        let rows = client.simple_query(&sql).await.unwrap().len();
        let took = started.elapsed();
        eprintln!("{took:>12.1?}  {title} ({rows} messages)");
        if took > LIMIT {
            late.push(format!("{title}: {took:?}"));
        }
    }
    driver.abort();
    assert!(asked.is_none() || late.is_empty(), "over {LIMIT:?}: {late:?}");
}

#[test]
fn panels_have_titles_descriptions_and_their_own_ids() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids: Vec<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    for panel in panels {
        assert!(!panel["title"].as_str().unwrap().is_empty() && !panel["description"].as_str().unwrap().is_empty());
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
    }
    ids.dedup();
    assert_eq!(ids.len(), panels.len(), "panel ids repeat");
}
