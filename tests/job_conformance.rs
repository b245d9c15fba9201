//! What every job queue promises, run against each backend; the dispatcher over each of them; figures of its latency.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

#[path = "job_conformance/dispatch.rs"]
mod dispatch;
#[path = "job_conformance/fixture.rs"]
mod fixture;
#[path = "job_conformance/latency.rs"]
mod latency;
#[path = "job_conformance/model.rs"]
mod model;
#[path = "job_conformance/outage.rs"]
mod outage;
#[expect(dead_code, reason = "other suites need what this one does not")]
#[path = "support/services/redis.rs"]
mod redis;
#[path = "job_conformance/reindex.rs"]
mod reindex;
#[expect(dead_code, reason = "only its documents are needed here")]
#[path = "store_conformance/suite.rs"]
mod store_suite;
#[path = "job_conformance/suite.rs"]
mod suite;

use fixture::{on_redis, on_sqlite};

/// Runs every case of the suite against each backend.
macro_rules! conformance {
    ($($case:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test] async fn $case() { super::on_sqlite(super::suite::$case).await; })*
        }
        mod redis_server {
            $(#[tokio::test] async fn $case() {
                super::on_redis(concat!("redis_server::", stringify!($case)), super::suite::$case).await;
            })*
        }
    };
}

conformance!(
    jobs_go_by_priority_then_age,
    waiting_job_is_overtaken_for_a_bounded_time_only,
    delayed_job_starts_at_its_time_and_not_before,
    job_not_started_in_time_is_skipped_with_the_reason,
    time_to_live_ends_with_the_first_start,
    worker_that_is_not_heard_of_loses_the_job,
    lease_holds_as_long_as_the_worker_beats,
    fenced_worker_can_do_nothing,
    beats_carry_progress,
    failed_attempts_are_tried_again_until_the_last_and_kept,
    fatal_failure_is_not_tried_again,
    dying_workers_use_up_the_attempts,
    job_given_back_keeps_its_place_and_its_attempts,
    full_queue_refuses_and_has_room_again,
    same_key_is_the_same_job_until_it_is_finished,
    same_submission_again_is_the_same_job,
    waiting_job_is_cancelled_at_once,
    running_job_is_told_and_ends_as_cancelled,
    job_called_off_is_not_run_again,
    dead_job_is_replayed_with_its_history,
    replay_respects_key_state_and_capacity,
    listing_pages_are_complete_newest_first_and_filtered,
    last_finished_jobs_are_kept_and_dead_ones_apart,
    old_finished_jobs_are_forgotten,
    everything_survives_reopening,
    many_workers_take_each_job_once,
    listeners_are_woken,
    hostile_text_is_data,
    time_of_the_next_event_is_told,
    depths_count_by_kind,
    kinds_do_not_mix,
);
