//! Documents that wait for what they copy, while another daemon has it on its way.

mod look_up;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::messages::record::Position;
use crate::stores::claims::Claims;
use crate::text::near_duplicates::Standing;

pub(super) use self::look_up::{Original, look_up, return_later};

/// First and longest pause between two looks.
const LOOK: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));

/// What to do with a copy whose original is not in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The original is on its way: try again once it has arrived.
    Wait,
    /// There is no original: judge the document again.
    Reconsider,
}

/// Who waits, and since when. Bounded by the records that have no verdict yet.
#[derive(Debug, Default)]
pub struct Waiting {
    by_record: Mutex<HashMap<Position, Wait>>,
}

#[derive(Debug)]
struct Wait {
    since: Instant,
    /// The original's verdict was durable before the write that did not find it.
    seen_durable: bool,
}

impl Waiting {
    /// What to do with the copy that this record brought: `original` was not in the store when it was to be written.
    ///
    /// Of a withdrawn original nobody waits, of a claimed one everybody does, at most for `bound`. One whose verdict
    /// is durable is looked for once more: it may have arrived just after the look.
    pub fn decide(&self, claims: &dyn Claims, original: &str, record: &Position, bound: Duration) -> Decision {
        if !claims.is_shared() {
            return Decision::Reconsider;
        }
        let standing = claims.standing(original);
        let mut by_record = self.by_record.lock();
        let wait =
            by_record.entry(record.clone()).or_insert_with(|| Wait { since: Instant::now(), seen_durable: false });
        let waits = match standing {
            Standing::Unknown => false,
            Standing::Durable => !std::mem::replace(&mut wait.seen_durable, true),
            Standing::Pending => wait.since.elapsed() < bound,
        };
        if waits {
            return Decision::Wait;
        }
        if standing == Standing::Pending {
            tracing::warn!(original, waited = ?wait.since.elapsed(), "original did not arrive, its copy is judged again");
        }
        by_record.remove(record);
        Decision::Reconsider
    }

    /// The record waits no longer.
    pub fn ended(&self, record: &Position) {
        let mut by_record = self.by_record.lock();
        if !by_record.is_empty() {
            by_record.remove(record);
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.by_record.lock().len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Resolves when the original's verdict is durable, its claim is withdrawn, or the time is up.
pub async fn until_settled(claims: Arc<dyn Claims>, original: Arc<str>, bound: Duration) {
    let started = Instant::now();
    let mut pause = LOOK.0;
    loop {
        // at least once: the write that found nothing was a moment ago
        tokio::time::sleep(pause).await;
        if claims.standing(&original) != Standing::Pending || started.elapsed() >= bound {
            return;
        }
        pause = (pause * 2).min(LOOK.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::dedup::DedupConfig;
    use crate::stores::claims::{Claim, LocalClaims};
    use crate::text::fingerprint::fingerprint;
    use crate::text::near_duplicates::DuplicateMemory;

    /// A memory of one's own that says it is shared.
    struct Shared(LocalClaims);

    impl Claims for Shared {
        fn claim(
            &self,
            claims: Vec<Claim>,
        ) -> futures_util::future::BoxFuture<
            '_,
            Result<Vec<crate::messages::pipeline::Sighting>, crate::stores::documents::StoreError>,
        > {
            self.0.claim(claims)
        }
        fn settle(&self, id: &Arc<str>, origin: &Position, root: Option<&Arc<str>>) {
            self.0.settle(id, origin, root);
        }
        fn forget(&self, id: &Arc<str>, origin: &Position) {
            self.0.forget(id, origin);
        }
        fn redirect(&self, id: &Arc<str>, origin: &Position, root: &Arc<str>) {
            self.0.redirect(id, origin, root);
        }
        fn root(&self, id: &Arc<str>) -> Arc<str> {
            self.0.root(id)
        }
        fn expel(&self, id: &Arc<str>) {
            self.0.expel(id);
        }
        fn standing(&self, id: &str) -> Standing {
            self.0.standing(id)
        }
        fn reconfigure(&self, config: &DedupConfig) {
            self.0.reconfigure(config);
        }
        fn len(&self) -> usize {
            self.0.len()
        }
        fn is_shared(&self) -> bool {
            true
        }
    }

    fn at(offset: i64) -> Position {
        Position { topic: "documents".into(), partition: 0, offset }
    }

    async fn with_claimed_original() -> Shared {
        let claims = Shared(LocalClaims::new(DuplicateMemory::new(&DedupConfig::default())));
        let claim =
            Claim { id: "a".into(), fingerprint: fingerprint(None, "copper falls"), origin: at(0), timestamp_ms: 0 };
        assert!(claims.claim(vec![claim]).await.is_ok());
        claims
    }

    #[tokio::test]
    async fn copy_waits_for_a_claimed_original_and_for_no_withdrawn_one() {
        let (claims, waiting, bound) = (with_claimed_original().await, Waiting::default(), Duration::from_mins(1));
        assert_eq!(waiting.decide(&claims, "a", &at(1), bound), Decision::Wait);
        claims.forget(&"a".into(), &at(0));
        assert_eq!(waiting.decide(&claims, "a", &at(1), bound), Decision::Reconsider);
        assert!(waiting.is_empty());
        assert_eq!(waiting.decide(&claims, "never seen", &at(2), bound), Decision::Reconsider);
    }

    #[tokio::test]
    async fn original_that_became_durable_is_looked_for_once_more() {
        let (claims, waiting, bound) = (with_claimed_original().await, Waiting::default(), Duration::from_mins(1));
        assert_eq!(waiting.decide(&claims, "a", &at(1), bound), Decision::Wait);
        claims.settle(&"a".into(), &at(0), None);
        assert_eq!(waiting.decide(&claims, "a", &at(1), bound), Decision::Wait);
        assert_eq!(waiting.decide(&claims, "a", &at(1), bound), Decision::Reconsider, "the store lost it");
    }

    #[tokio::test]
    async fn wait_has_a_bound() {
        let (claims, waiting) = (with_claimed_original().await, Waiting::default());
        assert_eq!(waiting.decide(&claims, "a", &at(1), Duration::ZERO), Decision::Reconsider);
        let alone = LocalClaims::new(DuplicateMemory::new(&DedupConfig::default()));
        assert_eq!(waiting.decide(&alone, "a", &at(1), Duration::MAX), Decision::Reconsider, "nobody else has it");
    }
}
