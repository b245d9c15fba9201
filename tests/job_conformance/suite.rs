//! One case per promise. Time stands still but for `pass`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidemill::messages::job::{Job, JobState, MAX_ERRORS, NewJob};
use tidemill::stores::jobs::{Beat, End, Held, JobError, JobFilter, Lease, Wake};

use crate::fixture::{Fresh, KIND, LEASE, ROOM, RULES, START, failed, job, with_priority};

fn beat(lease: &Lease) -> Vec<Beat> {
    vec![Beat { lease: lease.clone(), progress: None }]
}

fn at(ms: i64) -> chrono::DateTime<chrono::Utc> {
    chrono::DateTime::from_timestamp_millis(ms).unwrap()
}

pub async fn jobs_go_by_priority_then_age(fresh: Fresh) {
    let low = fresh.add(with_priority(0)).await;
    let first = fresh.add(with_priority(5)).await;
    let second = fresh.add(with_priority(5)).await;
    let urgent = fresh.add(with_priority(9)).await;
    assert_eq!(fresh.take_all().await, [urgent.id, first.id, second.id, low.id]);
}

pub async fn waiting_job_is_overtaken_for_a_bounded_time_only(fresh: Fresh) {
    let bound = RULES.aging * 9;
    let low = fresh.add(with_priority(0)).await;
    fresh.pass(bound.checked_sub(Duration::from_millis(1)).unwrap());
    let just_in_time = fresh.add(with_priority(9)).await;
    fresh.pass(Duration::from_millis(1));
    let mut late = Vec::new();
    for _ in 0..20 {
        late.push(fresh.add(with_priority(9)).await.id);
    }
    let order = fresh.take_all().await;
    assert_eq!(order[..2], [just_in_time.id, low.id], "nothing that comes after the bound goes before it");
    assert_eq!(order[2..], late);
}

pub async fn delayed_job_starts_at_its_time_and_not_before(fresh: Fresh) {
    let later = fresh.add(NewJob { run_at: Some(at(START + 10_000)), ..with_priority(9) }).await;
    assert_eq!(later.state, JobState::Delayed);
    let now = fresh.add(with_priority(0)).await;
    fresh.pass(Duration::from_millis(9_999));
    assert_eq!(fresh.take_all().await, [now.id]);
    fresh.pass(Duration::from_millis(1));
    let claim = fresh.claim("w1").await;
    assert_eq!(claim.taken.unwrap().0.id, later.id);
    let told: Vec<_> = claim.passed.changed.iter().map(|change| (change.id.clone(), change.state)).collect();
    assert_eq!(told, [(later.id, JobState::Queued)]);
    let past = fresh.add(NewJob { run_at: Some(at(START)), ..job() }).await;
    assert_eq!(past.state, JobState::Queued, "a time that has passed is now");
}

pub async fn job_not_started_in_time_is_skipped_with_the_reason(fresh: Fresh) {
    let short = fresh.add(NewJob { ttl_ms: Some(5_000), ..job() }).await;
    let later = fresh.add(NewJob { ttl_ms: Some(5_000), run_at: Some(at(START + 60_000)), ..job() }).await;
    assert_eq!((short.expires_at, later.expires_at), (Some(at(START + 5_000)), Some(at(START + 65_000))));
    fresh.pass_seconds(5);
    let claim = fresh.claim("w1").await;
    assert_eq!(claim.taken, None);
    let told: Vec<_> = claim.passed.changed.iter().map(|change| (change.id.clone(), change.state)).collect();
    assert_eq!(told, [(short.id.clone(), JobState::Skipped)]);
    let skipped = fresh.get(&short.id).await;
    assert!(skipped.reason.is_some_and(|reason| reason.contains("time to live")));
    assert_eq!((skipped.state, skipped.attempts), (JobState::Skipped, 0));
    fresh.pass_seconds(60);
    assert_eq!(fresh.queue.sweep(KIND).await.unwrap().changed.len(), 1, "sweeping will do as well");
    assert_eq!(fresh.get(&later.id).await.state, JobState::Skipped);
}

