//! Links: link, unlink, the EXIT of a link that fires, and the owner's set of link ends.

use core::ptr::NonNull;

use crate::kernel::kernel_cx::KernelCx;
use crate::memory::NoMemory;
use crate::mutation::Mutation;
use crate::ops::drain::adopt_links;
use crate::ops::relations::LinkError;
use crate::ops::waker;
use crate::pid::{Pid, Reference};
use crate::process::header::Header;
use crate::process::owned::OwnerState;
use crate::process::relation::link::{Link, LinkEnd};
use crate::reason::Reason;
use crate::sync::Ordering;

/// Links the owned `process` with `to`. A link to a dead process is an error; or, with `as_otp`, a
/// caller that traps exits gets an EXIT `noproc`. Lock-free; O(1) amortised.
pub(crate) fn link(process: &Header, kernel_cx: &KernelCx<'_>, to: Pid, as_otp: bool) -> Result<(), LinkError> {
    if to == process.pid {
        return Ok(());
    }
    adopt_links(process, kernel_cx);
    // SAFETY: P1: the caller owns the process.
    let private = unsafe { process.private() };
    if let Some(half) = private.links.find(to.to_raw()) {
        // SAFETY: the set's reference keeps the record live.
        if !unsafe { LinkEnd::link(half).as_ref() }.is_unlinked() {
            return Ok(());
        }
        // The other side has unlinked; this is a new link.
        private.unlink_all(to, kernel_cx);
    }
    let other = kernel_cx.find(to);
    let trapping = as_otp && process.trap_exit.load(Ordering::Relaxed);
    if other.is_none() && !trapping {
        return Err(LinkError::NoProc);
    }
    let link = Link::try_new(kernel_cx, process.pid, to, None).map_err(|NoMemory| LinkError::NoMemory)?;
    // SAFETY: the initiator's end is in no set; its reference goes with it.
    unsafe { private.insert_link_end(Link::half(link, 0), kernel_cx) };
    // SAFETY: the peer end's reference is ours.
    if unsafe { place_link(link, kernel_cx, other) } {
        return Ok(());
    }
    if trapping {
        // The EXIT must come from this record: the dead process may have linked as well, with its
        // EXIT in transit (K2).
        // SAFETY: the peer end's reference, which `place_link` did not consume.
        unsafe { Link::fire(link, to, kernel_cx, &Reason::NOPROC) };
        return Ok(());
    }
    // SAFETY: inserted above; from here on only the peer end's reference is used.
    unsafe { private.release_link_end(Link::half(link, 0), kernel_cx) };
    // SAFETY: the peer end's reference, which `place_link` did not consume.
    unsafe { Link::release(link, kernel_cx.pool()) };
    Err(LinkError::NoProc)
}

/// Delivers the peer's end of a new link to its owner, with its reference. Returns `false` if the
/// owner is not alive; the reference is then still the caller's.
///
/// # Safety
/// The caller holds that reference; the record is on no list and in no queue.
pub(crate) unsafe fn place_link(link: NonNull<Link>, kernel_cx: &KernelCx<'_>, other: Option<&Header>) -> bool {
    let placed = match other {
        Some(other) if other.mailbox.is_settled() || kernel_cx.kernel.mutated(Mutation::AlwaysShort) => {
            // SAFETY: the record is on no list; the peer end's reference goes with it.
            unsafe { other.links.push(link) }.is_ok()
        }
        // SAFETY: the node is in no queue; the peer end's reference goes with it.
        Some(other) => unsafe { kernel_cx.push(other, Link::request(link)) },
        None => false,
    };
    placed || kernel_cx.kernel.mutated(Mutation::RefusedIsPlaced)
}

/// Returns `true` if the owned `process` is linked with `other`.
pub(crate) fn is_linked(process: &Header, kernel_cx: &KernelCx<'_>, other: Pid) -> bool {
    adopt_links(process, kernel_cx);
    // SAFETY: P1: the caller owns the process.
    let half = unsafe { process.private() }.links.find(other.to_raw());
    // SAFETY: the set's reference keeps the record live.
    half.is_some_and(|half| unsafe { LinkEnd::link(half).as_ref() }.is_live())
}

/// Ends the link with `to`: no EXIT of it arrives from now on. Lock-free; O(1) amortised.
pub(crate) fn unlink(process: &Header, kernel_cx: &KernelCx<'_>, to: Pid) {
    adopt_links(process, kernel_cx);
    // SAFETY: P1: the caller owns the process.
    let private = unsafe { process.private() };
    if private.unlink_all(to, kernel_cx)
        && let Some(other) = kernel_cx.find(to)
    {
        link_was_cut(other, kernel_cx);
    }
}

/// Counts an unlinked record that may be on the peer's list, and now and then wakes the peer to
/// adopt its list. No other thread may take that list, not even to sweep it: the peer must find a
/// link there when it unlinks (`link`, K1).
pub(crate) fn link_was_cut(other: &Header, kernel_cx: &KernelCx<'_>) {
    if other.links.count_cancelled() {
        waker::request_wake(other, kernel_cx);
    }
}

