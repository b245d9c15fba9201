//! What the duplicate memory promises, whoever keeps it, and how exact its near-duplicate rule is on generated edits.

use std::sync::Arc;

use tidemill::config::dedup::DedupConfig;
use tidemill::messages::analysis::VerdictLabel;
use tidemill::messages::pipeline::{DuplicateOf, DuplicateRule, Sighting};
use tidemill::messages::record::Position;
use tidemill::stores::claims::{Claim, Claims};
use tidemill::stores::documents::RememberedDocument;
use tidemill::text::fingerprint::fingerprint;
use tidemill::text::near_duplicates::DuplicateMemory;

const HEADLINE: &str = "Northwind Shipping lifts full-year outlook as freight rates recover across the Pacific lanes";

/// Makes claims that begin with what a memory holds, alone in the world.
pub type Make<'a> = &'a dyn Fn(DuplicateMemory, &DedupConfig) -> Arc<dyn Claims>;

struct Scene {
    claims: Arc<dyn Claims>,
    runtime: tokio::runtime::Runtime,
    next_offset: i64,
}

impl Scene {
    fn new(make: Make) -> Self {
        Self::with(make, &DedupConfig::default())
    }

    fn with(make: Make, config: &DedupConfig) -> Self {
        Self::beginning_with(make, DuplicateMemory::new(config), config)
    }

    fn beginning_with(make: Make, memory: DuplicateMemory, config: &DedupConfig) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { claims: make(memory, config), runtime, next_offset: 0 }
    }

    fn see(&mut self, id: &str, text: &str) -> Sighting {
        self.see_at(id, text, 0)
    }

    fn see_at(&mut self, id: &str, text: &str, timestamp_ms: i64) -> Sighting {
        let claim = claim(id, text, self.next_offset, timestamp_ms);
        self.next_offset += 1;
        self.claim(vec![claim]).remove(0)
    }

    fn see_from(&mut self, id: &str, text: &str, offset: i64) -> Sighting {
        self.claim(vec![claim(id, text, offset, 0)]).remove(0)
    }

    /// Many in batches, as the pipeline claims them.
    fn see_all(&mut self, documents: impl Iterator<Item = (String, String)>) -> Vec<Sighting> {
        let first = self.next_offset;
        let claims: Vec<Claim> =
            (first..).zip(documents).map(|(offset, (id, text))| claim(&id, &text, offset, 0)).collect();
        self.next_offset += i64::try_from(claims.len()).unwrap();
        claims.chunks(64).flat_map(|chunk| self.claim(chunk.to_vec())).collect()
    }

    fn claim(&self, claims: Vec<Claim>) -> Vec<Sighting> {
        self.runtime.block_on(self.claims.claim(claims)).unwrap()
    }
}