pub async fn time_to_live_ends_with_the_first_start(fresh: Fresh) {
    let id = fresh.add(NewJob { ttl_ms: Some(5_000), ..job() }).await.id;
    let (_, lease) = fresh.take().await;
    fresh.end(&lease, failed("no", Some(100))).await.unwrap();
    fresh.pass_seconds(100);
    let (again, lease) = fresh.take().await;
    assert_eq!((&again.id, again.attempts), (&id, 2));
    fresh.end(&lease, End::GivenBack).await.unwrap();
    fresh.pass_seconds(1000);
    assert_eq!(fresh.take().await.0.id, id);
}

pub async fn worker_that_is_not_heard_of_loses_the_job(fresh: Fresh) {
    let id = fresh.add(job()).await.id;
    let (taken, _) = fresh.take().await;
    assert_eq!((taken.worker.as_deref(), taken.lease_expires_at), (Some("w1"), Some(at(START + 30_000))));
    fresh.pass(LEASE.checked_sub(Duration::from_millis(1)).unwrap());
    assert_eq!(fresh.claim("w2").await.taken, None);
    fresh.pass(Duration::from_millis(1));
    let (again, _) = fresh.claim("w2").await.taken.unwrap();
    assert_eq!((&again.id, again.attempts, again.worker.as_deref()), (&id, 2, Some("w2")));
    assert_eq!(again.errors.len(), 1);
    assert!(again.errors[0].error.contains("w1"), "{:?}", again.errors);
}

pub async fn lease_holds_as_long_as_the_worker_beats(fresh: Fresh) {
    fresh.add(job()).await;
    let (_, lease) = fresh.take().await;
    for _ in 0..100 {
        fresh.pass_seconds(29);
        assert_eq!(fresh.queue.beat(beat(&lease), LEASE).await.unwrap(), [Held::Yes]);
        assert_eq!(fresh.claim("w2").await.taken, None);
    }
    let done = fresh.end(&lease, End::Succeeded(json!({ "rows": 3 }))).await.unwrap();
    assert_eq!((done.state, done.attempts, done.result), (JobState::Succeeded, 1, Some(json!({ "rows": 3 }))));
    assert!((done.progress - 1.0).abs() < f64::EPSILON && done.finished_at.is_some() && done.worker.is_none());
}

pub async fn fenced_worker_can_do_nothing(fresh: Fresh) {
    let id = fresh.add(job()).await.id;
    let (_, old) = fresh.take().await;
    fresh.pass(LEASE);
    let (_, new) = fresh.claim("w2").await.taken.unwrap();
    assert!(new.fence > old.fence);
    let news = vec![Beat { lease: old.clone(), progress: Some((0.9, "late".to_owned())) }];
    assert_eq!(fresh.queue.beat(news, LEASE).await.unwrap(), [Held::Lost]);
    for end in [End::Succeeded(Value::Null), failed("late", Some(1)), End::Cancelled, End::GivenBack] {
        assert_eq!(fresh.end(&old, end).await, Err(JobError::LeaseLost(id.clone())));
    }
    let untouched = fresh.get(&id).await;
    assert_eq!(
        (untouched.state, untouched.message, untouched.worker.as_deref()),
        (JobState::Running, None, Some("w2"))
    );
    fresh.end(&new, End::Succeeded(Value::Null)).await.unwrap();
    assert_eq!(fresh.end(&new, End::Succeeded(Value::Null)).await, Err(JobError::LeaseLost(id.clone())), "once");
    let unknown = Lease { id: "none".into(), ..new };
    assert_eq!(fresh.end(&unknown, End::GivenBack).await, Err(JobError::LeaseLost("none".into())));
}

