//! What the duplicate memory promises, and how exact its near-duplicate rule is on generated edits.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::sync::Arc;

use tidemill::config::dedup::DedupConfig;
use tidemill::messages::analysis::VerdictLabel;
use tidemill::messages::pipeline::{DuplicateOf, DuplicateRule, Sighting};
use tidemill::messages::record::Position;
use tidemill::stores::documents::RememberedDocument;
use tidemill::text::fingerprint::fingerprint;
use tidemill::text::near_duplicates::DuplicateMemory;

const HEADLINE: &str = "Northwind Shipping lifts full-year outlook as freight rates recover across the Pacific lanes";

struct Scene {
    memory: DuplicateMemory,
    next_offset: i64,
}

impl Scene {
    fn new() -> Self {
        Self::with(&DedupConfig::default())
    }

    fn with(config: &DedupConfig) -> Self {
        Self { memory: DuplicateMemory::new(config), next_offset: 0 }
    }

    fn see(&mut self, id: &str, text: &str) -> Sighting {
        self.see_at(id, text, 0)
    }

    fn see_at(&mut self, id: &str, text: &str, timestamp_ms: i64) -> Sighting {
        let origin = at(self.next_offset);
        self.next_offset += 1;
        self.memory.sight(&id.into(), &fingerprint(None, text), &origin, timestamp_ms)
    }

    fn see_from(&mut self, id: &str, text: &str, offset: i64) -> Sighting {
        self.memory.sight(&id.into(), &fingerprint(None, text), &at(offset), 0)
    }
}

fn at(offset: i64) -> Position {
    Position { topic: "documents".into(), partition: 0, offset }
}

fn exact(of: &str) -> Sighting {
    Sighting::Copy(DuplicateOf { of: of.into(), rule: DuplicateRule::Exact, similarity: 1.0 })
}

fn copied(sighting: &Sighting) -> Option<(&str, DuplicateRule)> {
    match sighting {
        Sighting::Copy(copy) => Some((&copy.of, copy.rule)),
        Sighting::Fresh | Sighting::Same => None,
    }
}

#[test]
fn exact_copy_names_its_original() {
    let mut scene = Scene::new();
    assert_eq!(scene.see("a", HEADLINE), Sighting::Fresh);
    assert_eq!(scene.see("b", &HEADLINE.to_uppercase()), exact("a"));
    assert_eq!(scene.see("c", &format!("{HEADLINE} https://t.co/x1")), exact("a"));
}

#[test]
fn near_copy_names_its_original_and_the_rule() {
    let mut scene = Scene::new();
    scene.see("a", HEADLINE);
    let sighting = scene.see("b", &format!("{HEADLINE} - Reuters"));
    assert_eq!(copied(&sighting), Some(("a", DuplicateRule::Minhash)));
    let Sighting::Copy(copy) = sighting else { unreachable!() };
    assert!(copy.similarity >= 0.85 && copy.similarity < 1.0, "{}", copy.similarity);
}

#[test]
fn copy_of_a_copy_names_the_root() {
    let mut scene = Scene::new();
    scene.see("a", HEADLINE);
    scene.see("b", &format!("{HEADLINE} - Reuters"));
    let third = scene.see("c", &format!("BREAKING: {HEADLINE} - Reuters"));
    assert_eq!(copied(&third), Some(("a", DuplicateRule::Minhash)));
}

#[test]
fn one_other_number_is_news() {
    let mut scene = Scene::new();
    scene.see("a", "Acme Corp shares up 5% in early trading after the board approved a new buyback plan");
    for (id, text) in [
        ("b", "Acme Corp shares up 7% in early trading after the board approved a new buyback plan"),
        ("c", "Acme Corp shares down 5% in early trading after the board approved a new buyback plan"),
        ("d", "Acme Corp shares up 5% in early trading after the board rejected a new buyback plan"),
        ("e", "Acme Corp shares up $5 in early trading after the board approved a new buyback plan"),
    ] {
        assert_eq!(scene.see(id, text), Sighting::Fresh, "{text}");
    }
}

#[test]
fn retry_of_the_same_record_gets_the_same_answer() {
    let mut scene = Scene::new();
    assert_eq!(scene.see_from("a", HEADLINE, 0), Sighting::Fresh);
    assert_eq!(scene.see_from("b", HEADLINE, 1), exact("a"));
    assert_eq!(scene.see_from("a", HEADLINE, 0), Sighting::Fresh);
    assert_eq!(scene.see_from("b", HEADLINE, 1), exact("a"));
}

