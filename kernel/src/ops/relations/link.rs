//! Links: link, unlink, the EXIT of a link that fires, and the owner's set of link ends.

use crate::intrusive::record_set::Found;
use crate::kernel::kernel_cx::KernelCx;
use crate::memory::NoMemory;
use crate::mutation::mutant;
use crate::ops::drain::adopt_links;
use crate::ops::exit_signal;
use crate::ops::relations::LinkError;
use crate::ops::waker;
use crate::pid::{Pid, Reference};
use crate::process::owned::{Owned, OwnerState};
use crate::process::process_ref::ProcessRef;
use crate::process::relation::link::{EndRef, Link, LinkEnd, PeerEnd};
use crate::reason::Reason;
use crate::signal::exit_signal::ExitCause;
use crate::sync::Ordering;

/// Links the owned `process` with `to`. A link to a dead process is an error; or, with `as_otp`, a
/// caller that traps exits gets an EXIT `noproc`. Lock-free; O(1) amortised.
pub(crate) fn link(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>, to: Pid, as_otp: bool) -> Result<(), LinkError> {
    if to == owned.pid {
        return Ok(());
    }
    adopt_links(owned, kernel_cx);
    let older = owned.state(|state| Some(!state.links.find(to.to_raw())?.get().link().is_unlinked()));
    if let Some(is_linked) = older {
        if is_linked {
            return Ok(());
        }
        // The other side has unlinked; this is a new link.
        owned.state(|state| state.unlink_all(to, kernel_cx));
    }
    let other = kernel_cx.find(to);
    let trapping = as_otp && owned.trap_exit.load(Ordering::Relaxed);
    if other.is_none() && !trapping {
        return Err(LinkError::NoProc);
    }
    let (end, peer) = try_new(kernel_cx, owned.pid, to, None).map_err(|NoMemory| LinkError::NoMemory)?;
    owned.state(|state| state.insert_link_end(end, kernel_cx));
    let Err(peer) = place_link(peer, kernel_cx, other) else { return Ok(()) };
    if trapping {
        // The EXIT must come from this record: the dead process may have linked as well, with its
        // EXIT in transit (K2).
        fire(peer.into_end(), kernel_cx, &Reason::NOPROC);
        return Ok(());
    }
    // The end that was inserted above: no other link with the same peer is in the set.
    let end = owned.state(|state| state.links.find(to.to_raw()).map(Found::remove));
    end.into_iter().for_each(|end| end.release(kernel_cx.pool()));
    peer.release(kernel_cx.pool());
    Err(LinkError::NoProc)
}

/// Allocates a live link; see [`Link::try_new`].
#[inline(always)]
pub(crate) fn try_new(
    kernel_cx: &KernelCx<'_>,
    maker: Pid,
    other: Pid,
    down: Option<Reference>,
) -> Result<(EndRef, PeerEnd), NoMemory> {
    Link::try_new((&kernel_cx.kernel.nodes, kernel_cx.pool()), maker, other, down)
}

/// Delivers the peer's end of a new link to its owner. Returns it if the owner is not alive.
pub(crate) fn place_link(
    peer: PeerEnd,
    kernel_cx: &KernelCx<'_>,
    other: Option<ProcessRef<'_>>,
) -> Result<(), PeerEnd> {
    if let Some(other) = other
        && other.proxy
    {
        // First: the maker may die, on another core, as soon as the link is placed.
        exit_signal::tell_proxy(kernel_cx, peer.maker(), other, ExitCause::Linked);
    }
    let placed = match other {
        Some(other) if mutant!(kernel_cx.kernel.mutations, AlwaysShort, right => other.mailbox.is_settled(), wrong => true) => {
            other.links.push(peer)
        }
        Some(other) => {
            kernel_cx.push(other, peer.into_request()).map_err(|request| PeerEnd::of_request(request.typed()))
        }
        None => Err(peer),
    };
    mutant!(kernel_cx.kernel.mutations, RefusedIsPlaced,
        right => placed,
        wrong => placed.or_else(|peer| {
            core::mem::forget(peer);
            Ok(())
        }),
    )
}

/// Returns `true` if the owned `process` is linked with `other`.
pub(crate) fn is_linked(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>, other: Pid) -> bool {
    adopt_links(owned, kernel_cx);
    owned.state(|state| state.links.find(other.to_raw()).is_some_and(|end| end.get().link().is_live()))
}

/// Ends the link with `to`: no EXIT of it arrives from now on. Lock-free; O(1) amortised.
pub(crate) fn unlink(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>, to: Pid) {
    adopt_links(owned, kernel_cx);
    if owned.state(|state| state.unlink_all(to, kernel_cx))
        && let Some(other) = kernel_cx.find(to)
    {
        link_was_cut(other, kernel_cx);
        if other.proxy {
            exit_signal::tell_proxy(kernel_cx, owned.pid, other, ExitCause::Unlinked);
        }
    }
}

/// Counts an unlinked record that may be on the peer's list, and now and then wakes the peer to
/// adopt its list. No other thread may take that list, not even to sweep it: the peer must find a
/// link there when it unlinks (`link`, K1).
pub(crate) fn link_was_cut(other: ProcessRef<'_>, kernel_cx: &KernelCx<'_>) {
    if other.links.count_cancelled() {
        waker::request_wake(other, kernel_cx);
    }
}

/// (1) Fires the link because the end's owner died (or never existed): sends the EXIT to the peer.
/// Lock-free.
pub(crate) fn fire(end: EndRef, kernel_cx: &KernelCx<'_>, reason: &Reason) {
    let to = end.peer;
    match end.fire(reason, kernel_cx.kernel.mutations) {
        Ok(exit) => _ = kernel_cx.deliver(to, exit),
        Err(end) => end.release(kernel_cx.pool()),
    }
}

impl OwnerState {
    /// Adds a link end of the owner to the set.
    #[inline]
    pub(crate) fn insert_link_end(&mut self, end: EndRef, kernel_cx: &KernelCx<'_>) {
        if self.links.needs_sweep() {
            self.sweep_links(kernel_cx);
        }
        self.links.insert(end);
    }

    /// Removes a link end from the set, if it is there, and releases its reference.
    ///
    /// # Safety
    /// The end belongs to this owner.
    pub(crate) unsafe fn release_link_end(&mut self, end: &LinkEnd, kernel_cx: &KernelCx<'_>) {
        // SAFETY: the end is this owner's (this function's contract), so it is in this set, or in
        // none.
        if let Some(end) = unsafe { self.links.remove(end) } {
            end.release(kernel_cx.pool());
        }
    }

    /// Drops the ends of links that the other side has unlinked.
    #[cold]
    #[inline(never)]
    fn sweep_links(&mut self, kernel_cx: &KernelCx<'_>) {
        self.links.retain(|end| !end.link().is_unlinked(), |end| end.release(kernel_cx.pool()));
        self.links.swept();
    }

    /// Unlinks every link with `peer`: none, one, or two (`link`, K2). Considers only adopted
    /// links. Returns `true` if there was one.
    pub(crate) fn unlink_all(&mut self, peer: Pid, kernel_cx: &KernelCx<'_>) -> bool {
        let mut any = false;
        while let Some(end) = self.links.find(peer.to_raw()) {
            any = true;
            let mut end = end.remove();
            if end.is_watched() {
                end.detach();
                self.links.insert(end);
                continue;
            }
            if !end.link().unlink() {
                end.ignore_exit();
            }
            end.release(kernel_cx.pool());
        }
        any
    }
}
