//! Comparisons that do not trip over the last digits of sums of money.

const RELATIVE: f64 = 1e-9;
const ABSOLUTE: f64 = 1e-12;

/// Whether two numbers are the same but for rounding.
pub(crate) fn close(one: f64, other: f64) -> bool {
    if one.is_nan() || other.is_nan() || one.is_infinite() || other.is_infinite() {
        return false;
    }
    (one - other).abs() <= (RELATIVE * one.abs().max(other.abs())).max(ABSOLUTE)
}

/// Whether `one` is below `other` by more than rounding.
pub(crate) fn less(one: f64, other: f64) -> bool {
    one < other && !close(one, other)
}

/// Whether `one` is at most `other` but for rounding.
pub(crate) fn at_most(one: f64, other: f64) -> bool {
    one < other || close(one, other)
}

/// Sum that is exactly 0 when the two cancel but for rounding.
pub(crate) fn add(one: f64, other: f64) -> f64 {
    if close(one, -other) { 0.0 } else { one + other }
}