#[test]
fn same_document_again_is_the_same() {
    let mut scene = Scene::new();
    scene.see_from("a", HEADLINE, 0);
    assert_eq!(scene.see_from("a", HEADLINE, 9), Sighting::Same, "another record, not durable yet");
    scene.memory.settle("a", &at(0), None);
    assert_eq!(scene.see_from("a", HEADLINE, 0), Sighting::Same, "redelivered after its verdict was durable");
}

#[test]
fn revision_is_never_a_copy_of_itself() {
    let mut scene = Scene::new();
    scene.see("a", HEADLINE);
    assert_eq!(scene.see("a", &format!("{HEADLINE} - Reuters")), Sighting::Fresh);
    // Its own copies count as itself, too.
    scene.see("b", &format!("{HEADLINE} - Reuters"));
    assert_eq!(scene.see("a", HEADLINE), Sighting::Fresh);
    assert_eq!(scene.memory.len(), 2);
}

#[test]
fn record_delivered_again_after_its_revision_leaves_the_revision_standing() {
    let mut scene = Scene::new();
    scene.see_from("a", HEADLINE, 0);
    assert_eq!(scene.see_from("a", "Quite another story about copper inventories", 2), Sighting::Fresh);
    assert_eq!(scene.see_from("a", HEADLINE, 1), Sighting::Same, "of one id the last record counts");
    assert_eq!(scene.see_from("b", "Quite another story about copper inventories", 3), exact("a"));
    assert_eq!(scene.see_from("a", HEADLINE, 4), Sighting::Fresh, "a later record is a revision again");
}

#[test]
fn late_verdict_of_a_replaced_revision_settles_nothing() {
    let mut scene = Scene::new();
    scene.see_from("a", HEADLINE, 0);
    scene.see_from("a", "Quite another story about copper inventories", 1);
    scene.memory.settle("a", &at(0), None);
    assert_eq!(scene.see_from("a", "Quite another story about copper inventories", 1), Sighting::Fresh);
}

#[test]
fn copies_of_a_document_that_became_a_copy_name_its_root() {
    let mut scene = Scene::new();
    scene.see_from("a", HEADLINE, 0);
    scene.see_from("b", "Quite another story about copper inventories in London", 1);
    scene.memory.settle("a", &at(0), None);
    scene.memory.settle("b", &at(1), Some(&Arc::from("a")));
    assert_eq!(scene.see_from("c", "Quite another story about copper inventories in London", 2), exact("a"));
}

#[test]
fn window_counts_by_record_time_in_both_directions() {
    let window = DedupConfig::default().window_ms();
    let mut scene = Scene::new();
    scene.see_at("a", HEADLINE, window * 3);
    assert_eq!(scene.see_at("late", HEADLINE, window * 2), exact("a"));
    assert_eq!(scene.see_at("too-late", HEADLINE, window - 1), Sighting::Fresh);
    assert_eq!(scene.see_at("too-new", HEADLINE, window * 4 + 1), Sighting::Fresh);
    assert_eq!(scene.see_at("new", HEADLINE, window * 4), exact("too-new"));
}

#[test]
fn forgetting_an_original_forgets_what_counted_on_it() {
    let mut scene = Scene::new();
    scene.see_from("a", HEADLINE, 0);
    scene.see_from("b", HEADLINE, 1);
    scene.memory.forget("a", &at(0));
    assert!(scene.memory.is_empty());
    assert_eq!(scene.see_from("b", HEADLINE, 1), Sighting::Fresh);
    assert_eq!(scene.see_from("c", HEADLINE, 2), exact("b"));
}

#[test]
fn capacity_holds_and_the_oldest_goes_first() {
    let mut scene = Scene::with(&DedupConfig { capacity: 1000, ..DedupConfig::default() });
    let text = |index: usize| format!("story {index} about item{index} and place{index} near town{index}");
    for index in 0..5000 {
        scene.see(&format!("d{index}"), &text(index));
        assert!(scene.memory.len() <= 1000);
    }
    assert_eq!(scene.see("copy", &text(4500)), exact("d4500"));
    assert_eq!(scene.see("gone", &text(3000)), Sighting::Fresh);
}

#[test]
fn revisions_without_end_stay_bounded() {
    let mut scene = Scene::with(&DedupConfig { capacity: 1000, ..DedupConfig::default() });
    for index in 0..10_000 {
        assert_eq!(scene.see("a", &format!("revision {index}")), Sighting::Fresh);
    }
    assert_eq!(scene.memory.len(), 1);
}

