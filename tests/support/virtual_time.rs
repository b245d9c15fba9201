//! Runs a scenario on one thread inside an actix system whose clock jumps ahead whenever nothing is to be done.

use std::future::Future;

use tidemill::supervisors::{Options, Placement};

/// Runs `scenario` in virtual time.
pub fn in_virtual_time<T>(scenario: impl Future<Output = T>) -> T {
    let system = actix::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
    });
    system.block_on(scenario)
}

/// Options for a tree on the scenario's own thread.
pub fn here() -> Options {
    Options { placement: Placement::Here, ..Options::default() }
}