impl Link {
    /// Allocates a live link with a reference for each end. With `down` it is also its initiator's
    /// monitor of `other` (K4).
    pub fn try_new(
        kernel_cx: &KernelCx<'_>,
        maker: Pid,
        other: Pid,
        down: Option<Reference>,
    ) -> Result<NonNull<Self>, NoMemory> {
        kernel_cx.try_new(Self::new(&kernel_cx.kernel.nodes, maker, other, down)?).map_err(|_| NoMemory)
    }

    /// (1) Fires the link because `by` died (or never existed): consumes the reference of its end
    /// and sends the EXIT to the peer. Lock-free.
    ///
    /// # Safety
    /// The caller holds that reference, and no EXIT of this record was sent on behalf of `by`
    /// before.
    pub unsafe fn fire(this: NonNull<Self>, by: Pid, kernel_cx: &KernelCx<'_>, reason: &Reason) {
        // SAFETY: the caller's reference keeps the record live.
        let link = unsafe { this.as_ref() };
        // SAFETY: the caller holds the reference of the end of `by` (this function's contract).
        if !unsafe { link.try_fire(reason, kernel_cx.kernel.mutations) } {
            // SAFETY: the reference is the caller's; not used again.
            return unsafe { Self::release(this, kernel_cx.pool()) };
        }
        // SAFETY: the reference keeps the record live.
        let to = unsafe { Self::half_of(this, by).as_ref() }.peer;
        // SAFETY: the thread whose exchange fired the link owns the exit node; the reference goes
        // with it.
        unsafe { kernel_cx.deliver(to, this.cast()) };
    }
}

impl OwnerState {
    /// Adds a link end to the set.
    ///
    /// # Safety
    /// The end belongs to the owner and is in no set, and its reference comes with it.
    pub unsafe fn insert_link_end(&mut self, half: NonNull<LinkEnd>, kernel_cx: &KernelCx<'_>) {
        if self.links.needs_sweep() {
            self.sweep_links(kernel_cx);
        }
        // SAFETY: the end's reference keeps the record live (this function's contract).
        unsafe { half.as_ref() }.set_in_set(true);
        // SAFETY: the end is in no set, and its reference comes with it (this function's contract).
        unsafe { self.links.insert(half) };
    }

    /// Removes a link end from the set, if it is there, and releases its reference.
    ///
    /// # Safety
    /// The end belongs to the owner; its record is not used afterwards without another reference.
    pub unsafe fn release_link_end(&mut self, half: NonNull<LinkEnd>, kernel_cx: &KernelCx<'_>) {
        // SAFETY: the end is live and belongs to the owner (this function's contract).
        if unsafe { half.as_ref() }.is_in_set() {
            // SAFETY: the set holds the end's reference, which keeps the record live.
            unsafe { half.as_ref() }.set_in_set(false);
            // SAFETY: `is_in_set` says that the end is in the set.
            unsafe { self.links.remove(half) };
            // SAFETY: the end's reference, which the set held; not used again.
            unsafe { Link::release(LinkEnd::link(half), kernel_cx.pool()) };
        }
    }

    /// Drops the ends of links that the other side has unlinked.
    fn sweep_links(&mut self, kernel_cx: &KernelCx<'_>) {
        for half in self.links.iter() {
            // SAFETY: the set's reference keeps the record live.
            if unsafe { LinkEnd::link(half).as_ref() }.is_unlinked() {
                // SAFETY: the member that the iterator returned last may be removed.
                unsafe { self.release_link_end(half, kernel_cx) };
            }
        }
        self.links.swept();
    }

    /// Unlinks every link with `peer`: none, one, or two (`link`, K2). Considers only adopted
    /// links. Returns `true` if there was one.
    pub fn unlink_all(&mut self, peer: Pid, kernel_cx: &KernelCx<'_>) -> bool {
        let mut any = false;
        while let Some(half) = self.links.find(peer.to_raw()) {
            if LinkEnd::is_watched(half) {
                // SAFETY: `find` found the end in this set.
                unsafe { self.links.remove(half) };
                // SAFETY: the end's reference is still held here.
                unsafe { half.as_ref() }.detach();
                // SAFETY: removed above, so in no set; the end belongs to the owner.
                unsafe { self.links.insert(half) };
                any = true;
                continue;
            }
            // SAFETY: the set's reference keeps the record live.
            if !unsafe { LinkEnd::link(half).as_ref() }.unlink() {
                // SAFETY: the set's reference keeps the record live, and the end belongs to the
                // owner.
                unsafe { half.as_ref() }.ignore_exit();
            }
            any = true;
            // SAFETY: the end is in the set; not used afterwards.
            unsafe { self.release_link_end(half, kernel_cx) };
        }
        any
    }
}
