//! The connection through everything that happens to a server.

use std::time::{Duration, Instant};

use tidemill::config::redis::RedisConfig;
use tidemill::config::secret::Secret;
use tidemill::stores::documents::StoreError;
use tidemill::stores::redis::Redis;

use crate::server::{self, Server};
use crate::{eventually, open, settings};

async fn set(redis: &Redis, key: &str, value: &str) -> Result<(), StoreError> {
    let mut command = redis::cmd("SET");
    command.arg(redis.key(key)).arg(value);
    redis.query("set", command).await
}

async fn get(redis: &Redis, key: &str) -> Result<Option<String>, StoreError> {
    let mut command = redis::cmd("GET");
    command.arg(redis.key(key));
    redis.query("get", command).await
}

#[tokio::test]
async fn check_names_the_version_of_each_server() {
    for target in server::targets("check_names_the_version_of_each_server") {
        let redis = open(&target.url);
        let info = redis.check().await.unwrap();
        assert!(info.writable, "{}", target.name);
        println!("{}: {}", target.name, redis.usable().await.unwrap());
        assert!(info.version.split('.').next().unwrap().parse::<u32>().unwrap() >= 6, "{}", info.version);
    }
}

#[tokio::test]
async fn server_that_comes_late_is_found() {
    let Some(program) = server::program("server_that_comes_late_is_found") else { return };
    let mut server = Server::absent(&program, &[]);
    let redis = open(&server.url());
    let error = set(&redis, "a", "1").await.unwrap_err();
    assert!(error.is_retriable() && error.to_string().contains(&server.port().to_string()), "{error}");
    server.restart();
    eventually("connecting", || async { set(&redis, "a", "1").await.is_ok() }).await;
    assert_eq!(get(&redis, "a").await.unwrap().as_deref(), Some("1"));
}

#[tokio::test]
async fn killed_server_is_found_again_with_what_it_acknowledged() {
    let Some(program) = server::program("killed_server_is_found_again_with_what_it_acknowledged") else { return };
    let mut server = Server::start(&program, &[]);
    let redis = open(&server.url());
    for round in 0..3 {
        set(&redis, "round", &round.to_string()).await.unwrap();
        server.kill();
        assert!(set(&redis, "round", "lost").await.unwrap_err().is_retriable());
        server.restart();
        eventually("reconnecting", || async { get(&redis, "round").await.is_ok() }).await;
        assert_eq!(get(&redis, "round").await.unwrap(), Some(round.to_string()));
    }
    assert!(redis.connections() >= 4, "{}", redis.connections());
}

#[tokio::test]
async fn server_that_stands_still_costs_a_deadline_and_then_nothing() {
    let Some(program) = server::program("server_that_stands_still_costs_a_deadline_and_then_nothing") else { return };
    let server = Server::start(&program, &[]);
    let redis = open(&server.url());
    set(&redis, "a", "1").await.unwrap();
    server.pause();
    let started = Instant::now();
    let calls = (0..20).map(|_| get(&redis, "a"));
    for answer in futures_util::future::join_all(calls).await {
        assert!(answer.unwrap_err().is_retriable());
    }
    assert!(started.elapsed() < Duration::from_secs(3), "callers wait side by side: {:?}", started.elapsed());
    server.resume();
    eventually("answering again", || async { get(&redis, "a").await.is_ok() }).await;
    assert_eq!(get(&redis, "a").await.unwrap().as_deref(), Some("1"));
}

#[tokio::test]
async fn wrong_password_is_named_and_a_later_right_one_is_found() {
    let Some(program) = server::program("wrong_password_is_named_and_a_later_right_one_is_found") else { return };
    let server = Server::start(&program, &["--requirepass", "geheim"]);
    let with = |password: Option<&str>| {
        Redis::open(&RedisConfig { password: password.map(Secret::new), ..settings(&server.url()) }).unwrap()
    };
    let none = set(&with(None), "a", "1").await.unwrap_err();
    assert!(none.is_retriable() && none.to_string().contains("wants a password"), "{none}");
    let redis = with(Some("falsch"));
    let wrong = set(&redis, "a", "1").await.unwrap_err().to_string();
    assert!(wrong.contains("refuses the user or the password") && !wrong.contains("falsch"), "{wrong}");
    set(&with(Some("geheim")), "a", "1").await.unwrap();
    // the operator mends it at the server
    let changed = server.command("AUTH geheim\r\nCONFIG SET requirepass falsch");
    assert!(changed.starts_with("+OK\r\n+OK"), "{changed}");
    eventually("the password", || async { set(&redis, "a", "2").await.is_ok() }).await;
}

