//! Filters, as Qdrant has them. A condition this can't judge is refused, not ignored.

use qdrant_client::qdrant::condition::ConditionOneOf;
use qdrant_client::qdrant::r#match::MatchValue;
use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::{Condition, FieldCondition, Filter, Match, Range, Value};
use tonic::Status;

use super::store::{Name, Point};

/// Whether a point passes.
pub fn passes(filter: &Filter, name: Name, point: &Point) -> Result<bool, Status> {
    if let Some(min_should) = &filter.min_should {
        let mut held = 0;
        for condition in &min_should.conditions {
            held += u64::from(holds(condition, name, point)?);
        }
        if held < min_should.min_count {
            return Ok(false);
        }
    }
    for condition in &filter.must {
        if !holds(condition, name, point)? {
            return Ok(false);
        }
    }
    for condition in &filter.must_not {
        if holds(condition, name, point)? {
            return Ok(false);
        }
    }
    let mut any = filter.should.is_empty();
    for condition in &filter.should {
        any |= holds(condition, name, point)?;
    }
    Ok(any)
}

fn holds(condition: &Condition, name: Name, point: &Point) -> Result<bool, Status> {
    match &condition.condition_one_of {
        Some(ConditionOneOf::Field(field)) => field_holds(field, point),
        Some(ConditionOneOf::HasId(has_id)) => {
            let names: Result<Vec<Name>, Status> = has_id.has_id.iter().map(|id| Name::of(Some(id))).collect();
            Ok(names?.contains(&name))
        }
        // a list with nothing but null in it is not empty
        Some(ConditionOneOf::IsEmpty(empty)) => Ok(match point.payload.get(key(&empty.key)?) {
            Some(Value { kind: Some(Kind::ListValue(list)) }) => list.values.is_empty(),
            value => value.is_none_or(is_null),
        }),
        Some(ConditionOneOf::IsNull(null)) => Ok(values(point, &null.key)?.iter().any(|value| is_null(value))),
        Some(ConditionOneOf::Filter(filter)) => passes(filter, name, point),
        other => Err(Status::unimplemented(format!("the test server can't judge {other:?}"))),
    }
}

/// Names of fields within fields are not supported.
fn key(key: &str) -> Result<&str, Status> {
    if key.contains(['.', '[']) {
        return Err(Status::unimplemented(format!("the test server can't look into {key}")));
    }
    Ok(key)
}

/// The values of a field: each of a list, or the one.
fn values<'a>(point: &'a Point, name: &str) -> Result<Vec<&'a Value>, Status> {
    let Some(value) = point.payload.get(key(name)?) else { return Ok(Vec::new()) };
    Ok(match &value.kind {
        Some(Kind::ListValue(list)) => list.values.iter().collect(),
        _ => vec![value],
    })
}

fn is_null(value: &Value) -> bool {
    matches!(value.kind, None | Some(Kind::NullValue(_)))
}

fn field_holds(field: &FieldCondition, point: &Point) -> Result<bool, Status> {
    let values = values(point, &field.key)?;
    match field {
        FieldCondition { r#match: Some(wanted), range: None, datetime_range: None, .. } => {
            let mut any = false;
            for value in values {
                any |= matches(wanted, value)?;
            }
            Ok(any)
        }
        FieldCondition { r#match: None, range: Some(range), datetime_range: None, .. } => {
            Ok(values.into_iter().any(|value| within(range, value)))
        }
        other => Err(Status::unimplemented(format!("the test server can't judge {other:?}"))),
    }
}

fn matches(wanted: &Match, value: &Value) -> Result<bool, Status> {
    Ok(match (&wanted.match_value, &value.kind) {
        (Some(MatchValue::Keyword(wanted)), Some(Kind::StringValue(text))) => wanted == text,
        (Some(MatchValue::Keywords(wanted)), Some(Kind::StringValue(text))) => wanted.strings.contains(text),
        (Some(MatchValue::ExceptKeywords(not)), Some(Kind::StringValue(text))) => !not.strings.contains(text),
        (Some(MatchValue::Integer(wanted)), Some(Kind::IntegerValue(integer))) => wanted == integer,
        (Some(MatchValue::Integers(wanted)), Some(Kind::IntegerValue(integer))) => wanted.integers.contains(integer),
        (Some(MatchValue::Boolean(wanted)), Some(Kind::BoolValue(value))) => wanted == value,
        (
            Some(
                MatchValue::Keyword(_)
                | MatchValue::Keywords(_)
                | MatchValue::Integer(_)
                | MatchValue::Integers(_)
                | MatchValue::ExceptKeywords(_)
                | MatchValue::Boolean(_),
            ),
            _,
        ) => false,
        (other, _) => return Err(Status::unimplemented(format!("the test server can't match {other:?}"))),
    })
}

#[expect(clippy::cast_precision_loss, reason = "as Qdrant compares")]
fn within(range: &Range, value: &Value) -> bool {
    let number = match &value.kind {
        Some(Kind::IntegerValue(integer)) => *integer as f64,
        Some(Kind::DoubleValue(double)) => *double,
        _ => return false,
    };
    range.lt.is_none_or(|bound| number < bound)
        && range.gt.is_none_or(|bound| number > bound)
        && range.gte.is_none_or(|bound| number >= bound)
        && range.lte.is_none_or(|bound| number <= bound)
}