#[test]
fn remembered_documents_answer_as_before_the_restart() {
    let mut scene = Scene::new();
    for (id, root, offset) in [("a", None, 0), ("b", Some("a"), 1)] {
        scene.memory.remember(&RememberedDocument {
            id: id.into(),
            verdict: if root.is_some() { VerdictLabel::Duplicate } else { VerdictLabel::Stored },
            duplicate_of: root.map(Arc::from),
            content_hash: fingerprint(None, HEADLINE).content_hash,
            title: None,
            text: HEADLINE.to_owned(),
            timestamp_ms: 0,
            origin: at(offset),
            vector: None,
            source: "news".into(),
            symbols: Vec::new(),
        });
    }
    assert_eq!(scene.see_from("a", HEADLINE, 0), Sighting::Same);
    assert_eq!(scene.see_from("c", HEADLINE, 2), exact("a"));
    let near = scene.see_from("d", &format!("{HEADLINE} (Reuters)"), 3);
    assert_eq!(copied(&near), Some(("a", DuplicateRule::Minhash)));
}

#[test]
fn rules_can_be_switched_off_and_on_while_running() {
    let off = DedupConfig { exact: false, minhash: false, ..DedupConfig::default() };
    let mut scene = Scene::with(&off);
    scene.see("a", HEADLINE);
    assert_eq!(scene.see("b", HEADLINE), Sighting::Fresh);
    scene.memory.reconfigure(&DedupConfig { minhash_threshold: 0.7, ..DedupConfig::default() });
    assert!(copied(&scene.see("c", HEADLINE)).is_some());
    assert!(copied(&scene.see("d", &format!("{HEADLINE} - Reuters"))).is_some());
}

#[test]
fn same_order_of_sightings_gives_the_same_answers() {
    let run = || {
        let mut scene = Scene::new();
        let mut random = fastrand::Rng::with_seed(11);
        (0..3000).map(|index| scene.see(&format!("d{index}"), &headline(&mut random, 40))).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

/// A headline of 8 to 16 words out of a vocabulary.
fn headline(random: &mut fastrand::Rng, vocabulary: usize) -> String {
    let length = random.usize(8..=16);
    (0..length).map(|_| format!("word{}x", letters(random.usize(0..vocabulary)))).collect::<Vec<_>>().join(" ")
}

/// A number in letters, so that it is no critical word.
fn letters(number: usize) -> String {
    number.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect()
}

/// Edits that leave the story the same.
fn harmless(random: &mut fastrand::Rng, text: &str) -> String {
    match random.usize(0..6) {
        0 => format!("{text} - Reuters"),
        1 => format!("BREAKING: {text}"),
        2 => format!("{text} https://t.co/{}", random.u32(..)),
        3 => text.to_uppercase(),
        4 => text.split(' ').collect::<Vec<_>>().join(", ") + "!",
        _ => format!("RT {text} …"),
    }
}

/// Edits that make another story of it: a number, a direction or a name changed.
fn harmful(random: &mut fastrand::Rng, text: &str) -> String {
    let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    let at = random.usize(1..words.len() - 1);
    words[at] = match random.usize(0..3) {
        0 => format!("{}%", random.usize(100..1000)),
        1 => "falls".to_owned(),
        _ => format!("Other{}", letters(random.usize(1000..9999))),
    };
    words.join(" ")
}

#[test]
fn precision_and_recall_on_generated_edits() {
    let mut random = fastrand::Rng::with_seed(2024);
    let mut scene = Scene::new();
    let originals: Vec<String> = (0..4000).map(|_| headline(&mut random, 5000)).collect();
    for (index, text) in originals.iter().enumerate() {
        assert_eq!(scene.see(&format!("o{index}"), text), Sighting::Fresh);
    }
    let (mut found, mut wrong) = (0_u32, 0_u32);
    for (index, text) in originals.iter().enumerate() {
        let sighting = scene.see(&format!("copy{index}"), &harmless(&mut random, text));
        found += u32::from(copied(&sighting).is_some_and(|(of, _)| of == format!("o{index}")));
        let other = scene.see(&format!("other{index}"), &harmful(&mut random, text));
        wrong += u32::from(other != Sighting::Fresh);
    }
    let total = f64::from(u32::try_from(originals.len()).unwrap());
    let (recall, precision) = (f64::from(found) / total, f64::from(found) / f64::from(found + wrong));
    println!("recall {recall:.4}, precision {precision:.4}");
    assert!(recall >= 0.95, "recall {recall}");
    assert!(precision >= 0.999, "precision {precision}");
}