pub async fn beats_carry_progress(fresh: Fresh) {
    let first = fresh.add(job()).await.id;
    let second = fresh.add(job()).await.id;
    let (_, one) = fresh.take().await;
    let (_, two) = fresh.take().await;
    let beats = vec![
        Beat { lease: one.clone(), progress: Some((0.25, "a quarter".to_owned())) },
        Beat { lease: two, progress: None },
        Beat { lease: Lease { fence: 99, ..one.clone() }, progress: Some((0.5, "not its own".to_owned())) },
    ];
    assert_eq!(fresh.queue.beat(beats, LEASE).await.unwrap(), [Held::Yes, Held::Yes, Held::Lost]);
    let job = fresh.get(&first).await;
    assert_eq!((job.progress, job.message.as_deref()), (0.25, Some("a quarter")));
    let job = fresh.get(&second).await;
    assert_eq!((job.progress, job.message), (0.0, None));
    fresh.end(&one, failed("no", Some(0))).await.unwrap();
    let (again, _) = fresh.take().await;
    assert_eq!((again.id, again.progress, again.message), (first, 0.0, None), "an attempt begins at nothing");
}

pub async fn failed_attempts_are_tried_again_until_the_last_and_kept(fresh: Fresh) {
    let id = fresh.add(NewJob { max_attempts: 3, ..job() }).await.id;
    for attempt in 1..=3_u32 {
        let (taken, lease) = fresh.take().await;
        assert_eq!((&taken.id, taken.attempts), (&id, attempt));
        let after = fresh.end(&lease, failed(&format!("error {attempt}"), Some(10))).await.unwrap();
        if attempt < 3 {
            assert_eq!((after.state, after.run_at), (JobState::Delayed, at(fresh.now() + 10_000)));
            assert_eq!(fresh.claim("w1").await.taken, None, "it waits first");
            fresh.pass_seconds(10);
        }
    }
    let dead = fresh.get(&id).await;
    assert_eq!((dead.state, dead.reason.as_deref()), (JobState::Dead, Some("error 3")));
    let kept: Vec<_> = dead.errors.iter().map(|entry| (entry.attempt, entry.error.as_str())).collect();
    assert_eq!(kept, [(1, "error 1"), (2, "error 2"), (3, "error 3")]);
    assert_eq!(dead.errors[0].at, at(START));
    let long = fresh.add(NewJob { max_attempts: 100, ..job() }).await.id;
    for _ in 0..MAX_ERRORS + 5 {
        let (_, lease) = fresh.take().await;
        fresh.end(&lease, failed("again", Some(0))).await.unwrap();
    }
    let long = fresh.get(&long).await;
    assert_eq!(long.errors.len(), MAX_ERRORS);
    assert_eq!(long.errors[0].attempt, 6, "the oldest go first");
}

pub async fn fatal_failure_is_not_tried_again(fresh: Fresh) {
    fresh.add(job()).await;
    let (_, lease) = fresh.take().await;
    let dead = fresh.end(&lease, failed("never", None)).await.unwrap();
    assert_eq!((dead.state, dead.attempts, dead.max_attempts), (JobState::Dead, 1, 3));
}

pub async fn dying_workers_use_up_the_attempts(fresh: Fresh) {
    let id = fresh.add(NewJob { max_attempts: 2, ..job() }).await.id;
    fresh.take().await;
    fresh.pass(LEASE);
    assert_eq!(fresh.take().await.0.attempts, 2);
    fresh.pass(LEASE);
    assert_eq!(fresh.claim("w1").await.taken, None);
    let dead = fresh.get(&id).await;
    assert_eq!((dead.state, dead.errors.len()), (JobState::Dead, 2), "a job that kills its workers does not for ever");
}

