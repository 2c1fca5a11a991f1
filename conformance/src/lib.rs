//! Replays cases that were recorded from the real Erlang/OTP, with [`replay()`]. The binary
//! `conformance-runner` replays a file of them and prints what it has observed; `cases/check.py`
//! compares that with what OTP did. `cases/FORMAT.md` describes both formats.
//!
//! # Map
//!
//! | module | contents |
//! | --- | --- |
//! | [`case`] | the format of a case |
//! | [`reason`] | exit reasons as the cases write them |
//! | [`script`] | the processes that perform a case; they call the kernel, or the facilities |
//! | [`driver`] | [`Driver`], the system that the processes run on |
//! | [`threads`] | the driver of the real runtime: one thread for each core, real time |
//! | [`simulated`] | the driver of simulated cores (`atropos-sim`): a seed, virtual time |
//! | [`facilitated`] | the driver whose processes call the facilities |
//! | [`controller`] | runs a case, op by op, in a driver |
//! | [`supervisor`] | the same for cases of supervisors |
//! | [`mod@replay`] | a case of either kind, from its line to its observation |

pub mod case;
pub mod controller;
pub mod driver;
pub mod facilitated;
pub mod reason;
pub mod replay;
pub mod script;
pub mod simulated;
pub mod supervisor;
pub mod threads;

pub use driver::Driver;
pub use facilitated::Facilitated;
pub use replay::{replay, row};
pub use threads::Threads;
