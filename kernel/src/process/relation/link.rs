//! A link, [`Link`]: two processes that die together.
//!
//! A link is one record with two ends ([`LinkEnd`]) and one word. One side creates it (the
//! *initiator*, end 0):
//!
//! ```text
//! LIVE ── one side dies: fire (1) ──▶ FIRED ── the peer fetches (3) ──▶ EXIT, or dropped
//!   └──── either side: unlink (2) ──▶ UNLINKED                               if withdrawn
//! ```
//!
//! One exchange wins, so a link gives at most one EXIT. The side that wins (1) pushes the record's
//! exit node to the peer. An unlink that loses to (1) marks its own end *withdrawn*, which only its
//! owner reads when the EXIT arrives (3): after unlink no EXIT of this link is delivered.
//!
//! Where the ends are: the initiator's is in the initiator's set from the start. The peer's is
//! first on the peer's list (the initiator pushes it), or in a request on its way there, which
//! keeps its place among the signals. It moves to the peer's set when the peer *adopts* its list.
//!
//! - **K1.** The end of a link that is not unlinked is in its owner's set, on its owner's list, or
//!   in a request that its owner has not fetched. Any code that consults the set first adopts the
//!   list, and no other thread takes the list (a canceller that finds many unlinked records wakes
//!   the owner).
//! - **K2.** When both sides link at once there are two records. Both are in both sets once
//!   adopted. `unlink` unlinks both. A death fires both, and the EXIT that is fetched first
//!   withdraws the other record's end. One link, one EXIT. A process that has never adopted a link
//!   that a peer made does not have two. A link to a dead process is a record too, fired
//!   immediately in the name of the dead process: the two may have linked before it died.
//! - **K3.** A request and an EXIT of one record may be in transit at once (the initiator dies
//!   before the request is fetched), so each has its own node.
//! - **K4.** A parent may get its child's end as a DOWN ([`crate::SpawnOptions::supervised`]). The
//!   record is then a monitor as well, and has its reference. The initiator's EXIT is read as a
//!   DOWN, whether or not the initiator traps exits. When the child calls `unlink`, the record is
//!   *detached*, not unlinked: the child no longer finds its end and ignores the parent's EXIT, but
//!   the parent still receives its DOWN. This record is created before any other link between the
//!   two, so its signal is sent first. Like any DOWN, it does not suppress the EXIT of another
//!   link.
//!
//! References: one for each end. An end's reference travels with the request, or with the EXIT that
//! the dying side sends.

use core::mem::offset_of;
use core::ptr::NonNull;

use crate::intrusive::list::{Linked, Links};
use crate::intrusive::record_set::{Member, SetLinks};
use crate::intrusive::refcount::RefCount;
use crate::memory::NoMemory;
use crate::memory::pool::{self, Pool};
use crate::mutation::{Mutation, MutationSwitch};
use crate::pid::{Pid, Reference};
use crate::reason::Reason;
use crate::signal::node::{Budget, Node, SignalKind};
use crate::sync::{AtomicU8, Cell, Ordering, UnsafeCell};

const LIVE: u8 = 0;
const FIRED: u8 = 1;
const UNLINKED: u8 = 2;

/// One end of a link, in its owner's set.
#[derive(Debug)]
pub struct LinkEnd {
    joint: SetLinks<LinkEnd>,
    /// The process that this end belongs to.
    pub owner: Pid,
    /// The process at the other end.
    pub peer: Pid,
    side: u8,
    /// `true` while this end is in the owner's set. Only the owner touches it.
    held: Cell<bool>,
    /// `true` if an EXIT that arrives is dropped. Only the owner touches it.
    withdrawn: Cell<bool>,
    /// `true` if the owner has detached a record that monitors it (K4) and no longer finds it. Only
    /// the owner touches it.
    hidden: Cell<bool>,
}

impl Member for LinkEnd {
    fn joint(&self) -> &SetLinks<Self> {
        &self.joint
    }

    fn key(&self) -> u64 {
        if self.hidden.get() { DETACHED } else { self.peer.to_raw() }
    }
}

/// The key of an end that lookups must not find: no pid is 0.
const DETACHED: u64 = 0;