pub async fn job_given_back_keeps_its_place_and_its_attempts(fresh: Fresh) {
    let id = fresh.add(job()).await.id;
    fresh.pass_seconds(1);
    fresh.add(job()).await;
    let (_, lease) = fresh.take().await;
    fresh.pass_seconds(1);
    let back = fresh.end(&lease, End::GivenBack).await.unwrap();
    assert_eq!((back.state, back.attempts, back.errors.len()), (JobState::Queued, 0, 0));
    let (again, newer) = fresh.take().await;
    assert_eq!((again.id, again.attempts), (id.clone(), 1));
    assert_eq!(fresh.end(&lease, End::GivenBack).await, Err(JobError::LeaseLost(id)), "the old lease is none");
    fresh.end(&newer, End::Succeeded(Value::Null)).await.unwrap();
}

pub async fn full_queue_refuses_and_has_room_again(fresh: Fresh) {
    let keyed = NewJob { key: Some("k".to_owned()), ..job() };
    fresh.queue.enqueue(keyed.clone(), 2).await.unwrap();
    fresh.queue.enqueue(NewJob { run_at: Some(at(START + 1000)), ..job() }, 2).await.unwrap();
    let full = Err(JobError::Full { kind: KIND.into(), capacity: 2 });
    assert_eq!(fresh.queue.enqueue(job(), 2).await, full);
    let again = fresh.queue.enqueue(NewJob { id: job().id, ..keyed }, 2).await.unwrap();
    assert!(again.existing, "what is there already needs no room");
    fresh.queue.enqueue(NewJob { kind: "other".into(), ..job() }, 2).await.unwrap();
    fresh.take().await;
    fresh.queue.enqueue(job(), 2).await.unwrap();
    assert_eq!(fresh.queue.enqueue(job(), 2).await, full, "running jobs do not count, waiting ones do");
}

pub async fn same_key_is_the_same_job_until_it_is_finished(fresh: Fresh) {
    let keyed = || NewJob { key: Some("nightly".to_owned()), ..job() };
    let first = fresh.add(keyed()).await;
    for state in [JobState::Queued, JobState::Running, JobState::Delayed] {
        let again = fresh.queue.enqueue(keyed(), ROOM).await.unwrap();
        assert_eq!((again.existing, &again.job.id, again.job.state), (true, &first.id, state));
        match state {
            JobState::Queued => drop(fresh.take().await),
            JobState::Running => {
                let lease = Lease { id: first.id.clone(), kind: KIND.into(), fence: 1 };
                fresh.end(&lease, failed("no", Some(60))).await.unwrap();
            }
            _ => {}
        }
    }
    let other_kind = fresh.add(NewJob { kind: "other".into(), ..keyed() }).await;
    assert_ne!(other_kind.id, first.id);
    fresh.queue.cancel(&first.id).await.unwrap();
    let next = fresh.queue.enqueue(keyed(), ROOM).await.unwrap();
    assert!(!next.existing && next.job.id != first.id);
}

pub async fn same_submission_again_is_the_same_job(fresh: Fresh) {
    let new = job();
    let first = fresh.queue.enqueue(new.clone(), ROOM).await.unwrap();
    let again = fresh.queue.enqueue(new, ROOM).await.unwrap();
    assert_eq!((first.existing, again.existing, &again.job), (false, true, &first.job));
    assert_eq!(fresh.take_all().await.len(), 1);
}

pub async fn waiting_job_is_cancelled_at_once(fresh: Fresh) {
    let queued = fresh.add(job()).await.id;
    let delayed = fresh.add(NewJob { run_at: Some(at(START + 1000)), ..job() }).await.id;
    for id in [&queued, &delayed] {
        let job = fresh.queue.cancel(id).await.unwrap();
        assert_eq!((job.state, job.finished_at), (JobState::Cancelled, Some(at(START))));
        assert!(matches!(fresh.queue.cancel(id).await, Err(JobError::Conflict(said)) if said.contains("cancelled")));
    }
    fresh.pass_seconds(10);
    assert_eq!(fresh.take_all().await, Vec::<Arc<str>>::new());
    assert_eq!(fresh.queue.cancel("none").await, Err(JobError::NotFound("none".to_owned())));
}

