//! The layer between Atropos and the built-in functions of a runtime with its own interpreter:
//! object-safe traits over raw pids and references, one for each kind of operation.
//!
//! A built-in function gets [`Facilities`], and sees no kernel, table or scheduler. In production
//! they are implemented by [`KernelFacilities`] on a kernel; in unit tests by [`mock`], which
//! records the calls.
//!
//! ```
//! use atropos_facility::mock::{MockProcesses, MockSupervision};
//! use atropos_facility::{Facilities, Unsupported, SupervisionFacility, SupervisionRecord};
//!
//! /// `monitor/1` of some language: it sees only its bundle and its own pid.
//! fn monitor(facilities: &Facilities<'_, ()>, me: u64, target: u64) -> Result<u64, &'static str> {
//!     let supervision = facilities.supervision().map_err(|_: Unsupported| "notsup")?;
//!     supervision.monitor(me, target).map(|made| made.reference).map_err(|_| "badarg")
//! }
//!
//! let mock = MockSupervision::new(MockProcesses::new(&[1, 2], &[]));
//! assert_eq!(monitor(&Facilities::default(), 1, 2), Err("notsup"));
//! let facilities = Facilities { supervision: Some(&mock), ..Facilities::default() };
//! assert!(monitor(&facilities, 1, 2).is_ok());
//! assert_eq!(monitor(&facilities, 1, 3), Err("badarg"));
//! assert_eq!(mock.drain()[0], SupervisionRecord::Monitor { caller: 1, target: 2 });
//! ```
//!
//! # Rules for all facilities
//!
//! - **F1, the caller is checked first.** A pid that was never allocated is `NoCaller` as a caller
//!   and `NoProc` as a target; if both were never allocated, the error is `NoCaller`.
//! - **F2, any caller, from any thread.** The caller may run here, sleep, be queued or run on
//!   another core. The operation is the same, it is in force at once for all other processes, and
//!   no thread waits for another. A *result* about the caller's own state is known at once only if
//!   the caller runs here; the types say so.
//! - **F3, operations of a dead caller have no effect.** A supervision call of a dead caller
//!   returns `Ok` and has no effect. An operation that would give it something (a link, a flag, a
//!   process) returns `NoCaller`.
//! - **F4, out of memory.** If the error type has no case for it, a caller whose operation runs out
//!   of memory gets `NoCaller`. It is then killed (`killed`), like a process that has used up its
//!   heap. The runtime never aborts, and no other process is affected.
//!
//! # Modules
//!
//! | topic | module |
//! | --- | --- |
//! | the traits, with their errors and results | [`supervision`], [`link`], [`spawn`], [`timer`], [`output`], [`code`], [`name`], [`alias`] |
//! | bundle of facilities that a body gets for a slice | [`bundle`] |
//! | implementation on a kernel | [`native`] |
//! | implementation for tests | [`mock`], [`record`] |
//!
//! The facility for remote monitors is in `atropos-dist`, beside the protocol plane that it needs.
#![no_std]

extern crate alloc;

pub mod alias;
pub mod bundle;
pub mod code;
pub mod link;
mod log;
pub mod mock;
pub mod name;
pub mod native;
pub mod output;
pub mod record;
pub mod spawn;
pub mod supervision;
mod sync;
pub mod timer;

pub use alias::{AliasFacility, AliasMode};
pub use atropos_kernel::Reason;
pub use bundle::{Facilities, Unsupported};
pub use code::{CodeError, CodeFacility};
pub use link::{LinkError, LinkFacility, LinkQuery};
pub use name::{NameError, NameFacility};
pub use native::{CodeResolver, KernelAccess, KernelFacilities, Spawner};
pub use output::{OutputError, OutputFacility};
pub use record::{AliasRecord, LinkRecord, NameRecord, OutputRecord, SpawnRecord, SupervisionRecord, TimerRecord};
pub use spawn::{EntryPoint, SpawnError, SpawnFacility, SpawnFlags, SpawnResult};
pub use supervision::{MonitorResult, SupervisionError, SupervisionFacility};
pub use timer::{RemainingTime, TimerError, TimerFacility};
