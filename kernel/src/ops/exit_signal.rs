//! Sending an exit signal, `exit(Pid, Reason)`.

use core::ptr::NonNull;

use crate::kernel::kernel_cx::KernelCx;
use crate::memory::NoMemory;
use crate::memory::pool::{self, Pool};
use crate::ops::waker;
use crate::pid::Pid;
use crate::reason::Reason;
use crate::signal::exit_signal::ExitSignal;
use crate::signal::node::{Node, SignalKind};

impl ExitSignal {
    /// Allocates the signal's node, ready to push.
    pub(crate) fn try_new(
        kernel_cx: &KernelCx<'_>,
        from: Option<Pid>,
        reason: Reason,
    ) -> Result<NonNull<Node>, NoMemory> {
        unsafe fn release(node: NonNull<Node>, pool: Option<&Pool>) {
            // SAFETY: `try_new` allocated the signal that this node heads.
            unsafe { pool::drop_and_free(node.cast::<ExitSignal>(), pool) }
        }
        let node = kernel_cx.kernel.nodes.node(SignalKind::Exit, release).ok_or(NoMemory)?;
        let signal = Self { node, from, reason };
        kernel_cx.try_new(signal).map(NonNull::cast).map_err(|_| NoMemory)
    }
}

/// Sends an exit signal. Returns `true` if it found the target alive. A kill needs no memory:
/// without memory it travels as a wake-up, which may be acted on ahead of its place. Lock-free.
pub(crate) fn send(kernel_cx: &KernelCx<'_>, from: Option<Pid>, to: Pid, reason: Reason) -> Result<bool, NoMemory> {
    let Some(process) = kernel_cx.find(to) else { return Ok(false) };
    reason.come_into(kernel_cx.kernel.world());
    let kills = reason == Reason::KILL;
    if kills && kernel_cx.kernel.starves_kills() {
        return Ok(waker::kill(process, kernel_cx));
    }
    let signal = match ExitSignal::try_new(kernel_cx, from, reason) {
        Ok(signal) => signal,
        Err(NoMemory) if kills => return Ok(waker::kill(process, kernel_cx)),
        Err(error) => return Err(error),
    };
    // SAFETY: N1: the node is new, so ours.
    let arrived = unsafe { kernel_cx.push(process, signal) };
    if !arrived {
        // SAFETY: N1: the push was refused, so the node is still ours.
        unsafe { kernel_cx.release(signal) };
    }
    Ok(arrived)
}