/// The record of a link, with both ends (see the module). `repr(C)`: the exit node comes first.
#[derive(Debug)]
#[repr(C)]
pub struct Link {
    exit: Node,
    request: Node,
    place: Links<Link>,
    state: AtomicU8,
    shares: RefCount,
    /// The reference of the DOWN that the initiator gets (K4).
    down: Option<Reference>,
    /// Written by the side that fires, before the push; read by the side that fetches.
    reason: UnsafeCell<Reason>,
    halves: [LinkEnd; 2],
}

impl Linked for Link {
    fn place(&self) -> &Links<Self> {
        &self.place
    }
}

unsafe fn release_exit(node: NonNull<Node>, pool: Option<&Pool>) {
    // SAFETY: the exit node heads a link; the reference that travels with it is released.
    unsafe { Link::release(node.cast(), pool) }
}

unsafe fn release_request(node: NonNull<Node>, pool: Option<&Pool>) {
    // SAFETY: a request node of a link; the reference that travels with it is released.
    unsafe { Link::release(Link::of_request(node), pool) }
}

impl Link {
    /// Creates a live link with a reference for each end. With `down` it is also its initiator's
    /// monitor of `other` (K4).
    #[inline(always)]
    pub(crate) fn new(nodes: &Budget, maker: Pid, other: Pid, down: Option<Reference>) -> Result<Self, NoMemory> {
        let half = |owner, peer, side| LinkEnd {
            joint: SetLinks::new(),
            owner,
            peer,
            side,
            held: Cell::new(false),
            withdrawn: Cell::new(false),
            hidden: Cell::new(false),
        };
        Ok(Self {
            exit: nodes.node(SignalKind::LinkExit, release_exit).ok_or(NoMemory)?,
            request: Node::new(SignalKind::LinkRequest, release_request),
            place: Links::new(),
            state: AtomicU8::new(LIVE),
            shares: RefCount::new(2),
            down,
            reason: UnsafeCell::new(Reason::NOPROC),
            halves: [half(maker, other, 0), half(other, maker, 1)],
        })
    }

    /// Returns the request's node.
    pub fn request(this: NonNull<Self>) -> NonNull<Node> {
        // SAFETY: the node lies within the record.
        unsafe { this.byte_add(offset_of!(Self, request)).cast() }
    }

    /// Returns the link of a request's node.
    pub fn of_request(node: NonNull<Node>) -> NonNull<Self> {
        // SAFETY: a request node lies within a `Link`.
        unsafe { node.byte_sub(offset_of!(Self, request)).cast() }
    }

    /// Returns the end of the initiator (0) or of the peer (1).
    pub fn half(this: NonNull<Self>, side: usize) -> NonNull<LinkEnd> {
        assert!(side < 2);
        // SAFETY: the ends lie within the record.
        let halves = unsafe { this.byte_add(offset_of!(Self, halves)) }.cast::<LinkEnd>();
        // SAFETY: there are two ends, and `side` is checked above.
        unsafe { halves.add(side) }
    }

    /// Returns the end of `owner`, which is one of the two processes.
    pub fn half_of(this: NonNull<Self>, owner: Pid) -> NonNull<LinkEnd> {
        let maker = Self::half(this, 0);
        // SAFETY: the record is live: the caller holds a reference.
        if unsafe { maker.as_ref() }.owner == owner { maker } else { Self::half(this, 1) }
    }

    /// Returns `true` if the link is in force, for `info`.
    pub fn is_live(&self) -> bool {
        self.state.load(Ordering::Relaxed) == LIVE
    }

    /// Returns `true` if either side has unlinked.
    pub fn is_unlinked(&self) -> bool {
        self.state.load(Ordering::Relaxed) == UNLINKED
    }

