//! What the duplicate memory of one daemon promises; `tests/redis.rs` holds the shared one to the same.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

#[path = "near_duplicate/suite.rs"]
mod suite;

use std::sync::Arc;

use tidemill::config::dedup::DedupConfig;
use tidemill::stores::claims::{Claims, LocalClaims};
use tidemill::text::near_duplicates::DuplicateMemory;

fn local(memory: DuplicateMemory, _: &DedupConfig) -> Arc<dyn Claims> {
    Arc::new(LocalClaims::new(memory))
}

macro_rules! promises {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            suite::$name(&local);
        }
    )*
        #[test]
        fn no_promise_is_left_out() {
            let mut named = vec![$(stringify!($name)),*];
            let mut all: Vec<&str> = suite::ALL.iter().map(|(name, _)| *name).collect();
            named.sort_unstable();
            all.sort_unstable();
            assert_eq!(named, all);
        }
    };
}

promises! {
    exact_copy_names_its_original
    near_copy_names_its_original_and_the_rule
    copy_of_a_copy_names_the_root
    one_other_number_is_news
    retry_of_the_same_record_gets_the_same_answer
    same_document_again_is_the_same
    revision_is_never_a_copy_of_itself
    record_delivered_again_after_its_revision_leaves_the_revision_standing
    late_verdict_of_a_replaced_revision_settles_nothing
    copies_of_a_document_that_became_a_copy_name_its_root
    window_counts_by_record_time_in_both_directions
    forgetting_an_original_forgets_what_counted_on_it
    capacity_holds_and_the_oldest_goes_first
    revisions_without_end_stay_bounded
    remembered_documents_answer_as_before_the_restart
    rules_can_be_switched_off_and_on_while_running
    same_order_of_sightings_gives_the_same_answers
    precision_and_recall_on_generated_edits
}
