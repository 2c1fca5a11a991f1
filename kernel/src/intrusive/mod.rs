//! Intrusive collections of records, and their reference counts. They know no signal and no
//! process.
//!
//! A record is used through one of its references ([`counted`]). A reference that is also the right
//! to the record's links is a handle ([`handle`]), which [`list`], [`sweep_list`] and
//! [`record_set`] own while the record is in them.

pub(crate) mod counted;
pub(crate) mod handle;
pub(crate) mod list;
pub(crate) mod record_set;
pub(crate) mod refcount;
pub(crate) mod sweep_list;
