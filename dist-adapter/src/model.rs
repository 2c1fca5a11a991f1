//! The control plane's rules, one constant each, so that a model can break one and show what it
//! prevents.
//!
//! Only models implement [`PlaneRules`] with a rule switched off. [`Shipped`] keeps all of them.

use crate::sync::Ordering;

/// The rules of the control plane.
pub trait PlaneRules: Send + Sync + 'static {
    /// A monitor's state word moves by compare-exchange: of the threads that try to answer or
    /// withdraw the monitor, exactly one succeeds.
    const ONE_WINNER: bool = true;
    /// The ordering of the state word's move to armed. It pairs with the Acquire in `cancel`.
    /// Without it a withdrawal can be sent before the request. Therefore Release.
    const ARM: Ordering = Ordering::Release;
    /// A caller whose request is refused checks the monitor's state word before it returns an
    /// error, because the monitor may have been answered already.
    const HEED_ANSWER: bool = true;
    /// If a monitor is withdrawn while its request is being sent, the thread that sends the request
    /// also sends the withdrawal to the peer, after the request.
    const WITHDRAW_AFTER_REQUEST: bool = true;
    /// A session that was closed because its connection ended accepts no more records.
    const REFUSE_LOST: bool = true;
    /// A process's record that was closed by the process's death accepts no more monitors.
    const REFUSE_GONE: bool = true;
    /// A message from a connection that has ended is dropped.
    const REFUSE_OLD: bool = true;
    /// The quota check and the increment of a peer's account are one exchange, so two threads
    /// cannot both take the last free charge.
    const CLAIM_AT_ONCE: bool = true;
    /// Releasing an idle watch closes its record: a thread that still holds the record sees that it
    /// is closed, and watches the process again.
    const CLOSE_IDLE: bool = true;
    /// An exit notice must match the monitor's target and watcher in every field.
    const MATCH_WHOLE: bool = true;
}

/// The rule set of the shipped control plane: every rule is kept.
#[derive(Debug)]
pub struct Shipped;
impl PlaneRules for Shipped {}
