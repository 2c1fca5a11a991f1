//! The parts of a process: its shared part ([`header`]), its owner's part ([`owned`]), its layout
//! and its body's functions ([`vtable`]), the table, names and aliases, and the records of
//! relations, requests and timers. Their words decide what happens; the callers, in `ops`, act.

pub(crate) mod alias;
pub(crate) mod counted_ref;
pub(crate) mod header;
pub(crate) mod name;
pub(crate) mod owned;
pub(crate) mod process_ref;
pub(crate) mod references;
pub(crate) mod relation;
pub(crate) mod request_cell;
pub(crate) mod request_message;
pub(crate) mod request_watch;
pub(crate) mod shared_mailbox;
pub(crate) mod table;
pub(crate) mod timer_record;
pub(crate) mod timer_slot;
pub(crate) mod vtable;
pub mod waiters;
