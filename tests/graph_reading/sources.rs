//! Which addresses are taken.

use proptest::prelude::*;
use tidemill::graph::repository::{Access, Source, SourceError};

const OPEN: Access = Access { https: true, ssh: true, http: true, file: true, private_addresses: true };

fn refusal(text: &str) -> SourceError {
    Source::parse(text, Access { private_addresses: false, ..OPEN }).unwrap_err()
}

#[test]
fn ordinary_addresses_are_taken_in_their_normal_form() {
    let parse = |text: &str| Source::parse(text, OPEN).unwrap().url().to_owned();
    assert_eq!(parse("https://GitHub.com/a/b.git/"), "https://github.com/a/b.git");
    assert_eq!(parse(" https://example.com:8443/a "), "https://example.com:8443/a");
    assert_eq!(parse("git@github.com:a/b.git"), "ssh://git@github.com/a/b.git");
    assert_eq!(parse("ssh://git@github.com/a/b"), "ssh://git@github.com/a/b");
    assert_eq!(parse("file:///srv/git/a.git"), "file:///srv/git/a.git");
}

#[test]
fn schemes_are_taken_only_when_switched_on() {
    let default = Access::default();
    for text in [
        "http://example.com/a",
        "ssh://git@example.com/a",
        "git@example.com:a/b",
        "file:///a",
        "git://example.com/a",
        "ext::sh -c id",
        "ftp://example.com/a",
    ] {
        assert!(Source::parse(text, default).is_err(), "{text}");
    }
    assert_eq!(Source::parse("http://example.com/a", default), Err(SourceError::Scheme("http".to_owned())));
    assert!(matches!(Source::parse("ext::sh", OPEN), Err(SourceError::NotUrl(_))));
    assert!(matches!(Source::parse("/srv/git", OPEN), Err(SourceError::NotUrl(_))));
}

#[test]
fn credentials_queries_and_traversal_are_refused() {
    assert_eq!(refusal("https://user:secret@example.com/a"), SourceError::Credentials);
    assert_eq!(refusal("https://token@example.com/a"), SourceError::Credentials);
    assert_eq!(refusal("ssh://git:secret@example.com/a"), SourceError::Credentials);
    assert_eq!(refusal("https://example.com/a?b=c"), SourceError::Query);
    assert_eq!(refusal("https://example.com/a#b"), SourceError::Query);
    for path in ["../a", "a/../../b", "a/%2e%2e/b", "a/%2E./b", ".", "", "//", "a/%00", "a%5c..%5cb", "a%zz"] {
        assert_eq!(refusal(&format!("https://example.com/{path}")), SourceError::Path, "{path}");
        assert_eq!(refusal(&format!("file:///{path}")), SourceError::Path, "{path}");
    }
    assert_eq!(refusal("file://host/a"), SourceError::Host);
}

#[test]
fn nothing_passes_for_an_option() {
    assert_eq!(refusal("--upload-pack=touch /tmp/x"), SourceError::LooksLikeOption);
    assert_eq!(refusal("https://example.com/--upload-pack=x"), SourceError::LooksLikeOption);
    assert_eq!(refusal("https://example.com/a/%2d-x"), SourceError::LooksLikeOption);
    assert_eq!(refusal("ssh://-oProxyCommand=x@example.com/a"), SourceError::LooksLikeOption);
    assert_eq!(refusal("ssh://git@-oProxyCommand=x/a"), SourceError::Host);
    assert_eq!(refusal("https://example.com/a b"), SourceError::BadCharacter(' '));
    assert_eq!(refusal("https://example.com/a\nb"), SourceError::BadCharacter('\n'));
    assert_eq!(refusal(&format!("https://example.com/{}", "a".repeat(3000))), SourceError::TooLong);
    let source = Source::parse("https://example.com/a", OPEN).unwrap();
    for branch in ["--upload-pack=x", "-b", "", "a..b", "a b", "a\0b", "x.lock", "/a"] {
        assert_eq!(source.clone().with_branch(branch), Err(SourceError::Branch(branch.to_owned())), "{branch}");
    }
    assert_eq!(source.with_branch("feature/a-b").unwrap().branch(), Some("feature/a-b"));
}

#[test]
fn hosts_that_are_not_public_are_refused_however_they_are_written() {
    let hosts = [
        "127.0.0.1",
        "localhost",
        "localhost.",
        "a.localhost",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "0x7f.1",
        "2130706433",
        "017700000001",
        "127.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[fd00::1]",
        "metadata.google.internal",
        "nas.local",
        "intranet",
        "router.lan",
    ];
    for host in hosts {
        for url in [format!("https://{host}/a"), format!("ssh://git@{host}/a")] {
            assert!(matches!(refusal(&url), SourceError::PrivateHost(_)), "{url}: {:?}", refusal(&url));
        }
        assert!(Source::parse(&format!("https://{host}/a"), OPEN).is_ok(), "{host}");
    }
    assert_eq!(refusal("https://exa$mple.com/a"), SourceError::Host);
}

proptest! {
    #[test]
    fn whatever_is_written_what_is_taken_has_no_secret_no_option_and_no_way_out(text in "(https|ssh|file|http|git)?(:|://)?[-a-z0-9@:/.%?#\\[\\]]{0,40}") {
        if let Ok(source) = Source::parse(&text, OPEN) {
            let (_, rest) = source.url().split_once("://").unwrap();
            prop_assert!(!rest.starts_with('-') && !rest.contains("/..") && !rest.contains("/-") && !rest.contains(['?', '#']));
            let authority = rest.split('/').next().unwrap();
            prop_assert!(!authority.split('@').next().unwrap().contains(':') || !authority.contains('@'));
        }
    }
}