pub async fn running_job_is_told_and_ends_as_cancelled(fresh: Fresh) {
    fresh.add(job()).await;
    let (_, lease) = fresh.take().await;
    let asked = fresh.queue.cancel(&lease.id).await.unwrap();
    assert_eq!((asked.state, asked.cancel_requested), (JobState::Running, true));
    assert!(fresh.queue.cancel(&lease.id).await.unwrap().cancel_requested, "asking twice changes nothing");
    assert_eq!(fresh.queue.beat(beat(&lease), LEASE).await.unwrap(), [Held::Cancelled]);
    let ended = fresh.end(&lease, End::Cancelled).await.unwrap();
    assert_eq!((ended.state, ended.reason.as_deref()), (JobState::Cancelled, Some("called off")));
    fresh.add(job()).await;
    let (_, lease) = fresh.take().await;
    fresh.queue.cancel(&lease.id).await.unwrap();
    let done = fresh.end(&lease, End::Succeeded(Value::Null)).await.unwrap();
    assert_eq!(done.state, JobState::Succeeded, "what was done is done");
    assert!(matches!(fresh.queue.cancel(&lease.id).await, Err(JobError::Conflict(_))));
}

pub async fn job_called_off_is_not_run_again(fresh: Fresh) {
    for end in [Some(failed("no", Some(0))), Some(End::GivenBack), None] {
        fresh.add(job()).await;
        let (_, lease) = fresh.take().await;
        fresh.queue.cancel(&lease.id).await.unwrap();
        match end {
            Some(end) => drop(fresh.end(&lease, end).await.unwrap()),
            None => fresh.pass(LEASE),
        }
        assert_eq!(fresh.claim("w2").await.taken, None);
        assert_eq!(fresh.get(&lease.id).await.state, JobState::Cancelled);
    }
}

pub async fn dead_job_is_replayed_with_its_history(fresh: Fresh) {
    let new = NewJob { max_attempts: 1, ttl_ms: Some(5_000), ..job() };
    let id = fresh.add(new).await.id;
    let (_, lease) = fresh.take().await;
    fresh.end(&lease, failed("first life", Some(1))).await.unwrap();
    fresh.pass_seconds(100);
    let replayed = fresh.queue.replay(&id, ROOM).await.unwrap();
    assert_eq!((replayed.state, replayed.attempts, replayed.replays), (JobState::Queued, 0, 1));
    assert_eq!((replayed.started_at, replayed.finished_at, replayed.reason), (None, None, None));
    assert_eq!(replayed.expires_at, Some(at(fresh.now() + 5_000)), "it has its whole time to live again");
    let (again, newer) = fresh.take().await;
    assert_eq!((again.attempts, again.errors.len()), (1, 1));
    assert!(newer.fence > lease.fence);
    let dead = fresh.end(&newer, failed("second life", Some(1))).await.unwrap();
    let errors: Vec<_> = dead.errors.iter().map(|entry| entry.error.as_str()).collect();
    assert_eq!((dead.state, errors), (JobState::Dead, vec!["first life", "second life"]));
    for make in [JobState::Cancelled, JobState::Skipped] {
        let id = fresh.add(NewJob { ttl_ms: Some(1), ..job() }).await.id;
        if make == JobState::Cancelled {
            fresh.queue.cancel(&id).await.unwrap();
        } else {
            fresh.pass_seconds(1);
            fresh.queue.sweep(KIND).await.unwrap();
        }
        assert_eq!(fresh.get(&id).await.state, make);
        assert_eq!(fresh.queue.replay(&id, ROOM).await.unwrap().state, JobState::Queued);
        assert_eq!(fresh.take().await.0.id, id);
    }
}

