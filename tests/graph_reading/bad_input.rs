//! Repositories that are empty, odd, huge or made to hurt.

use std::ops::ControlFlow;
use std::path::Path;

use tidemill::graph::dependencies::{self, ReadOptions};
use tidemill::graph::reading::{Progress, Stage, unobserved};
use tidemill::graph::repository::{self, Limits, Places, RepositoryError, Source};

use crate::fixture::{FILE, FOLDER, Fixture, graph_of, imports_of, skipped};

const LINK: i32 = 0o120_000;
const SUBMODULE: i32 = 0o160_000;

#[test]
fn missing_empty_and_branchless_repositories_say_so() {
    let fixture = Fixture::empty();
    assert!(matches!(fixture.fetch(&Limits::default()), Err(RepositoryError::Empty { .. })));
    let places = Places::temporary(fixture.places().temporary);
    let fetch = |source: &Source| repository::fetch(source, &Limits::default(), &places, &unobserved);
    assert!(matches!(fetch(&Source::folder(Path::new("/no/such/folder"))), Err(RepositoryError::NotFound { .. })));
    let plain = tempfile::tempdir().unwrap();
    assert!(matches!(fetch(&Source::folder(plain.path())), Err(RepositoryError::NotFound { .. })));
    fixture.commit(&[("README", "hello")]);
    let source = fixture.source().with_branch("gone").unwrap();
    assert!(matches!(fetch(&source), Err(RepositoryError::NoBranch { .. })));
    let graph = fixture.read();
    assert_eq!((graph.nodes(), graph.edges.len()), (0, 0));
}

#[test]
fn names_that_lead_elsewhere_are_left_out() {
    let fixture = Fixture::empty();
    let blob = fixture.repository.blob(b"import b\n").unwrap();
    let inner = fixture.raw_tree(&[(FILE, b"evil.py", blob)]);
    let tree = fixture.raw_tree(&[
        (FOLDER, b"..", inner),
        (FOLDER, b".", inner),
        (FOLDER, b".GIT", inner),
        (FOLDER, b".git", inner),
        (FILE, b"../../etc/cron.d/x.py", blob),
        (FILE, b"/abs.py", blob),
        (FILE, b"a.py", blob),
        (FILE, b"b.py", blob),
        (FILE, b"back\\slash.py", blob),
        (FILE, b"bad\xff\xfe.py", blob),
        (FILE, b"line\nbreak.py", blob),
        (LINK, b"link.py", blob),
        (LINK, b"loop", blob),
        (SUBMODULE, b"sub", blob),
    ]);
    fixture.commit_tree(tree);
    let graph = fixture.read();
    let files: Vec<&str> = graph.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, ["a.py", "b.py"]);
    let skipped = skipped(&graph);
    assert_eq!(skipped.iter().filter(|(_, reason)| *reason == "name is not safe").count(), 8);
    assert!(skipped.contains(&("bad\u{fffd}\u{fffd}.py", "name is not utf-8")));
    assert!(skipped.contains(&("link.py", "symbolic link")) && skipped.contains(&("loop", "symbolic link")));
    assert!(skipped.contains(&("sub", "submodule")));
}

#[test]
fn deep_folders_are_left_out_below_the_limit() {
    let fixture = Fixture::empty();
    let blob = fixture.repository.blob(b"").unwrap();
    let mut tree = fixture.raw_tree(&[(FILE, b"deepest.py", blob)]);
    for _ in 0..1000 {
        tree = fixture.raw_tree(&[(FILE, b"a.py", blob), (FOLDER, b"d", tree)]);
    }
    fixture.commit_tree(tree);
    let graph = fixture.read();
    assert_eq!(graph.files.len(), Limits::default().max_depth + 1);
    assert_eq!(graph.skipped.iter().map(|one| one.reason.as_str()).collect::<Vec<_>>(), ["too deep"]);
}

#[test]
fn a_tree_that_contains_itself_many_times_is_refused() {
    let fixture = Fixture::empty();
    let blob = fixture.repository.blob(b"").unwrap();
    let mut tree = fixture.raw_tree(&[(FILE, b"a.py", blob)]);
    for _ in 0..10 {
        let names: Vec<Vec<u8>> = (0..10).map(|n| format!("d{n}").into_bytes()).collect();
        let entries: Vec<_> = names.iter().map(|name| (FOLDER, name.as_slice(), tree)).collect();
        tree = fixture.raw_tree(&entries);
    }
    fixture.commit_tree(tree);
    let error = fixture.read_within(&Limits { max_entries: 10_000, ..Limits::default() }).unwrap_err();
    assert!(matches!(error, RepositoryError::TooLarge { what: "entries", limit: 10_000 }), "{error}");
}