#[tokio::test]
async fn refused_write_of_a_full_server_is_waited_for() {
    for program in server::programs().unwrap_or_default() {
        let server = Server::start(&program, &["--maxmemory-policy", "noeviction"]);
        let redis = open(&server.url());
        set(&redis, "a", "1").await.unwrap();
        assert!(server.command("CONFIG SET maxmemory 1").starts_with("+OK"));
        let full = set(&redis, "a", "2").await.unwrap_err();
        assert!(full.is_retriable() && full.to_string().contains("OOM"), "{}: {full}", program.name);
        assert_eq!(get(&redis, "a").await.unwrap().as_deref(), Some("1"), "reading goes on");
        assert!(server.command("CONFIG SET maxmemory 0").starts_with("+OK"));
        set(&redis, "a", "2").await.unwrap();
    }
}

#[tokio::test]
async fn read_only_replica_is_no_server_to_write_to() {
    let Some(program) = server::program("read_only_replica_is_no_server_to_write_to") else { return };
    let (primary, replica) = (Server::start(&program, &[]), Server::start(&program, &[]));
    let redis = open(&replica.url());
    set(&redis, "a", "1").await.unwrap();
    assert!(replica.command(&format!("REPLICAOF 127.0.0.1 {}", primary.port())).starts_with("+OK"));
    let refused = set(&redis, "a", "2").await.unwrap_err();
    assert!(refused.is_retriable() && refused.to_string().contains("READONLY"), "{refused}");
    assert!(redis.usable().await.unwrap_err().to_string().contains("read-only"));
    assert!(replica.command("REPLICAOF NO ONE").starts_with("+OK"));
    eventually("writing", || async { set(&redis, "a", "3").await.is_ok() }).await;
}

#[tokio::test]
async fn refused_command_is_no_reason_to_wait() {
    let Some(program) = server::program("refused_command_is_no_reason_to_wait") else { return };
    let server = Server::start(&program, &[]);
    let redis = open(&server.url());
    let mut command = redis::cmd("SET");
    command.arg("only a key");
    assert!(matches!(redis.query::<String>("set", command).await, Err(StoreError::Refused(_))));
    set(&redis, "a", "1").await.unwrap();
    let mut command = redis::cmd("LPUSH");
    command.arg(redis.key("a")).arg("x");
    assert!(matches!(redis.query::<i64>("push", command).await, Err(StoreError::Damaged(_))));
    assert_eq!(redis.connections(), 1, "the connection stays");
}

#[tokio::test]
async fn encrypted_connection_trusts_the_named_certificate_only() {
    let Some(program) = server::program("encrypted_connection_trusts_the_named_certificate_only") else { return };
    let directory = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let (certificate, key) = (certificate.to_str().unwrap().to_owned(), key.to_str().unwrap().to_owned());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let tls =
        ["--tls-port", &port, "--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-auth-clients", "no"];
    let Some(server) = Server::try_start(&program, &tls) else {
        // Redis 8.2 of that package is built without TLS: Debian's is the one
        let Some(debian) =
            server::programs().unwrap().into_iter().find_map(|program| Server::try_start(&program, &tls))
        else {
            return server::skipped("encrypted_connection_trusts_the_named_certificate_only", "no server speaks TLS");
        };
        return encrypted(&debian, &port, &certificate).await;
    };
    encrypted(&server, &port, &certificate).await;
}

async fn encrypted(_server: &Server, port: &str, certificate: &str) {
    let url = format!("rediss://localhost:{port}");
    let trusting = RedisConfig { ca_file: Some(certificate.into()), ..settings(&url) };
    let redis = Redis::open(&trusting).unwrap();
    set(&redis, "a", "1").await.unwrap();
    let stranger = set(&open(&url), "a", "1").await.unwrap_err();
    assert!(stranger.is_retriable() && stranger.to_string().to_lowercase().contains("certificate"), "{stranger}");
}
