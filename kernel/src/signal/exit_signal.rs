//! The signal of `exit(Pid, Reason)`.

use core::ptr::NonNull;

use super::node::{Kind, Node};
use crate::hand::Hand;
use crate::memory::NoMemory;
use crate::memory::pool::{self, Pool};
use crate::pid::Pid;
use crate::process::header::Header;
use crate::reason::Reason;
use crate::task::waker;

/// Somebody asks the receiver to end.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct ExitSignal {
    node: Node,
    /// Who asks; `None` is the host.
    pub from: Option<Pid>,
    /// Why.
    pub reason: Reason,
}

impl ExitSignal {
    /// The signal's node, ready to be pushed.
    pub(crate) fn try_new(hand: &Hand<'_>, from: Option<Pid>, reason: Reason) -> Result<NonNull<Node>, NoMemory> {
        unsafe fn release(node: NonNull<Node>, pool: Option<&Pool>) {
            // SAFETY: `try_new` made the whole, which this node heads.
            unsafe { pool::drop_and_free(node.cast::<ExitSignal>(), pool) }
        }
        let node = hand.kernel.nodes.node(Kind::Exit, release).ok_or(NoMemory)?;
        let signal = Self { node, from, reason };
        hand.try_new(signal).map(NonNull::cast).map_err(|_| NoMemory)
    }

    /// Takes the signal apart.
    ///
    /// # Safety
    /// The caller holds `node` (rule N1), of kind `Exit`, and does not use it again.
    pub(crate) unsafe fn open(node: NonNull<Node>, pool: Option<&Pool>) -> (Option<Pid>, Reason) {
        // SAFETY: by contract an `ExitSignal` that nobody else has.
        let signal = unsafe { node.cast::<Self>().read() };
        // SAFETY: moved out above.
        unsafe { pool::free(node.cast::<Self>(), pool) };
        (signal.from, signal.reason)
    }
}

/// What is to be done for a signal to arrive.
#[derive(Debug)]
pub(crate) enum Prepared<'a> {
    /// It is to be pushed there.
    Signal(&'a Header, NonNull<Node>),
    /// Nothing any more: nobody is there, or a kill went without memory; whether that found somebody alive.
    Done(bool),
}

/// Finds the receiver and makes the signal. A kill needs no memory: without any it travels as a wake-up, which may be
/// acted on ahead of its place. Lock-free.
pub(crate) fn prepare<'a>(
    hand: &Hand<'a>,
    from: Option<Pid>,
    to: Pid,
    reason: Reason,
) -> Result<Prepared<'a>, NoMemory> {
    let Some(process) = hand.find(to) else { return Ok(Prepared::Done(false)) };
    let kills = reason == Reason::KILL;
    if kills && hand.kernel.starves_kills() {
        return Ok(Prepared::Done(waker::kill(process, hand)));
    }
    match ExitSignal::try_new(hand, from, reason) {
        Ok(signal) => Ok(Prepared::Signal(process, signal)),
        Err(NoMemory) if kills => Ok(Prepared::Done(waker::kill(process, hand))),
        Err(error) => Err(error),
    }
}

/// Sends one; whether it found somebody alive. Lock-free.
pub(crate) fn send(hand: &Hand<'_>, from: Option<Pid>, to: Pid, reason: Reason) -> Result<bool, NoMemory> {
    let (process, signal) = match prepare(hand, from, to, reason)? {
        Prepared::Signal(process, signal) => (process, signal),
        Prepared::Done(arrived) => return Ok(arrived),
    };
    // SAFETY: new, so ours.
    let arrived = unsafe { hand.push(process, signal) };
    if !arrived {
        // SAFETY: still ours.
        unsafe { hand.release(signal) };
    }
    Ok(arrived)
}