    /// (1) Decides that the link fires. Returns `true` if it does: the caller then owns the exit
    /// node, with the reference of the dead side's end, and sends it to the peer.
    ///
    /// # Safety
    /// The caller holds that reference, and no EXIT of this record was sent on behalf of that side
    /// before.
    #[inline(always)]
    #[must_use = "after `true` the EXIT must be sent"]
    pub(crate) unsafe fn try_fire(&self, reason: &Reason, mutations: MutationSwitch) -> bool {
        // AcqRel: pairs with the other exchanges of this word, in either order.
        let fired = self.state.compare_exchange(LIVE, FIRED, Ordering::AcqRel, Ordering::Acquire);
        if fired.is_err() && !mutations.injects(Mutation::FiresAnyway) {
            return false;
        }
        // SAFETY: the thread whose exchange fired the link owns the reason until the push.
        self.reason.with_mut(|place| unsafe { *place = reason.clone() });
        true
    }

    /// (2) Unlinks one side. Returns `false` if an EXIT is (or was) in transit. Wait-free.
    pub fn unlink(&self) -> bool {
        self.state.compare_exchange(LIVE, UNLINKED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Returns the process that died and its reason, from the fetched exit node of `receiver`.
    ///
    /// # Safety
    /// The caller fetched the exit node as `receiver`.
    pub unsafe fn read_exit(this: NonNull<Self>, receiver: Pid) -> (Pid, Reason) {
        // SAFETY: the node's reference keeps the record live.
        let link = unsafe { this.as_ref() };
        // SAFETY: the reason was written before the push that brought the node; not written again.
        let reason = link.reason.with(|reason| unsafe { (*reason).clone() });
        // SAFETY: the end lies within the record, which is live.
        (unsafe { Self::half_of(this, receiver).as_ref() }.peer, reason)
    }

    /// Returns the reference of the DOWN that the owner of `half` gets instead of an EXIT (K4), if
    /// any. `half` is this record's.
    pub fn down_to(&self, half: &LinkEnd) -> Option<Reference> {
        if half.side == 0 { self.down } else { None }
    }

    /// Releases a reference. Wait-free.
    ///
    /// # Safety
    /// The caller holds it and does not use the record again.
    pub unsafe fn release(this: NonNull<Self>, pool: Option<&Pool>) {
        // SAFETY: the caller's reference keeps the record live.
        let link = unsafe { this.as_ref() };
        if link.shares.release() {
            // A no-op, except that a model checks here that the other side no longer uses it.
            link.reason.with_mut(|_| ());
            // SAFETY: that was the last reference.
            unsafe { pool::drop_and_free(this, pool) };
        }
    }
}

impl LinkEnd {
    /// Returns the link of an end.
    pub fn link(this: NonNull<Self>) -> NonNull<Link> {
        // SAFETY: the record is live: the caller holds a reference.
        let side = unsafe { this.as_ref() }.side as usize;
        // SAFETY: an end lies within a `Link`, at the index of its side.
        let first = unsafe { this.sub(side) };
        // SAFETY: `first` is end 0, which lies at that offset within a `Link`.
        unsafe { first.byte_sub(offset_of!(Link, halves)) }.cast()
    }

    /// Records if the owner's set holds this end. Only the owner may call it.
    pub fn set_in_set(&self, held: bool) {
        self.held.set(held);
    }

    /// Returns `true` if the owner's set holds this end. Only the owner may call it.
    pub fn is_in_set(&self) -> bool {
        self.held.get()
    }

    /// Drops any EXIT that arrives from now on. Only the owner may call it.
    pub fn ignore_exit(&self) {
        self.withdrawn.set(true);
    }

    /// Returns `true` if its owner must not unlink the record, but may only detach it (K4).
    pub fn is_watched(this: NonNull<Self>) -> bool {
        // SAFETY: the record is live: the caller holds a reference.
        let is_child = unsafe { this.as_ref() }.side == 1;
        // SAFETY: the record is live: the caller holds a reference.
        is_child && unsafe { Self::link(this).as_ref() }.down.is_some()
    }

    /// Detaches this end (K4). Only the owner may call it, while the end is in no set.
    pub fn detach(&self) {
        self.withdrawn.set(true);
        self.hidden.set(true);
    }

    /// Returns `true` if its owner has detached this end. Only the owner may call it.
    pub fn is_detached(&self) -> bool {
        self.hidden.get()
    }

    /// Returns `true` if the owner ignores EXITs of this link. Only the owner may call it.
    pub fn ignores_exit(&self) -> bool {
        self.withdrawn.get()
    }
}