#[test]
fn a_hundred_thousand_empty_files_are_read_or_refused() {
    let fixture = Fixture::empty();
    let blob = fixture.repository.blob(b"").unwrap();
    let names: Vec<Vec<u8>> = (0..100_000).map(|n| format!("f{n:06}.py").into_bytes()).collect();
    let entries: Vec<_> = names.iter().map(|name| (FILE, name.as_slice(), blob)).collect();
    let tree = fixture.raw_tree(&entries);
    fixture.commit_tree(tree);
    let graph = fixture.read();
    assert_eq!((graph.files.len(), graph.edges.len(), graph.skipped.len()), (100_000, 0, 0));
    let error = fixture.read_within(&Limits { max_source_files: 99_999, ..Limits::default() }).unwrap_err();
    assert!(matches!(error, RepositoryError::TooLarge { what: "source files", .. }), "{error}");
}

#[test]
fn large_files_and_what_is_no_text_are_skipped_with_the_reason() {
    let large = format!("import b\nx = [{}]\n", "1,".repeat(600_000));
    let graph = graph_of(&[
        ("a.py", &large),
        ("b.py", "\0\u{1}binary"),
        ("c.py", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5000000000\n"),
        ("d.py", "import b\n"),
    ]);
    assert_eq!(graph.files.len(), 4);
    assert_eq!(skipped(&graph), [("a.py", "larger than 1048576 bytes"), ("b.py", "not text"), ("c.py", "kept in lfs")]);
    assert_eq!(imports_of(&graph, "d.py"), ["b.py"]);
}

#[test]
fn one_line_of_ten_megabytes_is_read_when_files_may_be_as_large() {
    let line = format!("import './b';var a='{}';import './c'", "x".repeat(10_000_000));
    let fixture = Fixture::of(&[("a.js", &line), ("b.js", ""), ("c.js", "")]);
    let limits = Limits { max_file_bytes: 20_000_000, ..Limits::default() };
    let error = fixture.read_within(&Limits { max_source_bytes: 1_000_000, ..limits.clone() });
    assert!(matches!(error, Err(RepositoryError::TooLarge { what: "bytes of source", .. })));
    let graph = fixture.read_within(&limits).unwrap();
    assert_eq!(imports_of(&graph, "a.js"), ["b.js", "c.js"]);
}

#[test]
fn deeply_nested_source_does_not_exhaust_the_stack() {
    let brackets = format!("import b\nx = {}\n", "(".repeat(50_000));
    let uses = format!("mod b;\nuse {}x{};\n", "a::{".repeat(10_000), "}".repeat(10_000));
    let modules = format!("{}{}", "mod m { ".repeat(5_000), "}".repeat(5_000));
    let graph = graph_of(&[("a.py", &brackets), ("b.py", ""), ("lib.rs", &uses), ("b.rs", &modules)]);
    assert_eq!(graph.files.len(), 4);
    assert_eq!(imports_of(&graph, "lib.rs"), ["b.rs"]);
}

#[test]
fn objects_that_are_missing_are_damage() {
    let fixture = Fixture::empty();
    let nowhere = git2::Oid::from_str("0123456789012345678901234567890123456789").unwrap();
    fixture.commit_tree(fixture.raw_tree(&[(FILE, b"a.py", nowhere)]));
    assert!(matches!(fixture.read_within(&Limits::default()), Err(RepositoryError::Damaged(_))));
}

#[test]
fn reading_stops_when_told_to_and_is_the_same_each_time() {
    let texts: Vec<(String, String)> =
        (0..200).map(|n| (format!("m{n}.py"), format!("import m{}, m{}, os{n}\n", n / 2, n / 3))).collect();
    let files: Vec<(&str, &str)> = texts.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let fixture = Fixture::of(&files);
    let checkout = fixture.fetch(&Limits::default()).unwrap();
    let stop = |at: Stage| {
        move |progress: Progress| if progress.stage == at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    for stage in [Stage::Parsing, Stage::Resolving] {
        let read = dependencies::read(&checkout, &ReadOptions::default(), &Limits::default(), &stop(stage));
        assert!(matches!(read, Err(RepositoryError::Cancelled)), "{stage:?}");
    }
    let first = graph_of(&files);
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(first, one_thread.install(|| graph_of(&files)));
    assert_eq!(first.nodes(), 400);
}
