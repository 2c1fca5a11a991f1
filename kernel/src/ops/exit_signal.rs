//! Sending an exit signal, `exit(Pid, Reason)`.

use crate::kernel::kernel_cx::KernelCx;
use crate::memory::NoMemory;
use crate::memory::pool_box::PoolBox;
use crate::ops::waker;
use crate::pid::Pid;
use crate::process::process_ref::ProcessRef;
use crate::reason::Reason;
use crate::signal::exit_signal::{ExitCause, ExitSignal};
use crate::signal::held::HeldNode;

impl ExitSignal {
    /// Allocates the signal, ready to push.
    pub(crate) fn try_new(
        kernel_cx: &KernelCx<'_>,
        from: Option<Pid>,
        reason: Reason,
        cause: ExitCause,
    ) -> Result<PoolBox<Self>, NoMemory> {
        let node = kernel_cx.kernel.nodes.node_of::<Self>().ok_or(NoMemory)?;
        kernel_cx.try_new(Self { node, from, reason, cause }).map_err(|_| NoMemory)
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
    let signal = match ExitSignal::try_new(kernel_cx, from, reason, ExitCause::Signal) {
        Ok(signal) => signal,
        Err(NoMemory) if kills => return Ok(waker::kill(process, kernel_cx)),
        Err(error) => return Err(error),
    };
    if process.proxy && from.is_some() {
        kernel_cx.kernel.world().on_proxy_signal(to);
    }
    Ok(kernel_cx.push(process, HeldNode::of(signal)).map_err(|refused| kernel_cx.release(refused)).is_ok())
}

/// Tells a proxy that `from` has linked with it, or has ended the link (`proxy`). Without memory
/// the proxy is killed, which ends the link for both. Lock-free.
#[cold]
#[inline(never)]
pub(crate) fn tell_proxy(kernel_cx: &KernelCx<'_>, from: Pid, proxy: ProcessRef<'_>, cause: ExitCause) {
    match ExitSignal::try_new(kernel_cx, Some(from), Reason::NORMAL, cause) {
        Ok(signal) => {
            kernel_cx.kernel.world().on_proxy_signal(proxy.pid);
            let _ = kernel_cx.push(proxy, HeldNode::of(signal)).map_err(|refused| kernel_cx.release(refused));
        }
        Err(NoMemory) => _ = waker::kill(proxy, kernel_cx),
    }
}
