//! What an error of librdkafka means for the caller.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

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
    )
}

/// The log's error: away for now, unless the code says that trying again won't help.
pub(super) fn log_error(error: &KafkaError) -> LogError {
    let text = error.to_string();
    match error {
        KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) | KafkaError::MessageConsumptionFatal(_) => {
            LogError::Failed(text)
        }
        _ => match error.rdkafka_error_code() {
            Some(Code::QueueFull) => LogError::Full(text),
            Some(code) if is_final(code) => LogError::Failed(text),
            Some(_) | None => LogError::Unavailable(text),
        },
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
