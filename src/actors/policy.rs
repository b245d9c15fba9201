//! From configuration to the settings of the runtime.

use std::time::Duration;

use crate::config::actors::ActorConfig;
use crate::config::supervision::SupervisionConfig;
use crate::supervisors::{Backoff, BatchPolicy, Options, Settings};
