//! The signal of `exit(Pid, Reason)`.

use core::ptr::NonNull;

use super::node::{SignalKind, Node};
use crate::hand::KernelCx;
use crate::memory::NoMemory;
use crate::memory::pool::{self, Pool};
use crate::pid::Pid;
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
    pub(crate) fn try_new(hand: &KernelCx<'_>, from: Option<Pid>, reason: Reason) -> Result<NonNull<Node>, NoMemory> {
        unsafe fn release(node: NonNull<Node>, pool: Option<&Pool>) {
            // SAFETY: `try_new` made the whole, which this node heads.
            unsafe { pool::drop_and_free(node.cast::<ExitSignal>(), pool) }
        }
        let node = hand.kernel.nodes.node(SignalKind::Exit, release).ok_or(NoMemory)?;
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

/// Sends one; whether it found somebody alive. A kill needs no memory: without any it travels as a wake-up, which
/// may be acted on ahead of its place. Lock-free.
pub(crate) fn send(hand: &KernelCx<'_>, from: Option<Pid>, to: Pid, reason: Reason) -> Result<bool, NoMemory> {
    let Some(process) = hand.find(to) else { return Ok(false) };
    reason.come_into(hand.kernel.world());
    let kills = reason == Reason::KILL;
    if kills && hand.kernel.starves_kills() {
        return Ok(waker::kill(process, hand));
    }
    let signal = match ExitSignal::try_new(hand, from, reason) {
        Ok(signal) => signal,
        Err(NoMemory) if kills => return Ok(waker::kill(process, hand)),
        Err(error) => return Err(error),
    };
    // SAFETY: new, so ours.
    let arrived = unsafe { hand.push(process, signal) };
    if !arrived {
        // SAFETY: still ours.
        unsafe { hand.release(signal) };
    }
    Ok(arrived)
}
