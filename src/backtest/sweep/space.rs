//! The space of a sweep: parameters with their values, and the numbered sets that they combine to. Nothing is
//! enumerated: a set is made from its number.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::error::BacktestError;

/// Values of one parameter: `5`, `[5, 10, 20]`, `{"list": [5, 10, 20]}` or `{"range": [first, last]}` with an optional
/// step of 1; both ends belong to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum Values {
    /// Equally spaced.
    Range {
        /// The first value.
        first: f64,
        /// No value lies beyond.
        last: f64,
        /// From one to the next.
        step: f64,
    },
    /// One by one.
    List(Vec<f64>),
}

/// A text or structure that is no list of values.
#[derive(Debug, thiserror::Error)]
pub enum ValuesError {
    /// Another shape.
    #[error("{0} is none of: a number, a list of numbers, {{\"list\": [..]}}, {{\"range\": [first, last, step]}}")]
    Form(Value),
    /// A range that goes nowhere.
    #[error("range {0}: the first value is finite and at most the last, the step is above 0")]
    Range(Value),
    /// No value at all.
    #[error("a parameter has at least one value")]
    Empty,
}

impl TryFrom<Value> for Values {
    type Error = ValuesError;

    fn try_from(value: Value) -> Result<Self, ValuesError> {
        let numbers = |list: &[Value]| list.iter().map(number).collect::<Option<Vec<f64>>>();
        match &value {
            Value::Array(list) => numbers(list).map(Self::List),
            Value::Object(fields) if fields.len() == 1 => match (fields.get("range"), fields.get("list")) {
                (Some(Value::Array(range)), _) => return Self::range(&numbers(range).unwrap_or_default(), &value),
                (_, Some(Value::Array(list))) => numbers(list).map(Self::List),
                _ => None,
            },
            other => number(other).map(|value| Self::List(vec![value])),
        }
        .map_or(Err(ValuesError::Form(value)), |values| {
            if values.is_empty() { Err(ValuesError::Empty) } else { Ok(values) }
        })
    }
}

impl From<Values> for Value {
    fn from(values: Values) -> Self {
        match values {
            Values::Range { first, last, step } => {
                serde_json::json!({ "range": [as_json(first), as_json(last), as_json(step)] })
            }
            Values::List(list) => list.into_iter().map(as_json).collect(),
        }
    }
}

/// A number or a switch (1 or 0).
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(switch) => Some(f64::from(u8::from(*switch))),
        other => other.as_f64().filter(|number| number.is_finite()),
    }
}

/// A number as JSON writes it: whole numbers without a fraction.
#[expect(clippy::cast_possible_truncation, clippy::float_cmp, reason = "only whole numbers within 2^53 are converted")]
pub(super) fn as_json(number: f64) -> Value {
    if number == number.trunc() && number.abs() < 9e15 { Value::from(number as i64) } else { Value::from(number) }
}

impl Values {
    fn range(ends: &[f64], given: &Value) -> Result<Self, ValuesError> {
        let (first, last, step) = match *ends {
            [first, last] => (first, last, 1.0),
            [first, last, step] => (first, last, step),
            _ => return Err(ValuesError::Form(given.clone())),
        };
        if first <= last && step > 0.0 && (last - first) / step < 9e15 {
            Ok(Self::Range { first, last, step })
        } else {
            Err(ValuesError::Range(given.clone()))
        }
    }

    /// How many.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be positive and below 2^53"
    )]
    pub fn len(&self) -> u64 {
        match self {
            // A step that is no binary fraction must not lose the last value to rounding.
            Self::Range { first, last, step } => ((last - first) / step + 1e-9).floor() as u64 + 1,
            Self::List(list) => list.len() as u64,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of this number, from 0.
    #[expect(clippy::cast_precision_loss, reason = "numbers of values lie below 2^53")]
    pub fn get(&self, index: u64) -> Option<f64> {
        match self {
            Self::Range { first, step, .. } => (index < self.len()).then(|| first + index as f64 * step),
            Self::List(list) => list.get(usize::try_from(index).ok()?).copied(),
        }
    }
}

/// How parameters combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Combine {
    /// Every value with every other; the last parameter by name changes first.
    #[default]
    Product,
    /// Parameters with the same values take them in ascending positions, each set of values once: `fast` and `slow` over
    /// 100 windows are 4,950 pairs. Other parameters multiply.
    Combinations,
    /// First with first, second with second; a single value goes with all.
    Zip,
}

