//! What reading a repository says of itself while it runs, and how it is told to stop.

use std::ops::ControlFlow;

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Looking for the host and asking for its branches.
    Connecting,
    /// Receiving objects; counted in bytes, the total is not known.
    Receiving,
    /// Listing the files of the commit.
    Listing,
    /// Taking the imports out of source files; counted in files.
    Parsing,
    /// Finding what the imports mean; counted in files.
    Resolving,
}

impl Stage {
    /// In a word, for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Receiving => "receiving",
            Self::Listing => "listing",
            Self::Parsing => "parsing",
            Self::Resolving => "resolving",
        }
    }
}

/// How far reading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// How much of it is done.
    pub done: u64,
    /// Of how much, if that is known.
    pub total: Option<u64>,
}

/// Hears of progress and says whether to go on. Called often (at least every 200 ms while waiting for the network, at
/// least once per 64 files), from several threads, so it must be quick.
pub type Observer<'a> = &'a (dyn Fn(Progress) -> ControlFlow<()> + Sync);

/// An observer for those who do not care.
pub fn unobserved(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}
