//! Several stores on one database: migrations, related writes at once, TLS, credentials, pools.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tidemill::config::postgres::{PostgresConfig, TlsMode};
use tidemill::config::secret::Secret;
use tidemill::messages::analysis::{Analysis, VerdictLabel};
use tidemill::messages::dead_letter::StoredDeadLetter;
use tidemill::messages::pipeline::DuplicateRule;
use tidemill::stores::documents::{DocumentFilter, DocumentStore, StoreError, VerdictRow, WriteOutcome};
use tidemill::stores::postgres::{OpenError, PostgresStore};

use crate::server::{PASSWORD, Server, USER, sql_at};
use crate::suite::{letter, row};
use crate::{breakable, config, database};

fn copy_of(index: u64, of: u64) -> VerdictRow {
    let mut copy = row(index);
    *copy.analysis = Analysis {
        verdict: VerdictLabel::Duplicate,
        duplicate_of: Some(row(of).document.id.clone()),
        rule: Some(DuplicateRule::Exact),
        sentiment: None,
        category: None,
        entities: Vec::new(),
        embedding: None,
        ..(*copy.analysis).clone()
    };
    copy.vector = None;
    copy
}

/// The dead letter of a row's record.
fn letter_of(row: &VerdictRow) -> StoredDeadLetter {
    let origin = &row.analysis.origin;
    StoredDeadLetter {
        id: StoredDeadLetter::id_of(&origin.topic, origin.partition, origin.offset),
        document_id: Some(Arc::clone(&row.document.id)),
        offset: origin.offset,
        ..letter(0)
    }
}

#[tokio::test]
async fn several_daemons_may_migrate_at_once() {
    let Some(url) = database() else { return };
    let config = config(&url);
    let opened = futures_util::future::join_all((0..6).map(|_| PostgresStore::open(&config))).await;
    for store in opened {
        store.unwrap().check().await.unwrap();
    }
    for (schema, newest) in [("raw", "2"), ("analytics", "5"), ("logging", "1")] {
        let applied = sql_at(&url, &format!("SELECT count(*), max(version) FROM {schema}.schema_history"));
        assert_eq!(applied, [[newest, newest]], "{schema}: each migration ran once");
    }
}

#[tokio::test]
async fn schema_of_a_newer_program_is_refused_with_its_name_and_both_versions() {
    let Some(url) = database() else { return };
    drop(PostgresStore::open(&config(&url)).await.unwrap());
    sql_at(&url, "INSERT INTO analytics.schema_history VALUES (99, 'later', '2030-01-01T00:00:00Z', '1')");
    let error = PostgresStore::open(&config(&url)).await.err().unwrap();
    let said = error.to_string();
    let expected = "schema analytics has version 99, this program knows up to 5";
    assert!(matches!(error, OpenError::Setting(_)) && said.contains(expected), "{said}");
}

#[tokio::test]
async fn schema_that_somebody_changed_is_refused() {
    let Some(url) = database() else { return };
    drop(PostgresStore::open(&config(&url)).await.unwrap());
    sql_at(
        &url,
        "DELETE FROM analytics.schema_history WHERE version >= 2; UPDATE analytics.schema_history SET checksum = 1",
    );
    let error = PostgresStore::open(&config(&url)).await.err().unwrap();
    assert!(matches!(error, OpenError::Setting(_)), "{error}");
}

