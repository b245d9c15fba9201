//! The requests that are understood, and their versions.

use bytes::Bytes;

use super::wire::{Form, Reader, WireError};

/// The interfaces that are offered. Each with its number, its versions, and the first version of the compact form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "the protocol's own names")]
pub(super) enum Api {
    Produce,
    Metadata,
    ApiVersions,
    InitProducerId,
    /// Offered because librdkafka takes its absence for a broker too old for lz4; always refused.
    FindCoordinator,
    /// Offered because librdkafka takes its absence for a broker too old for record batches; ends the connection.
    Fetch,
}

impl Api {
    pub(super) const ALL: [Self; 6] =
        [Self::Produce, Self::Fetch, Self::Metadata, Self::FindCoordinator, Self::ApiVersions, Self::InitProducerId];

    pub(super) const fn key(self) -> i16 {
        match self {
            Self::Produce => 0,
            Self::Fetch => 1,
            Self::Metadata => 3,
            Self::FindCoordinator => 10,
            Self::ApiVersions => 18,
            Self::InitProducerId => 22,
        }
    }

    /// First and last version offered. Produce 0 to 2 carry message formats that are always refused, but librdkafka
    /// doesn't compress for a broker that doesn't offer them.
    pub(super) const fn versions(self) -> (i16, i16) {
        match self {
            Self::Produce | Self::Fetch => (0, 11),
            Self::Metadata => (0, 9),
            Self::FindCoordinator => (0, 2),
            Self::ApiVersions => (0, 3),
            Self::InitProducerId => (0, 4),
        }
    }

    const fn first_compact(self) -> i16 {
        match self {
            Self::Produce | Self::Metadata => 9,
            Self::Fetch => 12,
            Self::FindCoordinator | Self::ApiVersions => 3,
            Self::InitProducerId => 2,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Produce => "produce",
            Self::Fetch => "fetch",
            Self::Metadata => "metadata",
            Self::FindCoordinator => "find_coordinator",
            Self::ApiVersions => "api_versions",
            Self::InitProducerId => "init_producer_id",
        }
    }

    fn form(self, version: i16) -> Form {
        if version >= self.first_compact() { Form::Compact } else { Form::Classic }
    }
}

/// Who asks for what.
#[derive(Debug, Clone)]
pub(super) struct RequestHeader {
    pub api: Api,
    pub version: i16,
    pub correlation_id: i32,
    pub client_id: Option<String>,
}

/// A request that can't be served at all; the connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("api {key} is not offered: this listener only takes records")]
    UnknownApi { key: i16 },
    #[error("{} version {version} is not offered, only {} to {}", api.name(), api.versions().0, api.versions().1)]
    UnknownVersion { api: Api, version: i16 },
    #[error("{0}")]
    Wire(#[from] WireError),
}

/// Reads a request's header; what is left of the frame is its body.
pub(super) fn header(frame: Bytes) -> Result<(RequestHeader, Reader), RequestError> {
    let mut reader = Reader::new(frame);
    let (key, version, correlation_id) = (reader.i16()?, reader.i16()?, reader.i32()?);
    let api = Api::ALL.into_iter().find(|api| api.key() == key).ok_or(RequestError::UnknownApi { key })?;
    let (low, high) = api.versions();
    let offered = (low..=high).contains(&version);
    if !offered {
        if api == Api::ApiVersions {
            // Answered at version 0 with what is offered, so its header needn't be understood.
            return Ok((RequestHeader { api, version, correlation_id, client_id: None }, reader));
        }
        return Err(RequestError::UnknownVersion { api, version });
    }
    let client_id = reader.nullable_string(Form::Classic)?;
    reader.skip_tags(api.form(version))?;
    Ok((RequestHeader { api, version, correlation_id, client_id }, reader))
}

/// A topic, and the batch for each of some partitions.
pub(super) type TopicBatches = (String, Vec<(i32, Option<Bytes>)>);

/// Records for some partitions.
#[derive(Debug)]
pub(super) struct Produce {
    pub transactional_id: Option<String>,
    /// 0: no answer; 1 and -1: answer when durable.
    pub acks: i16,
    pub timeout_ms: i32,
    pub topics: Vec<TopicBatches>,
}

impl Produce {
    pub(super) fn read(reader: &mut Reader, version: i16) -> Result<Self, WireError> {
        let form = Api::Produce.form(version);
        let transactional_id = if version >= 3 { reader.nullable_string(form)? } else { None };
        let (acks, timeout_ms) = (reader.i16()?, reader.i32()?);
        let topics = reader.array(form, |reader| {
            let name = reader.string(form)?;
            let partitions = reader.array(form, |reader| {
                let partition = (reader.i32()?, reader.nullable_bytes(form)?);
                reader.skip_tags(form)?;
                Ok(partition)
            })?;
            reader.skip_tags(form)?;
            Ok((name, partitions))
        })?;
        reader.skip_tags(form)?;
        Ok(Self { transactional_id, acks, timeout_ms, topics })
    }
}

/// What topics there are.
#[derive(Debug)]
pub(super) struct Metadata {
    /// `None`: all of them.
    pub topics: Option<Vec<String>>,
    pub may_create: bool,
}

impl Metadata {
    pub(super) fn read(reader: &mut Reader, version: i16) -> Result<Self, WireError> {
        let form = Api::Metadata.form(version);
        let topics = reader.nullable_array(form, |reader| {
            let name = reader.string(form)?;
            reader.skip_tags(form)?;
            Ok(name)
        })?;
        // Version 0 has no null: there, none means all.
        let topics = topics.filter(|topics| version > 0 || !topics.is_empty());
        let may_create = if version >= 4 { reader.i8()? != 0 } else { true };
        Ok(Self { topics, may_create })
    }
}

/// Whether a request for a coordinator asks for that of a transaction, not of a group.
pub(super) fn wants_transactions(reader: &mut Reader, version: i16) -> Result<bool, WireError> {
    let _key = reader.string(Api::FindCoordinator.form(version))?;
    Ok(version >= 1 && reader.i8()? == 1)
}

/// The transactional id of a request for a producer id.
pub(super) fn init_producer_id(reader: &mut Reader, version: i16) -> Result<Option<String>, WireError> {
    reader.nullable_string(Api::InitProducerId.form(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apis_and_versions_not_offered_are_named() {
        let frame = |key: i16, version: i16| {
            let mut frame = key.to_be_bytes().to_vec();
            frame.extend(version.to_be_bytes());
            frame.extend([0, 0, 0, 7, 0xff, 0xff]);
            header(frame.into())
        };
        assert!(matches!(frame(2, 0), Err(RequestError::UnknownApi { key: 2 })));
        assert!(matches!(frame(0, 12), Err(RequestError::UnknownVersion { api: Api::Produce, version: 12 })));
        assert!(matches!(frame(18, 99), Ok((RequestHeader { version: 99, correlation_id: 7, .. }, _))));
        assert!(matches!(frame(3, 9), Err(RequestError::Wire(WireError::Truncated))));
    }
}