fn claim(id: &str, text: &str, offset: i64, timestamp_ms: i64) -> Claim {
    Claim { id: id.into(), fingerprint: fingerprint(None, text), origin: at(offset), timestamp_ms }
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

pub fn exact_copy_names_its_original(make: Make) {
    let mut scene = Scene::new(make);
    assert_eq!(scene.see("a", HEADLINE), Sighting::Fresh);
    assert_eq!(scene.see("b", &HEADLINE.to_uppercase()), exact("a"));
    assert_eq!(scene.see("c", &format!("{HEADLINE} https://t.co/x1")), exact("a"));
}

pub fn near_copy_names_its_original_and_the_rule(make: Make) {
    let mut scene = Scene::new(make);
    scene.see("a", HEADLINE);
    let sighting = scene.see("b", &format!("{HEADLINE} - Reuters"));
    assert_eq!(copied(&sighting), Some(("a", DuplicateRule::Minhash)));
    let Sighting::Copy(copy) = sighting else { unreachable!() };
    assert!(copy.similarity >= 0.85 && copy.similarity < 1.0, "{}", copy.similarity);
}

pub fn copy_of_a_copy_names_the_root(make: Make) {
    let mut scene = Scene::new(make);
    scene.see("a", HEADLINE);
    scene.see("b", &format!("{HEADLINE} - Reuters"));
    let third = scene.see("c", &format!("BREAKING: {HEADLINE} - Reuters"));
    assert_eq!(copied(&third), Some(("a", DuplicateRule::Minhash)));
}

pub fn one_other_number_is_news(make: Make) {
    let mut scene = Scene::new(make);
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

pub fn retry_of_the_same_record_gets_the_same_answer(make: Make) {
    let mut scene = Scene::new(make);
    assert_eq!(scene.see_from("a", HEADLINE, 0), Sighting::Fresh);
    assert_eq!(scene.see_from("b", HEADLINE, 1), exact("a"));
    assert_eq!(scene.see_from("a", HEADLINE, 0), Sighting::Fresh);
    assert_eq!(scene.see_from("b", HEADLINE, 1), exact("a"));
}

pub fn same_document_again_is_the_same(make: Make) {
    let mut scene = Scene::new(make);
    scene.see_from("a", HEADLINE, 0);
    assert_eq!(scene.see_from("a", HEADLINE, 9), Sighting::Same, "another record, not durable yet");
    scene.claims.settle(&"a".into(), &at(0), None);
    assert_eq!(scene.see_from("a", HEADLINE, 0), Sighting::Same, "redelivered after its verdict was durable");
}

pub fn revision_is_never_a_copy_of_itself(make: Make) {
    let mut scene = Scene::new(make);
    scene.see("a", HEADLINE);
    assert_eq!(scene.see("a", &format!("{HEADLINE} - Reuters")), Sighting::Fresh);
    // Its own copies count as itself, too.
    scene.see("b", &format!("{HEADLINE} - Reuters"));
    assert_eq!(scene.see("a", HEADLINE), Sighting::Fresh);
    assert_eq!(scene.claims.len(), 2);
}

pub fn record_delivered_again_after_its_revision_leaves_the_revision_standing(make: Make) {
    let mut scene = Scene::new(make);
    scene.see_from("a", HEADLINE, 0);
    assert_eq!(scene.see_from("a", "Quite another story about copper inventories", 2), Sighting::Fresh);
    assert_eq!(scene.see_from("a", HEADLINE, 1), Sighting::Same, "of one id the last record counts");
    assert_eq!(scene.see_from("b", "Quite another story about copper inventories", 3), exact("a"));
    assert_eq!(scene.see_from("a", HEADLINE, 4), Sighting::Fresh, "a later record is a revision again");
}

pub fn late_verdict_of_a_replaced_revision_settles_nothing(make: Make) {
    let mut scene = Scene::new(make);
    scene.see_from("a", HEADLINE, 0);
    scene.see_from("a", "Quite another story about copper inventories", 1);
    scene.claims.settle(&"a".into(), &at(0), None);
    assert_eq!(scene.see_from("a", "Quite another story about copper inventories", 1), Sighting::Fresh);
}

pub fn copies_of_a_document_that_became_a_copy_name_its_root(make: Make) {
    let mut scene = Scene::new(make);
    scene.see_from("a", HEADLINE, 0);
    scene.see_from("b", "Quite another story about copper inventories in London", 1);
    scene.claims.settle(&"a".into(), &at(0), None);
    scene.claims.settle(&"b".into(), &at(1), Some(&Arc::from("a")));
    assert_eq!(scene.see_from("c", "Quite another story about copper inventories in London", 2), exact("a"));
}

pub fn window_counts_by_record_time_in_both_directions(make: Make) {
    let window = DedupConfig::default().window_ms();
    let mut scene = Scene::new(make);
    scene.see_at("a", HEADLINE, window * 3);
    assert_eq!(scene.see_at("late", HEADLINE, window * 2), exact("a"));
    assert_eq!(scene.see_at("too-late", HEADLINE, window - 1), Sighting::Fresh);
    assert_eq!(scene.see_at("too-new", HEADLINE, window * 4 + 1), Sighting::Fresh);
    assert_eq!(scene.see_at("new", HEADLINE, window * 4), exact("too-new"));
}

pub fn forgetting_an_original_forgets_what_counted_on_it(make: Make) {
    let mut scene = Scene::new(make);
    scene.see_from("a", HEADLINE, 0);
    scene.see_from("b", HEADLINE, 1);
    scene.claims.forget(&"a".into(), &at(0));
    assert!(scene.claims.is_empty());
    assert_eq!(scene.see_from("b", HEADLINE, 1), Sighting::Fresh);
    assert_eq!(scene.see_from("c", HEADLINE, 2), exact("b"));
}

pub fn capacity_holds_and_the_oldest_goes_first(make: Make) {
    let mut scene = Scene::with(make, &DedupConfig { capacity: 1000, ..DedupConfig::default() });
    let text = |index: usize| format!("story {index} about item{index} and place{index} near town{index}");
    for first in (0..5000).step_by(50) {
        scene.see_all((first..first + 50).map(|index| (format!("d{index}"), text(index))));
        assert!(scene.claims.len() <= 1000);
    }
    assert_eq!(scene.see("copy", &text(4500)), exact("d4500"));
    assert_eq!(scene.see("gone", &text(3000)), Sighting::Fresh);
}

pub fn revisions_without_end_stay_bounded(make: Make) {
    let mut scene = Scene::with(make, &DedupConfig { capacity: 1000, ..DedupConfig::default() });
    let sightings = scene.see_all((0..10_000).map(|index| ("a".to_owned(), format!("revision {index}"))));
    assert!(sightings.iter().all(|sighting| *sighting == Sighting::Fresh));
    assert_eq!(scene.claims.len(), 1);
}

pub fn remembered_documents_answer_as_before_the_restart(make: Make) {
    let mut memory = DuplicateMemory::new(&DedupConfig::default());
    for (id, root, offset) in [("a", None, 0), ("b", Some("a"), 1)] {
        memory.remember(&RememberedDocument {
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
    let mut scene = Scene::beginning_with(make, memory, &DedupConfig::default());
    assert_eq!(scene.see_from("a", HEADLINE, 0), Sighting::Same);
    assert_eq!(scene.see_from("c", HEADLINE, 2), exact("a"));
    let near = scene.see_from("d", &format!("{HEADLINE} (Reuters)"), 3);
    assert_eq!(copied(&near), Some(("a", DuplicateRule::Minhash)));
}

pub fn rules_can_be_switched_off_and_on_while_running(make: Make) {
    let off = DedupConfig { exact: false, minhash: false, ..DedupConfig::default() };
    let mut scene = Scene::with(make, &off);
    scene.see("a", HEADLINE);
    assert_eq!(scene.see("b", HEADLINE), Sighting::Fresh);
    scene.claims.reconfigure(&DedupConfig { minhash_threshold: 0.7, ..DedupConfig::default() });
    assert!(copied(&scene.see("c", HEADLINE)).is_some());
    assert!(copied(&scene.see("d", &format!("{HEADLINE} - Reuters"))).is_some());
}

pub fn same_order_of_sightings_gives_the_same_answers(make: Make) {
    let run = || {
        let mut scene = Scene::new(make);
        let mut random = fastrand::Rng::with_seed(11);
        scene.see_all((0..3000).map(|index| (format!("d{index}"), headline(&mut random, 40))))
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

pub fn precision_and_recall_on_generated_edits(make: Make) {
    let mut random = fastrand::Rng::with_seed(2024);
    let mut scene = Scene::new(make);
    let originals: Vec<String> = (0..4000).map(|_| headline(&mut random, 5000)).collect();
    let named = originals.iter().enumerate().map(|(index, text)| (format!("o{index}"), text.clone()));
    assert!(scene.see_all(named).iter().all(|sighting| *sighting == Sighting::Fresh));
    let edits = originals.iter().enumerate().flat_map(|(index, text)| {
        [(format!("copy{index}"), harmless(&mut random, text)), (format!("other{index}"), harmful(&mut random, text))]
    });
    let edits: Vec<(String, String)> = edits.collect();
    let sightings = scene.see_all(edits.into_iter());
    let (mut found, mut wrong) = (0_u32, 0_u32);
    for (index, pair) in sightings.chunks(2).enumerate() {
        found += u32::from(copied(&pair[0]).is_some_and(|(of, _)| of == format!("o{index}")));
        wrong += u32::from(pair[1] != Sighting::Fresh);
    }
    let total = f64::from(u32::try_from(originals.len()).unwrap());
    let (recall, precision) = (f64::from(found) / total, f64::from(found) / f64::from(found + wrong));
    println!("recall {recall:.4}, precision {precision:.4}");
    assert!(recall >= 0.95, "recall {recall}");
    assert!(precision >= 0.999, "precision {precision}");
}

/// Every promise by its name, for those who keep the memory elsewhere.
#[expect(clippy::type_complexity, reason = "names with functions")]
pub const ALL: &[(&str, fn(Make))] = &[
    ("exact_copy_names_its_original", exact_copy_names_its_original),
    ("near_copy_names_its_original_and_the_rule", near_copy_names_its_original_and_the_rule),
    ("copy_of_a_copy_names_the_root", copy_of_a_copy_names_the_root),
    ("one_other_number_is_news", one_other_number_is_news),
    ("retry_of_the_same_record_gets_the_same_answer", retry_of_the_same_record_gets_the_same_answer),
    ("same_document_again_is_the_same", same_document_again_is_the_same),
    ("revision_is_never_a_copy_of_itself", revision_is_never_a_copy_of_itself),
    (
        "record_delivered_again_after_its_revision_leaves_the_revision_standing",
        record_delivered_again_after_its_revision_leaves_the_revision_standing,
    ),
    ("late_verdict_of_a_replaced_revision_settles_nothing", late_verdict_of_a_replaced_revision_settles_nothing),
    ("copies_of_a_document_that_became_a_copy_name_its_root", copies_of_a_document_that_became_a_copy_name_its_root),
    ("window_counts_by_record_time_in_both_directions", window_counts_by_record_time_in_both_directions),
    ("forgetting_an_original_forgets_what_counted_on_it", forgetting_an_original_forgets_what_counted_on_it),
    ("capacity_holds_and_the_oldest_goes_first", capacity_holds_and_the_oldest_goes_first),
    ("revisions_without_end_stay_bounded", revisions_without_end_stay_bounded),
    ("remembered_documents_answer_as_before_the_restart", remembered_documents_answer_as_before_the_restart),
    ("rules_can_be_switched_off_and_on_while_running", rules_can_be_switched_off_and_on_while_running),
    ("same_order_of_sightings_gives_the_same_answers", same_order_of_sightings_gives_the_same_answers),
    ("precision_and_recall_on_generated_edits", precision_and_recall_on_generated_edits),
];