/// One parameter, or several whose values are combined.
#[derive(Debug, Clone)]
struct Axis {
    /// Which parameters, by number.
    parameters: Vec<usize>,
    /// How many choices.
    len: u64,
}

/// All sets of a sweep, by number.
#[derive(Debug, Clone)]
pub struct Space {
    names: Vec<String>,
    values: Vec<Values>,
    axes: Vec<Axis>,
    zip: bool,
    len: u64,
}

impl Space {
    /// The space of `params`.
    ///
    /// # Errors
    /// When there are no parameters, zipped ones differ in length, none share the values to combine, or there are more
    /// sets than can be numbered.
    pub fn new(params: &BTreeMap<String, Values>, combine: Combine) -> Result<Self, BacktestError> {
        if params.is_empty() {
            return Err(BacktestError::Empty { field: "params".to_owned(), reason: "has no parameter to vary" });
        }
        let names: Vec<String> = params.keys().cloned().collect();
        let values: Vec<Values> = params.values().cloned().collect();
        let axes = match combine {
            Combine::Product => single_axes(&values, &[]),
            Combine::Combinations => combined_axes(&values)?,
            Combine::Zip => zipped_axis(&names, &values)?,
        };
        let len = axes.iter().try_fold(1_u64, |len, axis| len.checked_mul(axis.len)).filter(|len| *len < 1 << 53);
        let Some(len) = len else {
            return Err(BacktestError::combination("params", "there are more than 2^53 sets"));
        };
        if len == 0 {
            return Err(BacktestError::combination("params", "combinations need as many values as parameters"));
        }
        Ok(Self { names, values, axes, zip: combine == Combine::Zip, len })
    }

    /// Names of the parameters, in the order of a set's values.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Values of a parameter.
    pub fn values(&self, parameter: usize) -> &Values {
        &self.values[parameter]
    }

    /// How many sets.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Never true of a space.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Positions of a set's values among those of their parameters.
    pub fn positions(&self, set: u64, positions: &mut [u64]) {
        let mut rest = set;
        for axis in self.axes.iter().rev() {
            let choice = rest % axis.len;
            rest /= axis.len;
            match axis.parameters[..] {
                [parameter] => positions[parameter] = choice,
                ref parameters if self.zip => {
                    for &parameter in parameters {
                        positions[parameter] = choice.min(self.values[parameter].len() - 1);
                    }
                }
                ref parameters => {
                    unrank(choice, self.values[parameters[0]].len(), parameters.len(), |which, position| {
                        positions[parameters[which]] = position;
                    });
                }
            }
        }
    }

    /// A set's values, one per parameter.
    pub fn set(&self, set: u64, positions: &mut [u64], out: &mut [f64]) {
        self.positions(set, positions);
        for ((out, values), position) in out.iter_mut().zip(&self.values).zip(&*positions) {
            *out = values.get(*position).unwrap_or(f64::NAN);
        }
    }
}

/// One axis per parameter that is not among `taken`.
fn single_axes(values: &[Values], taken: &[usize]) -> Vec<Axis> {
    (0..values.len())
        .filter(|parameter| !taken.contains(parameter))
        .map(|parameter| Axis { parameters: vec![parameter], len: values[parameter].len() })
        .collect()
}

fn combined_axes(values: &[Values]) -> Result<Vec<Axis>, BacktestError> {
    let shared =
        (0..values.len()).map(|first| (first..values.len()).filter(move |other| values[*other] == values[first]));
    let Some(parameters) = shared.map(Iterator::collect::<Vec<_>>).find(|group| group.len() > 1) else {
        return Err(BacktestError::combination("combine", "combinations need two parameters with the same values"));
    };
    let len = binomial(values[parameters[0]].len(), parameters.len() as u64);
    let Some(len) = len else {
        return Err(BacktestError::combination("params", "there are more than 2^53 sets"));
    };
    let mut axes = single_axes(values, &parameters);
    axes.push(Axis { parameters, len });
    Ok(axes)
}

fn zipped_axis(names: &[String], values: &[Values]) -> Result<Vec<Axis>, BacktestError> {
    let len = values.iter().map(Values::len).max().unwrap_or_default();
    for (name, values) in names.iter().zip(values) {
        if values.len() != len && values.len() != 1 {
            let reason =
                format!("has {} values where others have {len}; zipped parameters have equally many", values.len());
            return Err(BacktestError::combination(&format!("params.{name}"), reason));
        }
    }
    Ok(vec![Axis { parameters: (0..values.len()).collect(), len }])
}