pub async fn replay_respects_key_state_and_capacity(fresh: Fresh) {
    let keyed = || NewJob { key: Some("k".to_owned()), ..job() };
    let first = fresh.add(keyed()).await.id;
    assert!(matches!(fresh.queue.replay(&first, ROOM).await, Err(JobError::Conflict(said)) if said.contains("queued")));
    fresh.queue.cancel(&first).await.unwrap();
    let second = fresh.add(keyed()).await.id;
    assert!(matches!(fresh.queue.replay(&first, ROOM).await, Err(JobError::Conflict(said)) if said.contains(&*second)));
    let (_, lease) = fresh.take().await;
    fresh.end(&lease, End::Succeeded(Value::Null)).await.unwrap();
    assert!(matches!(fresh.queue.replay(&second, ROOM).await, Err(JobError::Conflict(_))), "what is done is done");
    fresh.add(job()).await;
    assert_eq!(fresh.queue.replay(&first, 1).await, Err(JobError::Full { kind: KIND.into(), capacity: 1 }));
    assert_eq!(fresh.queue.replay("none", 1).await, Err(JobError::NotFound("none".to_owned())));
    assert_eq!(fresh.queue.replay(&first, 2).await.unwrap().state, JobState::Queued);
    let again = fresh.queue.enqueue(keyed(), ROOM).await.unwrap();
    assert_eq!((again.existing, again.job.id), (true, first), "it has its key again");
}

pub async fn listing_pages_are_complete_newest_first_and_filtered(fresh: Fresh) {
    let mut ids = Vec::new();
    for index in 0..7 {
        let kind = if index % 3 == 0 { "other" } else { KIND };
        ids.push(fresh.add(NewJob { kind: kind.into(), ..job() }).await.id);
    }
    ids.reverse();
    fresh.take().await;
    let (mut filter, mut found) = (JobFilter { limit: 3, ..JobFilter::default() }, Vec::new());
    loop {
        let page = fresh.queue.list(filter.clone()).await.unwrap();
        found.extend(page.items.into_iter().map(|job| job.id));
        match page.next_cursor {
            Some(cursor) => filter.cursor = Some(cursor),
            None => break,
        }
    }
    assert_eq!(found, ids);
    let list = async |state, kind: Option<&str>| {
        let filter = JobFilter { state, kind: kind.map(str::to_owned), limit: 100, cursor: None };
        fresh.queue.list(filter).await.unwrap().items.len()
    };
    assert_eq!(list(None, Some("other")).await, 3);
    assert_eq!(list(Some(JobState::Running), None).await, 1);
    assert_eq!(list(Some(JobState::Queued), Some(KIND)).await, 3);
    assert_eq!(list(Some(JobState::Dead), None).await, 0);
    for (limit, cursor) in [(0, None), (1001, None), (1, Some("zzz".to_owned()))] {
        let wrong = fresh.queue.list(JobFilter { limit, cursor, ..JobFilter::default() }).await;
        assert!(matches!(wrong, Err(JobError::InvalidQuery(_))));
    }
    let exact = fresh.queue.list(JobFilter { limit: 7, ..JobFilter::default() }).await.unwrap();
    assert_eq!((exact.items.len(), exact.next_cursor), (7, None), "no page after the last");
}

async fn run_one(fresh: &Fresh, end: End) -> Job {
    fresh.pass_seconds(1);
    fresh.add(NewJob { max_attempts: 1, ..job() }).await;
    let (_, lease) = fresh.take().await;
    fresh.end(&lease, end).await.unwrap()
}

pub async fn last_finished_jobs_are_kept_and_dead_ones_apart(fresh: Fresh) {
    let mut finished = Vec::new();
    let mut dead = Vec::new();
    for _ in 0..5 {
        finished.push(run_one(&fresh, End::Succeeded(Value::Null)).await.id);
        dead.push(run_one(&fresh, failed("no", None)).await.id);
    }
    let kept = async |ids: &[Arc<str>]| {
        let mut kept = Vec::new();
        for id in ids {
            kept.push(fresh.queue.get(id).await.unwrap().is_some());
        }
        kept
    };
    assert_eq!(kept(&finished).await, [false, false, true, true, true], "the last {}", RULES.keep_finished);
    assert_eq!(kept(&dead).await, [false, false, false, true, true], "the last {}", RULES.keep_dead);
    let listed = fresh.queue.list(JobFilter { limit: 100, ..JobFilter::default() }).await.unwrap();
    assert_eq!(listed.items.len(), RULES.keep_finished + RULES.keep_dead);
}

