//! The log of the shared duplicate memory: one Redis stream, to which daemons append in turn.
//!
//! An append and the reading of all that was appended before it are one step on the server: that gives every claim its
//! place among all claims. An entry's id is its place and a random number of its writer. A reader names the last entry
//! it has; a log that does not have it any more has lost data, which thus never goes unnoticed.

use std::sync::{Arc, LazyLock};

use redis::{FromRedisValue, Script, Value, from_redis_value_ref};

use super::super::connection::Redis;
use crate::stores::documents::StoreError;

/// Entries of one answer: keeps each step short for the server and for whoever joins.
const MOST_ENTRIES: usize = 64;
/// Places a sighting takes; any other batch takes one. So the places show how many sightings the log holds.
const PLACES_PER_SIGHTING: u64 = 64;

/// `KEYS`: log. `ARGV`: last entry known (or empty), batch (or empty), places it takes, writer's number, places to keep,
/// most entries, milliseconds until an unused log goes.
static SYNC: LazyLock<Arc<Script>> = LazyLock::new(|| {
    Arc::new(Script::new(
        r"
        local log, from = KEYS[1], '-'
        if ARGV[1] ~= '' then
            if #redis.call('XRANGE', log, ARGV[1], ARGV[1]) == 0 then return {'lost'} end
            from = '(' .. ARGV[1]
        end
        local most = tonumber(ARGV[6])
        local news = redis.call('XRANGE', log, from, '+', 'COUNT', most)
        if #news >= most then return {'more', news} end
        if ARGV[2] == '' then return {'read', news} end
        local last = ARGV[1]
        if #news > 0 then last = news[#news][1] end
        local place = tonumber(string.match(last, '^(%d+)') or '0') + tonumber(ARGV[3])
        local id = string.format('%.0f-%s', place, ARGV[4])
        redis.call('XADD', log, id, 'b', ARGV[2])
        local oldest = place - tonumber(ARGV[5])
        if oldest > 0 then redis.call('XTRIM', log, 'MINID', string.format('%.0f', oldest)) end
        redis.call('PEXPIRE', log, ARGV[7])
        return {'appended', news, id}
        ",
    ))
});

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id: place and writer's number.
    pub id: String,
    /// Its operations.
    pub batch: Vec<u8>,
}

/// What a step gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The log does not have the last entry known.
    Lost,
    /// There are more entries than one answer holds; nothing was appended.
    More(Vec<Entry>),
    /// All entries after the last one known; there was nothing to append.
    Read(Vec<Entry>),
    /// All entries after the last one known, and the id of the entry appended behind them.
    Appended(Vec<Entry>, String),
}

/// What to append.
#[derive(Debug, Clone, Copy)]
pub struct Append<'a> {
    /// Operations as bytes.
    pub batch: &'a [u8],
    /// How many sightings are among them.
    pub sightings: u64,
    /// Tells this entry from any other.
    pub number: u64,
}

/// The log.
#[derive(Debug)]
pub struct ClaimLog {
    redis: Redis,
    key: String,
}

impl ClaimLog {
    /// The log of this installation.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        let key = redis.key("claims");
        Self { redis, key }
    }

    /// The server.
    #[must_use]
    pub fn redis(&self) -> &Redis {
        &self.redis
    }

    /// Reads what came after the entry `last` and appends, in one step. `keep`: sightings the log keeps; `unused_ms`:
    /// milliseconds after which a log that nobody appends to goes.
    ///
    /// # Errors
    /// As [`Redis::script`]. The append may have happened all the same.
    pub async fn step(
        &self,
        last: &str,
        append: Option<Append<'_>>,
        (keep, unused_ms): (usize, i64),
    ) -> Result<Step, StoreError> {
        let text = |number: u64| number.to_string().into_bytes();
        let append = append.unwrap_or(Append { batch: &[], sightings: 0, number: 0 });
        let arguments = vec![
            last.as_bytes().to_vec(),
            append.batch.to_vec(),
            text(append.sightings.saturating_mul(PLACES_PER_SIGHTING).max(1)),
            text(append.number),
            // one place more per sighting, for the batches without any
            text((keep as u64).saturating_mul(PLACES_PER_SIGHTING + 1)),
            text(MOST_ENTRIES as u64),
            unused_ms.max(1).to_string().into_bytes(),
        ];
        let answer: Answer = self.redis.script("claim", &SYNC, vec![self.key.clone()], arguments).await?;
        Ok(answer.0)
    }
}

struct Answer(Step);

impl FromRedisValue for Answer {
    fn from_redis_value(value: Value) -> Result<Self, redis::ParsingError> {
        let wrong = || redis::ParsingError::from("not an answer of the claim script".to_owned());
        let Value::Array(parts) = value else { return Err(wrong()) };
        let kind: String = parts.first().map(from_redis_value_ref).transpose()?.ok_or_else(wrong)?;
        if kind == "lost" {
            return Ok(Self(Step::Lost));
        }
        let Some(Value::Array(found)) = parts.get(1) else { return Err(wrong()) };
        let entries = found.iter().map(entry).collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
        Ok(Self(match kind.as_str() {
            "more" => Step::More(entries),
            "read" => Step::Read(entries),
            "appended" => {
                Step::Appended(entries, parts.get(2).map(from_redis_value_ref).transpose()?.ok_or_else(wrong)?)
            }
            _ => return Err(wrong()),
        }))
    }
}

/// `[id, ["b", bytes]]`
fn entry(value: &Value) -> Option<Entry> {
    let Value::Array(parts) = value else { return None };
    let [Value::BulkString(id), Value::Array(fields)] = parts.as_slice() else { return None };
    let [_, Value::BulkString(batch)] = fields.as_slice() else { return None };
    Some(Entry { id: String::from_utf8(id.clone()).ok()?, batch: batch.clone() })
}
