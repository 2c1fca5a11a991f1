//! The plane's rules, one by one, so that a model can break one and see what it is for.
//!
//! Nothing but a model implements [`Rules`]: each rule is a constant, and [`Shipped`] keeps them all.

use crate::sync::Ordering;

/// The rules.
pub trait Rules: Send + Sync + 'static {
    /// A monitor's word moves by compare-exchange: of those who would answer or withdraw it, one wins.
    const ONE_WINNER: bool = true;
    /// Of the word's move to armed. Release: pairs with the Acquire of `cancel`, so that the withdrawal is sent after the request.
    const ARM: Ordering = Ordering::Release;
    /// Who sends a request and is refused looks at the monitor's word before it reports: it may have been answered.
    const HEED_ANSWER: bool = true;
    /// A monitor that is withdrawn while its request is being sent is withdrawn at the peer by who sends the request, after it.
    const WITHDRAW_AFTER_REQUEST: bool = true;
    /// A session that has been closed by its connection's end takes nothing more.
    const REFUSE_LOST: bool = true;
    /// A process's record that has been closed by its death takes nothing more.
    const REFUSE_GONE: bool = true;
    /// A message of a connection that has ended is dropped.
    const REFUSE_OLD: bool = true;
    /// A charge on a peer's account is looked for and taken in one exchange: two threads do not both take the last one.
    const CLAIM_AT_ONCE: bool = true;
    /// An idle watch that is released is closed: a thread that has it in hand learns that, and watches anew.
    const CLOSE_IDLE: bool = true;
    /// A notice must name the monitor's target and watcher, wholly.
    const MATCH_WHOLE: bool = true;
}

/// All of them.
#[derive(Debug)]
pub struct Shipped;
impl Rules for Shipped {}