#[tokio::test]
async fn wrong_credentials_and_databases_are_settings_and_quote_no_password() {
    let Some(url) = database() else { return };
    for wrong in [url.replace(PASSWORD, "hunter2"), url.replace(USER, "stranger"), format!("{url}_gone")] {
        let error = PostgresStore::open(&config(&wrong)).await.err().unwrap();
        let said = error.to_string();
        assert!(matches!(error, OpenError::Setting(_)), "{said}");
        assert!(!said.contains("hunter2") && !said.contains(PASSWORD), "{said}");
    }
    let nowhere = PostgresConfig { port: crate::services::free_port(), ..PostgresConfig::default() };
    let error = PostgresStore::open(&nowhere).await.err().unwrap();
    assert!(matches!(error, OpenError::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn password_may_stand_beside_the_address() {
    let Some(server) = Server::shared().inspect_err(|why| crate::services::skip("postgres", why)).ok() else { return };
    let Some(url) = database() else { return };
    let apart = PostgresConfig {
        port: server.port(),
        dbname: url.rsplit_once('/').unwrap().1.to_owned(),
        password: Some(Secret::new(PASSWORD)),
        ..PostgresConfig::default()
    };
    PostgresStore::open(&apart).await.unwrap().check().await.unwrap();
}

/// A certificate for `localhost`, and the authority that signed it.
fn certificates(directory: &Path) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    std::fs::write(directory.join("ca.pem"), authority_certificate.pem()).unwrap();
    std::fs::write(directory.join("server.pem"), certificate.pem()).unwrap();
    std::fs::write(directory.join("server.key"), key.serialize_pem()).unwrap();
}

#[tokio::test]
async fn tls_is_verified_and_a_stranger_is_not_spoken_to() {
    let Some(mut server) = breakable(&[]) else { return };
    let home = server.home();
    certificates(&home);
    Server::give(&home.join("server.key"));
    Server::give(&home.join("server.pem"));
    let url = server.database("encrypted").replace("127.0.0.1", "localhost");
    let plain = format!("{url}?sslmode=require");
    let error = PostgresStore::open(&config(&plain)).await.err().unwrap();
    assert!(matches!(error, OpenError::Setting(_)) && error.to_string().contains("TLS"), "{error}");

    let set = |name: &str, file: &str| format!("ALTER SYSTEM SET {name} = '{}'", home.join(file).display());
    for statement in
        [set("ssl_cert_file", "server.pem"), set("ssl_key_file", "server.key"), "ALTER SYSTEM SET ssl = on".to_owned()]
    {
        server.sql_as_admin("postgres", &statement);
    }
    server.kill();
    server.restart().unwrap();
    let verified = |ca: &str| PostgresConfig { tls: TlsMode::VerifyFull, ca_file: Some(home.join(ca)), ..config(&url) };
    let store = PostgresStore::open(&verified("ca.pem")).await.unwrap();
    assert_eq!(store.write(vec![row(1)]).await.unwrap(), [WriteOutcome::Written]);
    let encrypted = "SELECT count(*) > 0 AND bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE application_name = 'tidemill'";
    assert_eq!(server.sql_as_admin("encrypted", encrypted), [["t"]]);
    PostgresStore::open(&config(&plain)).await.unwrap();

    certificates(server.home().as_path()); // another authority, which did not sign the running server's certificate
    let error = PostgresStore::open(&verified("ca.pem")).await.err().unwrap();
    assert!(matches!(error, OpenError::Setting(_)) && error.to_string().contains("certificate"), "{error}");
    let by_address =
        PostgresConfig { url: Some(Secret::new(url.replace("localhost", "127.0.0.1"))), ..verified("ca.pem") };
    assert!(PostgresStore::open(&by_address).await.is_err(), "the certificate is not the address's");
}

#[tokio::test]
async fn daemons_that_write_related_rows_at_once_agree() {
    let Some(url) = database() else { return };
    let stores: Vec<Arc<PostgresStore>> = futures_util::future::join_all(
        (0..3).map(|_| async { Arc::new(PostgresStore::open(&config(&url)).await.unwrap()) }),
    )
    .await;
    stores[0].write((0..20).map(row).collect()).await.unwrap();
    // the same documents, in another order from each daemon, half of them as copies of others; some are new
    let rounds = stores.iter().enumerate().flat_map(|(daemon, store)| {
        (0..12_u64).map(move |round| {
            let mut random = fastrand::Rng::with_seed(daemon as u64 * 100 + round);
            let mut rows: Vec<VerdictRow> =
                (0..40).map(|index| if index % 4 == 3 { copy_of(index, index - 1) } else { row(index) }).collect();
            random.shuffle(&mut rows);
            async move { store.write(rows).await }
        })
    });
    for outcomes in futures_util::future::join_all(rounds).await {
        let allowed = [WriteOutcome::Written, WriteOutcome::OriginalMissing];
        assert!(outcomes.unwrap().iter().all(|outcome| allowed.contains(outcome)));
    }
    let page = stores[0].list(DocumentFilter { limit: 100, ..DocumentFilter::default() }).await.unwrap();
    assert_eq!(page.items.len(), 40);
    for item in &page.items {
        let expected = if item.analysis.duplicate_of.is_some() { 0 } else { 2 };
        let id = &item.document.id;
        let children = |table: &str| {
            let sql = format!(
                "SELECT count(*) FROM analytics.{table} JOIN analytics.analyses a USING (seq) WHERE a.document_id = '{id}'"
            );
            sql_at(&url, &sql)[0][0].parse::<u64>().unwrap()
        };
        assert_eq!((children("entities"), children("symbols")), (expected, 2), "{id}");
    }
    let orphans = "SELECT count(*) FROM analytics.symbols WHERE seq NOT IN (SELECT seq FROM analytics.analyses)";
    assert_eq!(sql_at(&url, orphans), [["0"]]);
}

#[tokio::test]
async fn late_write_of_a_daemon_that_lost_its_partition_does_not_undo_a_revision() {
    let Some(url) = database() else { return };
    let store = PostgresStore::open(&config(&url)).await.unwrap();
    let first = row(1);
    let mut revision = row(1);
    revision.analysis.origin.offset += 5;
    revision.timestamp_ms += 1000;
    revision.analysis.symbols = vec!["MSFT".to_owned()];
    store.write(vec![first.clone()]).await.unwrap();
    store.write(vec![revision.clone()]).await.unwrap();
    assert_eq!(store.write(vec![first.clone()]).await.unwrap(), [WriteOutcome::Written]);
    assert_eq!(store.get("doc-000001").await.unwrap().unwrap().analysis, *revision.analysis);
    // in a log that begins anew, offsets are small again and times are not
    let mut anew = first;
    anew.timestamp_ms = revision.timestamp_ms + 1;
    store.write(vec![anew.clone()]).await.unwrap();
    assert_eq!(store.get("doc-000001").await.unwrap().unwrap().analysis, *anew.analysis);
}

#[tokio::test]
async fn dead_letter_of_a_record_with_a_verdict_is_not_kept_and_the_other_way_round() {
    let Some(url) = database() else { return };
    let store = PostgresStore::open(&config(&url)).await.unwrap();
    store.write(vec![row(1)]).await.unwrap();
    store.write_dead_letter(letter_of(&row(1))).await.unwrap();
    assert_eq!(store.counts().await.unwrap().dead_letters, 0, "the verdict stands");
    store.write_dead_letter(letter_of(&row(2))).await.unwrap();
    assert_eq!(store.write(vec![row(2), row(3)]).await.unwrap(), [WriteOutcome::AlreadyDead, WriteOutcome::Written]);
    let both =
        "SELECT count(*) FROM analytics.dead_letters JOIN analytics.analyses USING (topic, partition, \"offset\")";
    assert_eq!(sql_at(&url, both), [["0"]]);
}

#[tokio::test]
async fn pools_are_bounded_and_tell_their_state() {
    let Some(url) = database() else { return };
    let mut narrow = PostgresConfig { acquire_timeout_ms: 300, ..config(&url) };
    narrow.analytics.connections = 1;
    let store = PostgresStore::open(&narrow).await.unwrap();
    store.write(vec![row(1)]).await.unwrap();
    let pool = |name: &str| store.pools().into_iter().find(|pool| pool.store == name).unwrap();
    let idle = pool("postgres_analytics");
    assert_eq!((idle.max, idle.size, idle.available, idle.used, idle.waiting), (1, 1, 1, 0, 0));
    // another session holds the row: the one connection waits for it
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    client.batch_execute("BEGIN; SELECT 1 FROM analytics.analyses FOR UPDATE").await.unwrap();
    let (first, second) = (store.write(vec![row(1)]), store.write(vec![row(2)]));
    let both = futures_util::future::join(first, second);
    let watch = async {
        crate::services::eventually(Duration::from_secs(20), || {
            let busy = pool("postgres_analytics");
            std::future::ready(if (busy.used, busy.waiting) == (1, 1) { Ok(()) } else { Err(format!("{busy:?}")) })
        })
        .await
        .unwrap();
        assert!(!pool("postgres_analytics").address.contains(PASSWORD));
        crate::services::eventually(Duration::from_secs(20), || {
            let busy = pool("postgres_analytics");
            std::future::ready(if busy.waiting == 0 { Ok(()) } else { Err(format!("{busy:?}")) })
        })
        .await
        .unwrap();
        client.batch_execute("ROLLBACK").await.unwrap();
    };
    let ((first, second), ()) = futures_util::future::join(both, watch).await;
    first.unwrap();
    assert!(matches!(second, Err(StoreError::Unavailable(_))), "{second:?}");
    driver.abort();
}

#[tokio::test]
async fn statement_that_takes_too_long_is_unavailable_and_the_store_goes_on() {
    let Some(url) = database() else { return };
    let impatient = PostgresConfig { statement_timeout_ms: 400, ..config(&url) };
    let store = PostgresStore::open(&impatient).await.unwrap();
    store.write(vec![row(1)]).await.unwrap();
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    client.batch_execute("BEGIN; LOCK TABLE analytics.analyses IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let error = store.write(vec![row(2)]).await.unwrap_err();
    assert!(error.is_retriable() && error.to_string().contains("timeout"), "{error}");
    client.batch_execute("ROLLBACK").await.unwrap();
    store.write(vec![row(2)]).await.unwrap();
    assert_eq!(store.counts().await.unwrap().stored, 2);
    driver.abort();
}

#[test]
fn check_names_server_and_fault() {
    let Some(url) = database() else { return };
    let check = |url: &str| {
        let directory = tempfile::tempdir().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_tidemill"))
            .args(["check", "--set", "http.listen=127.0.0.1:0", "--set", "kafka_listener.listen=127.0.0.1:0"])
            .args(["--set", "encoder.kind=hashing", "--set", "store.backend=postgres", "--set"])
            .arg(format!("postgres.url={url}"))
            .env("TIDEMILL_DATA_DIR", directory.path())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = check(&url);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = check(&url.replace(PASSWORD, "hunter2"));
    assert!(code == Some(69) && said.contains("password") && !said.contains("hunter2"), "{said}");
}