pub async fn old_finished_jobs_are_forgotten(fresh: Fresh) {
    let done = run_one(&fresh, End::Succeeded(Value::Null)).await.id;
    let dead = run_one(&fresh, failed("no", None)).await.id;
    fresh.pass(RULES.keep_for);
    fresh.queue.sweep(KIND).await.unwrap();
    assert_eq!(fresh.queue.get(&done).await.unwrap(), None);
    assert!(fresh.queue.get(&dead).await.unwrap().is_some(), "dead ones stay");
}

pub async fn everything_survives_reopening(fresh: Fresh) {
    let waiting = fresh.add(NewJob { key: Some("k".to_owned()), ttl_ms: Some(900_000), ..with_priority(1) }).await;
    fresh.add(with_priority(9)).await;
    let (_, lease) = fresh.take().await;
    let progress = Some((0.5, "half".to_owned()));
    fresh.queue.beat(vec![Beat { lease: lease.clone(), progress }], LEASE).await.unwrap();
    let before = fresh.get(&lease.id).await;
    let fresh = fresh.reopened();
    assert_eq!(fresh.get(&waiting.id).await, waiting);
    assert_eq!(fresh.get(&lease.id).await, before);
    assert_eq!(fresh.queue.beat(beat(&lease), LEASE).await.unwrap(), [Held::Yes], "leases survive too");
    assert!(fresh.queue.enqueue(NewJob { key: Some("k".to_owned()), ..job() }, ROOM).await.unwrap().existing);
    assert_eq!(fresh.take().await.0.id, waiting.id);
}

pub async fn many_workers_take_each_job_once(fresh: Fresh) {
    const JOBS: usize = 60;
    let fresh = Arc::new(fresh);
    let workers: Vec<_> = (0..8)
        .map(|worker| {
            let fresh = fresh.clone();
            tokio::spawn(async move {
                let mut taken = Vec::new();
                for index in 0..JOBS {
                    if index % 8 == worker {
                        fresh.add(job()).await;
                    }
                    if let Some((job, lease)) = fresh.claim(&format!("w{worker}")).await.taken {
                        fresh.end(&lease, End::Succeeded(Value::Null)).await.unwrap();
                        taken.push(job.id);
                    }
                }
                taken
            })
        })
        .collect();
    let mut taken = Vec::new();
    for worker in workers {
        taken.extend(worker.await.unwrap());
    }
    taken.extend(fresh.take_all().await);
    assert_eq!(taken.len(), JOBS);
    assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), JOBS);
}

