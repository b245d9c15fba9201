//! The kinds of jobs: each one registration of a handler with a typed payload.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::context::{JobContext, JobFailure, Outcome};
use crate::messages::job::is_kind_name;

/// The field at fault, and what is wrong with it.
type Wrong = (String, String);
type Check = Box<dyn Fn(&Value) -> Result<(), Wrong> + Send + Sync>;
type Run = Box<dyn Fn(&Value, JobContext) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// A kind of job.
pub struct Kind {
    name: Arc<str>,
    summary: String,
    check: Check,
    run: Run,
}

impl Kind {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it does, in a few words.
    #[must_use]
    pub fn summary(&self) -> &str {
        &self.summary
    }

    /// Whether the handler can read this payload; if not, the field at fault and why.
    ///
    /// # Errors
    /// The field at fault, such as `payload.dry_run`, and what is wrong with it.
    pub fn check(&self, payload: &Value) -> Result<(), Wrong> {
        (self.check)(payload)
    }

    /// Begins an attempt.
    #[must_use]
    pub fn run(&self, payload: &Value, ctx: JobContext) -> BoxFuture<'static, Outcome> {
        (self.run)(payload, ctx)
    }
}

/// All kinds this daemon knows.
#[derive(Default)]
pub struct Registry {
    kinds: BTreeMap<Arc<str>, Kind>,
}

impl Registry {
    /// Adds a kind. Handlers must be idempotent: a job may run again after an attempt that did all its work.
    ///
    /// # Panics
    /// If the name is no name of a kind, or taken: both are mistakes in the program.
    #[must_use]
    pub fn register<P, F, R>(mut self, name: &str, summary: &str, handler: F) -> Self
    where
        P: DeserializeOwned + Send + 'static,
        F: Fn(P, JobContext) -> R + Send + Sync + 'static,
        R: Future<Output = Outcome> + Send + 'static,
    {
        assert!(is_kind_name(name), "{name:?} is no name of a kind");
        let run: Run = Box::new(move |payload, ctx| match read::<P>(payload) {
            Ok(payload) => handler(payload, ctx).boxed(),
            Err((field, said)) => {
                let failure = JobFailure::Fatal(format!("the handler can't read {field}: {said}"));
                std::future::ready(Err(failure)).boxed()
            }
        });
        let name: Arc<str> = name.into();
        let check: Check = Box::new(|payload| read::<P>(payload).map(drop));
        let kind = Kind { name: Arc::clone(&name), summary: summary.to_owned(), check, run };
        assert!(self.kinds.insert(Arc::clone(&name), kind).is_none(), "{name:?} is registered twice");
        self
    }

    /// The kind of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Kind> {
        self.kinds.get(name)
    }

    /// All kinds, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Kind> {
        self.kinds.values()
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.kinds.keys().map(|name| &**name)
    }
}

/// Reads a payload; one that is left out reads as nothing, or else as an empty object.
fn read<P: DeserializeOwned>(payload: &Value) -> Result<P, Wrong> {
    let empty = Value::Object(serde_json::Map::new());
    let payload = if payload.is_null() && P::deserialize(payload).is_err() { &empty } else { payload };
    serde_path_to_error::deserialize(payload).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { "payload".to_owned() } else { format!("payload.{path}") };
        (field, error.inner().to_string())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Payload {
        #[serde(default)]
        _count: u32,
    }

    #[test]
    fn payloads_are_checked_by_their_type() {
        let registry = Registry::default().register("count", "", async |_: Payload, _| Ok(Value::Null));
        let check = |payload| registry.get("count").map(|kind| kind.check(&payload));
        assert_eq!(check(json!({ "_count": 3 })), Some(Ok(())));
        assert_eq!(check(Value::Null), Some(Ok(())), "left out");
        let nothing = Registry::default().register("nothing", "", async |(): (), _| Ok(Value::Null));
        assert_eq!(nothing.get("nothing").map(|kind| kind.check(&Value::Null)), Some(Ok(())));
        let wrong = check(json!({ "_count": -3 })).and_then(Result::err).map(|(field, _)| field);
        assert_eq!(wrong.as_deref(), Some("payload._count"));
        let unknown = check(json!({ "_coutn": 3 })).and_then(Result::err);
        assert!(unknown.is_some_and(|(_, said)| said.contains("_coutn")));
    }
}
