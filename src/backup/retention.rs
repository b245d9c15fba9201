//! Which backups stay.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Utc};

/// A backup without a manifest is under way, or was torn: after this time it counts as torn.
const TORN_AFTER: TimeDelta = TimeDelta::days(1);

/// How many stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// The newest.
    pub last: usize,
    /// The newest of each of the last days that have one.
    pub daily: usize,
    /// The newest of each of the last weeks that have one.
    pub weekly: usize,
}

/// A backup as the target lists it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// When it was begun.
    pub at: DateTime<Utc>,
    /// Its name.
    pub id: String,
    /// Whether it has its manifest.
    pub complete: bool,
    /// Bytes of its files.
    pub bytes: u64,
}

/// Those that go. The newest complete one always stays; days and weeks are UTC's, weeks begin on Monday.
#[must_use]
pub fn expired(backups: &[Listed], keep: Keep, now: DateTime<Utc>) -> Vec<String> {
    let mut complete: Vec<&Listed> = backups.iter().filter(|backup| backup.complete).collect();
    complete.sort_by(|one, two| two.cmp(one));
    let mut stay: BTreeSet<&str> = complete.iter().take(keep.last.max(1)).map(|backup| &*backup.id).collect();
    stay.extend(newest_of_each(&complete, keep.daily, |day| day));
    stay.extend(newest_of_each(&complete, keep.weekly, |day| {
        day - TimeDelta::days(i64::from(day.weekday().num_days_from_monday()))
    }));
    let gone = |backup: &&Listed| {
        if backup.complete { !stay.contains(&*backup.id) } else { now - backup.at > TORN_AFTER }
    };
    backups.iter().filter(gone).map(|backup| backup.id.clone()).collect()
}

/// The newest of each of the last `count` periods.
fn newest_of_each<'a>(
    newest_first: &[&'a Listed],
    count: usize,
    period: impl Fn(NaiveDate) -> NaiveDate,
) -> Vec<&'a str> {
    let mut seen = BTreeSet::new();
    let fresh = newest_first.iter().filter(|backup| seen.insert(period(backup.at.date_naive())));
    fresh.take(count).map(|backup| &*backup.id).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn listed(at: &str, complete: bool) -> Listed {
        Listed { at: format!("{at}Z").parse().unwrap(), id: at.to_owned(), complete, bytes: 1 }
    }

    #[test]
    fn last_daily_and_weekly_stay_and_the_rest_goes() {
        // 2026-11-29 is a Sunday
        let times = [
            "2026-11-10T03:00:00",
            "2026-11-20T03:00:00",
            "2026-11-22T03:00:00",
            "2026-11-27T03:00:00",
            "2026-11-28T03:00:00",
            "2026-11-28T15:00:00",
            "2026-11-29T03:00:00",
            "2026-11-29T04:00:00",
        ];
        let backups: Vec<Listed> = times.iter().map(|at| listed(at, true)).collect();
        let now = "2026-11-29T05:00:00Z".parse().unwrap();
        let keep = Keep { last: 1, daily: 2, weekly: 3 };
        // stay: the last; the newest of the 29th and the 28th; the newest of the weeks of the 23rd, 16th and 9th
        let gone = ["2026-11-20T03:00:00", "2026-11-27T03:00:00", "2026-11-28T03:00:00", "2026-11-29T03:00:00"];
        assert_eq!(expired(&backups, keep, now), gone);
        assert_eq!(expired(&backups, Keep { last: 8, daily: 0, weekly: 0 }, now), Vec::<String>::new());
        let only = expired(&backups, Keep { last: 0, daily: 0, weekly: 0 }, now);
        assert_eq!(only.len(), 7, "the newest stays whatever is asked");
    }

    #[test]
    fn torn_backups_go_after_a_day_and_count_for_nothing() {
        let backups = [
            listed("2026-11-27T03:00:00", true),
            listed("2026-11-28T03:00:00", false),
            listed("2026-11-29T03:00:00", false),
        ];
        let now = "2026-11-29T05:00:00Z".parse().unwrap();
        assert_eq!(expired(&backups, Keep { last: 1, daily: 0, weekly: 0 }, now), ["2026-11-28T03:00:00"]);
    }
}
