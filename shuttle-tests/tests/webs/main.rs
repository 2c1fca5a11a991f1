//! The webs. The harness is `atropos_shuttle`.
#![cfg(shuttle)]

mod churn;
mod heir;
mod links;
mod monitors;
mod names;
mod order;
mod replays;
mod supervision;
mod timers;
