//! The API: what a process, a host thread or an embedder calls. Nothing else of the kernel imports
//! this folder.

pub(crate) mod body;
pub(crate) mod caller;
pub(crate) mod cx;
pub(crate) mod dump;
pub(crate) mod host;
pub(crate) mod send_reservation;
pub mod task;