pub async fn listeners_are_woken(fresh: Fresh) {
    let patience = Duration::from_secs(10);
    let heard = async {
        while !fresh.queue.hears_others() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(patience, heard).await.unwrap();
    let mut wakes = fresh.queue.subscribe();
    let mut next = async || tokio::time::timeout(patience, wakes.recv()).await.unwrap().unwrap();
    let id = fresh.add(job()).await.id;
    assert_eq!(next().await, Wake::Work(KIND.into()));
    let (_, lease) = fresh.take().await;
    fresh.queue.cancel(&id).await.unwrap();
    assert_eq!(next().await, Wake::Cancel(id.clone()));
    fresh.end(&lease, End::Cancelled).await.unwrap();
    fresh.queue.replay(&id, ROOM).await.unwrap();
    assert_eq!(next().await, Wake::Work(KIND.into()));
}

pub async fn hostile_text_is_data(fresh: Fresh) {
    let nasty = "'; DROP TABLE analytics_jobs; --\n\r\0\u{1f980}\\\"]]{}%s\u{7f}é";
    let payload =
        json!({ "text": nasty, "deep": [[[{ nasty: [] }]]], "number": 1e300, "big": 9_007_199_254_740_993_i64 });
    let mut metadata = serde_json::Map::new();
    metadata.insert(nasty.to_owned(), json!(null));
    let new = NewJob {
        payload: payload.clone(),
        metadata: metadata.clone(),
        key: Some(nasty.to_owned()),
        correlation_id: nasty.to_owned(),
        ..job()
    };
    let id = fresh.add(new).await.id;
    let (taken, lease) = fresh.claim(nasty).await.taken.unwrap();
    assert_eq!((&taken.payload, &taken.metadata, taken.key.as_deref()), (&payload, &metadata, Some(nasty)));
    assert_eq!((taken.worker.as_deref(), taken.correlation_id.as_str()), (Some(nasty), nasty));
    let progress = Some((0.5, nasty.to_owned()));
    fresh.queue.beat(vec![Beat { lease: lease.clone(), progress }], LEASE).await.unwrap();
    assert_eq!(fresh.get(&id).await.message.as_deref(), Some(nasty));
    let dead = fresh.end(&lease, failed(nasty, None)).await.unwrap();
    assert_eq!(
        (dead.reason.as_deref(), dead.errors[0].error.as_str(), dead.errors[0].worker.as_str()),
        (Some(nasty), nasty, nasty)
    );
    fresh.queue.replay(&id, ROOM).await.unwrap();
    let (_, lease) = fresh.take().await;
    let done = fresh.end(&lease, End::Succeeded(payload.clone())).await.unwrap();
    assert_eq!((done.result, done.errors.len()), (Some(payload), 1));
}

pub async fn time_of_the_next_event_is_told(fresh: Fresh) {
    let next = async || fresh.queue.sweep(KIND).await.unwrap().next_ms;
    assert_eq!(next().await, None);
    fresh.add(NewJob { ttl_ms: Some(90_000), ..job() }).await;
    assert_eq!(next().await, Some(START + 90_000));
    fresh.add(NewJob { run_at: Some(at(START + 40_000)), ..job() }).await;
    assert_eq!(next().await, Some(START + 40_000));
    let claim = fresh.claim("w1").await;
    assert_eq!((claim.passed.next_ms, claim.passed.now_ms), (Some(START + 30_000), START), "the end of the lease");
    let (_, lease) = claim.taken.unwrap();
    fresh.end(&lease, End::Succeeded(Value::Null)).await.unwrap();
    assert_eq!(next().await, Some(START + 40_000));
}

pub async fn depths_count_by_kind(fresh: Fresh) {
    for _ in 0..3 {
        fresh.add(job()).await;
    }
    fresh.add(NewJob { run_at: Some(at(START + 1000)), ..job() }).await;
    fresh.add(NewJob { kind: "other".into(), ..job() }).await;
    let (_, lease) = fresh.take().await;
    fresh.end(&lease, failed("no", None)).await.unwrap();
    fresh.take().await;
    let depths = fresh.queue.depths().await.unwrap();
    let counts: Vec<_> = depths
        .iter()
        .map(|depth| (depth.kind.as_str(), depth.queued, depth.delayed, depth.running, depth.dead))
        .collect();
    assert_eq!(counts, [("other", 1, 0, 0, 0), (KIND, 1, 1, 1, 1)]);
    fresh.queue.check().await.unwrap();
}

pub async fn kinds_do_not_mix(fresh: Fresh) {
    fresh.add(job()).await;
    assert_eq!(fresh.queue.claim("other", "w1", LEASE).await.unwrap().taken, None);
    assert_eq!(fresh.queue.claim("wor", "w1", LEASE).await.unwrap().taken, None);
    fresh.take().await;
}
