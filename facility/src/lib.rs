//! What a runtime that brings its own interpreter puts between its built-in functions and Atropos: object-safe traits over
//! raw pids and references, one for each kind of thing a process asks for.
//!
//! A built-in function is handed [`Facilities`], and knows no kernel, table or scheduler. In production what stands behind
//! them is [`KernelFacilities`], on a kernel; in its unit tests [`mock`], which writes down what it was asked.
//!
//! ```
//! use atropos_facility::mock::{MockProcesses, MockSupervision};
//! use atropos_facility::{Facilities, Unsupported, SupervisionFacility, SupervisionRecord};
//!
//! /// `monitor/1` of some language: it knows its bundle, and its own pid.
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
//! # Rules that hold for all of them
//!
//! - **F1, the caller is looked at first.** A pid that was never given out is `NoCaller` as a caller and `NoProc` as a target;
//!   if both are, it is `NoCaller`.
//! - **F2, any caller, from any thread.** It may run right here, sleep, wait for its turn or run on another core: what
//!   is done is the same, in force at once for the others, and nobody waits for anybody. Only what it *returns* about the
//!   caller's own affairs is known at once only if the caller runs here; the types say so.
//! - **F3, the dead do nothing.** A supervision call of a dead caller is `Ok` and has no effect; what would have to give it
//!   something (a link, a flag, a process) is `NoCaller`.
//! - **F4, no memory.** Where the error has no case for it, a caller that asks for what there is no memory for is told
//!   `NoCaller`, and ends (`killed`), as a process does that has used up its heap. It never aborts, and nobody else is hit.
//!
//! # Where things are
//!
//! | noun | module |
//! | --- | --- |
//! | the traits, with their errors and results | [`supervision`], [`link`], [`spawn`], [`timer`], [`output`], [`code`], [`name`], [`alias`] |
//! | what a body is handed for a slice | [`bundle`] |
//! | on a kernel | [`native`] |
//! | in tests | [`mock`], [`record`] |
//!
//! Remote monitors have a facility of their own, beside the plane that they need: `atropos-dist`.
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
pub use link::{LinkError, LinkFacility, Linked};
pub use name::{NameError, NameFacility};
pub use native::{KernelAccess, KernelFacilities, CodeResolver, Spawner};
pub use output::{OutputError, OutputFacility};
pub use record::{AliasRecord, LinkRecord, NameRecord, OutputRecord, SpawnRecord, SupervisionRecord, TimerRecord};
pub use spawn::{Entry, SpawnError, SpawnFacility, SpawnFlags, SpawnResult};
pub use supervision::{MonitorResult, SupervisionError, SupervisionFacility};
pub use timer::{TimeLeft, TimerError, TimerFacility};
