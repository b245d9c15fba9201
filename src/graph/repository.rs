//! Repositories: checking where they may come from, fetching one commit of them, and listing its files.
//!
//! Nothing is ever checked out. Files are read from the object database, so that names that lead out of the tree,
//! symbolic links, hooks, filters and submodules have nothing to act on.

mod address;
mod checkout;
mod error;
mod fetch;
mod kept;
mod limits;
mod local;
mod remote;
mod source;
mod temporary;
mod transport;
mod tree;

pub use address::is_public;
pub use checkout::{Checkout, Skipped, TreeFile};
pub use error::RepositoryError;
pub use fetch::fetch;
pub use limits::{Limits, Places};
pub use source::{Access, Source, SourceError};
pub use temporary::sweep;
