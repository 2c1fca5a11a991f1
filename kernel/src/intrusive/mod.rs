//! Intrusive collections of records, and their reference counts. They know no signal and no
//! process.

pub(crate) mod list;
pub(crate) mod record_set;
pub(crate) mod refcount;
pub(crate) mod sweep_list;
