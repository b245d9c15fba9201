//! What an error of librdkafka means for the caller.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::context::Trouble;
use crate::kafka::log::LogError;

/// Whether a broker's answer won't change by asking again.
fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::Fatal
            | Code::InvalidArgument
            | Code::InvalidConfig
            | Code::NotImplemented
            | Code::UnsupportedFeature
            | Code::UnsupportedVersion
            | Code::UnsupportedForMessageFormat
            | Code::InvalidTopic
            | Code::InvalidPartitions
            | Code::InvalidReplicationFactor
            | Code::InvalidRecord
            | Code::PolicyViolation
            | Code::InconsistentGroupProtocol
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
    )
}

/// The log's error: away for now, unless the code says that trying again won't help.
pub(super) fn log_error(error: &KafkaError) -> LogError {
    let text = error.to_string();
    match error {
        KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) | KafkaError::MessageConsumptionFatal(_) => {
            LogError::Failed(text)
        }
        KafkaError::AdminOp(code) if is_final(*code) => LogError::Failed(text),
        _ => match error.rdkafka_error_code() {
            Some(Code::QueueFull) => LogError::Full(text),
            Some(code) if is_final(code) => LogError::Failed(text),
            Some(_) | None => LogError::Unavailable(text),
        },
    }
}

/// Says beside an error of no answer what the connections suffer from. Refused credentials don't mend themselves, so that
/// is final.
pub(super) fn explained(error: LogError, trouble: &Trouble) -> LogError {
    match (error, trouble.last()) {
        (LogError::Unavailable(_), Some((Code::Authentication | Code::SaslAuthenticationFailed, reason))) => {
            LogError::Failed(format!("the brokers refuse the credentials of kafka.sasl: {reason}"))
        }
        (LogError::Unavailable(text), Some((_, reason))) => LogError::Unavailable(format!("{text}: {reason}")),
        (error, _) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_retriable() {
        let retriable = |code| log_error(&KafkaError::MessageProduction(code)).is_retriable();
        for code in [Code::AllBrokersDown, Code::MessageTimedOut, Code::QueueFull, Code::NotEnoughReplicas] {
            assert!(retriable(code), "{code}");
        }
        for code in [Code::Fatal, Code::InvalidTopic, Code::UnsupportedVersion] {
            assert!(!retriable(code), "{code}");
        }
    }
}
