//! Which sets of a space are tried, in which order.

use std::collections::HashSet;

use super::super::error::BacktestError;
use super::request::Search;

/// Numbers of the sets to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tried {
    /// All below this one.
    All(u64),
    /// These, ascending.
    Listed(Vec<u64>),
}

impl Tried {
    /// The sets of a search in a space of `len`; refuses more than `most`.
    pub fn new(search: &Search, len: u64, most: u64) -> Result<Self, BacktestError> {
        let (wanted, seed) = match *search {
            Search::Grid => (len, None),
            Search::Random { sets, seed } | Search::Halving { sets, seed, .. } => (sets.min(len), Some(seed)),
        };
        if wanted > most {
            let allowed = format!("at most {most} sets: take fewer values, a random search, or raise the limit");
            return Err(BacktestError::parameter("params", format!("a space of {wanted} sets"), &allowed));
        }
        match seed {
            Some(seed) if wanted < len => Ok(Self::Listed(draw(len, wanted, seed))),
            Some(_) | None => Ok(Self::All(len)),
        }
    }

    /// How many.
    pub fn len(&self) -> u64 {
        match self {
            Self::All(len) => *len,
            Self::Listed(list) => list.len() as u64,
        }
    }

    /// Up to `most` of them from the `from`-th on.
    pub fn some(&self, from: u64, most: u64) -> Vec<u64> {
        let to = (from + most).min(self.len());
        match self {
            Self::All(_) => (from..to).collect(),
            Self::Listed(list) => {
                let place = |number| usize::try_from(number).unwrap_or(list.len());
                list[place(from)..place(to)].to_vec()
            }
        }
    }
}

/// `count` different numbers below `len`, ascending (Floyd's sampling).
fn draw(len: u64, count: u64, seed: u64) -> Vec<u64> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut drawn = HashSet::new();
    for most in len - count..len {
        let number = random.u64(0..=most);
        if !drawn.insert(number) {
            drawn.insert(most);
        }
    }
    let mut list: Vec<u64> = drawn.into_iter().collect();
    list.sort_unstable();
    list
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_draw_has_no_set_twice_and_is_the_same_for_a_seed() {
        let list = draw(1000, 300, 7);
        assert_eq!(list.len(), 300);
        assert!(list.windows(2).all(|pair| pair[0] < pair[1]) && list.iter().all(|number| *number < 1000));
        assert_eq!(list, draw(1000, 300, 7));
        assert_ne!(list, draw(1000, 300, 8));
        assert_eq!(draw(5, 5, 1), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn too_many_sets_are_refused_with_their_number() {
        let error = Tried::new(&Search::Grid, 1_000_000_000, 10_000_000).unwrap_err();
        assert_eq!(error.field(), "params");
        assert!(error.to_string().contains("1000000000"), "{error}");
        assert!(Tried::new(&Search::Random { sets: 10, seed: 1 }, 1_000_000_000, 10_000_000).is_ok());
    }
}