/// `n` over `k`, if it can be counted.
fn binomial(n: u64, k: u64) -> Option<u64> {
    if k > n {
        return Some(0);
    }
    (0..k).try_fold(1_u64, |product, step| product.checked_mul(n - step).map(|product| product / (step + 1)))
}

/// Gives the ascending positions of the combination of this rank, in lexicographic order.
fn unrank(rank: u64, n: u64, k: usize, mut give: impl FnMut(usize, u64)) {
    let (mut rank, mut position) = (rank, 0);
    for which in 0..k {
        let left = (k - which - 1) as u64;
        // The last one is as far on as the rank says.
        if left == 0 {
            give(which, position + rank);
            return;
        }
        loop {
            let with_this = binomial(n - position - 1, left).unwrap_or(u64::MAX);
            if rank < with_this {
                break;
            }
            rank -= with_this;
            position += 1;
        }
        give(which, position);
        position += 1;
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn space(params: &str, combine: Combine) -> Result<Space, BacktestError> {
        Space::new(&serde_json::from_str(params).unwrap(), combine)
    }

    fn sets(space: &Space) -> Vec<Vec<f64>> {
        let mut positions = vec![0; space.names().len()];
        (0..space.len())
            .map(|set| {
                let mut values = vec![0.0; space.names().len()];
                space.set(set, &mut positions, &mut values);
                values
            })
            .collect()
    }

    #[test]
    fn a_range_has_both_ends_in_spite_of_rounding() {
        let values: Values = serde_json::from_str(r#"{"range": [0.1, 0.7, 0.1]}"#).unwrap();
        assert_eq!(values.len(), 7);
        assert!((values.get(6).unwrap() - 0.7).abs() < 1e-12);
        assert_eq!(values.get(7), None);
    }

    #[test]
    fn a_product_takes_every_value_with_every_other() {
        let space = space(r#"{"a": [1, 2], "b": {"range": [5, 7]}}"#, Combine::Product).unwrap();
        let expected: Vec<Vec<f64>> =
            [[1, 5], [1, 6], [1, 7], [2, 5], [2, 6], [2, 7]].iter().map(|set| set.map(f64::from).to_vec()).collect();
        assert_eq!(sets(&space), expected);
    }

    #[test]
    fn combinations_take_each_pair_once_and_multiply_with_the_rest() {
        let params = r#"{"fast": {"range": [2, 101]}, "slow": {"range": [2, 101]}}"#;
        let pairs = space(params, Combine::Combinations).unwrap();
        assert_eq!(pairs.len(), 4950);
        let all = sets(&pairs);
        assert!(all.iter().all(|set| set[0] < set[1]) && all.windows(2).all(|pair| pair[0] < pair[1]));
        let params = r#"{"a": [1, 2, 3, 4], "b": [1, 2, 3, 4], "c": [1, 2, 3, 4], "fees": [0, 0.001]}"#;
        let triples = space(params, Combine::Combinations).unwrap();
        assert_eq!(triples.len(), 8);
        assert!(sets(&triples).iter().all(|set| set[0] < set[1] && set[1] < set[2]));
    }

    #[test]
    fn zipped_parameters_go_side_by_side_and_single_values_with_all() {
        let space = space(r#"{"a": [1, 2, 3], "b": [9, 8, 7], "c": 5}"#, Combine::Zip).unwrap();
        assert_eq!(sets(&space), [[1.0, 9.0, 5.0], [2.0, 8.0, 5.0], [3.0, 7.0, 5.0]]);
    }

    #[test]
    fn spaces_that_cannot_be_say_which_field_is_wrong() {
        assert_eq!(space("{}", Combine::Product).unwrap_err().field(), "params");
        assert_eq!(space(r#"{"a": [1, 2], "b": [1, 2, 3]}"#, Combine::Zip).unwrap_err().field(), "params.a");
        assert_eq!(space(r#"{"a": [1, 2], "b": [1, 3]}"#, Combine::Combinations).unwrap_err().field(), "combine");
        let huge = r#"{"a": {"range": [1, 1e9]}, "b": {"range": [1, 1e9]}}"#;
        assert_eq!(space(huge, Combine::Product).unwrap_err().field(), "params");
        assert_eq!(space(huge, Combine::Combinations).unwrap_err().field(), "params");
        for wrong in [r#"{"range": [2, 1]}"#, r#"{"range": [1, 2, 0]}"#, "[]", r#""5""#, r#"{"rang": [1, 2]}"#] {
            assert!(serde_json::from_str::<Values>(wrong).is_err(), "{wrong}");
        }
    }
}
