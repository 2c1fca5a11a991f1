//! [`Link`]: two processes that die together.
//!
//! One record with two [`LinkEnd`]s, made by one side (the *maker*, half 0), and one word:
//!
//! ```text
//! LIVE ── one side dies: fire (1) ──▶ FIRED ── the other fetches (3) ──▶ EXIT, or dropped
//!   └──── either unlinks: cut (2) ──▶ CUT                               if withdrawn
//! ```
//!
//! One exchange wins, so a link gives at most one EXIT. Whoever wins (1) pushes the
//! record's exit node to the other side. An unlink that loses to (1) marks its own half
//! *withdrawn*, which only its owner reads when the EXIT arrives (3): after unlink no
//! EXIT of this link is delivered.
//!
//! Where the halves are: the maker's in the maker's set at once; the other's first on the
//! other's list (pushed by the maker; or in a request on its way there, which keeps its
//! place among the signals), then in the other's set, when it *takes up* its list.
//!
//! - **K1.** The half of a link that is not cut is in its owner's set, on its owner's list, or in a
//!   request that its owner has not fetched. Whatever consults the set takes up first, and nobody else
//!   takes the list (a canceller that finds many cut nudges the owner).
//! - **K2.** When both sides link at once there are two records. Both are in both sets once
//!   taken up; `unlink` cuts both; a death fires both, and the EXIT that is fetched first
//!   withdraws the other record's half. One link, one EXIT. A process that has never taken up what another made has no two. A link to the dead is a record too, fired at once in
//!   the name of the dead: they may have linked before they died.
//! - **K3.** A request and an EXIT of one record may be under way at once (the maker dies before
//!   the request is fetched), so they have a node each.
//!
//! - **K4.** A parent may have its child's end as a DOWN ([`crate::SpawnOptions::supervised`]): the record is a monitor as well then,
//!   and has its reference. Its maker's EXIT is opened as a DOWN, whether or not the maker traps exits. The child's
//!   `unlink` lets go of it and does not cut it: the half is found no more and its owner's EXIT is withdrawn, but the
//!   maker is told as before. It is
//!   older than any other record of the two, so its signal is the first; and it withdraws no other's, as a DOWN would not.
//!
//! Shares: one for each half; a half's share travels with the request, or with the EXIT
//! that the dying side sends.

use core::mem::offset_of;
use core::ptr::NonNull;

use crate::hand::KernelCx;
use crate::list::{Linked, Links};
use crate::memory::NoMemory;
use crate::memory::pool::{self, Pool};
use crate::mutate::Mutation;
use crate::pid::{Pid, Reference};
use crate::reason::Reason;
use crate::set::{SetLinks, Member};
use crate::shares::RefCount;
use crate::signal::node::{SignalKind, Node};
use crate::sync::{AtomicU8, Cell, Ordering, UnsafeCell};

const LIVE: u8 = 0;
const FIRED: u8 = 1;
const CUT: u8 = 2;

/// One side of a link, in its owner's set.
#[derive(Debug)]
pub struct LinkEnd {
    joint: SetLinks<LinkEnd>,
    /// Whose it is.
    pub owner: Pid,
    /// The other side.
    pub peer: Pid,
    side: u8,
    /// The owner's: it is in the owner's set.
    held: Cell<bool>,
    /// The owner's: an EXIT that arrives is dropped.
    withdrawn: Cell<bool>,
    /// The owner's: it has let go of a record that is a monitor of it (K4), and finds it no more.
    hidden: Cell<bool>,
}

impl Member for LinkEnd {
    fn joint(&self) -> &SetLinks<Self> {
        &self.joint
    }

    fn key(&self) -> u64 {
        if self.hidden.get() { HIDDEN } else { self.peer.to_raw() }
    }
}

/// The key of what is not to be found: no pid is 0.
const HIDDEN: u64 = 0;

/// See the module. `repr(C)`: the exit node comes first.
#[derive(Debug)]
#[repr(C)]
pub struct Link {
    exit: Node,
    request: Node,
    place: Links<Link>,
    state: AtomicU8,
    shares: RefCount,
    /// Of the DOWN that the maker gets (K4).
    down: Option<Reference>,
    /// Written by who fires, before the push; read by who fetches.
    reason: UnsafeCell<Reason>,
    halves: [LinkEnd; 2],
}

impl Linked for Link {
    fn place(&self) -> &Links<Self> {
        &self.place
    }
}

unsafe fn release_exit(node: NonNull<Node>, pool: Option<&Pool>) {
    // SAFETY: the exit node heads a link; the share that travels with it is given up.
    unsafe { Link::give_up(node.cast(), pool) }
}

unsafe fn release_request(node: NonNull<Node>, pool: Option<&Pool>) {
    // SAFETY: a request node of a link; the share that travels with it is given up.
    unsafe { Link::give_up(Link::of_request(node), pool) }
}

impl Link {
    /// A live link with a share for each half; with `down` its maker's monitor of the other as well (K4).
    pub fn try_new(
        hand: &KernelCx<'_>,
        maker: Pid,
        other: Pid,
        down: Option<Reference>,
    ) -> Result<NonNull<Self>, NoMemory> {
        let half = |owner, peer, side| LinkEnd {
            joint: SetLinks::new(),
            owner,
            peer,
            side,
            held: Cell::new(false),
            withdrawn: Cell::new(false),
            hidden: Cell::new(false),
        };
        let link = Self {
            exit: hand.kernel.nodes.node(SignalKind::LinkExit, release_exit).ok_or(NoMemory)?,
            request: Node::new(SignalKind::LinkRequest, release_request),
            place: Links::new(),
            state: AtomicU8::new(LIVE),
            shares: RefCount::new(2),
            down,
            reason: UnsafeCell::new(Reason::NOPROC),
            halves: [half(maker, other, 0), half(other, maker, 1)],
        };
        hand.try_new(link).map_err(|_| NoMemory)
    }

    /// The request's node.
    pub fn request(this: NonNull<Self>) -> NonNull<Node> {
        // SAFETY: within the record.
        unsafe { this.byte_add(offset_of!(Self, request)).cast() }
    }

    /// The link of a request's node.
    pub fn of_request(node: NonNull<Node>) -> NonNull<Self> {
        // SAFETY: a request node lies within a `Link`.
        unsafe { node.byte_sub(offset_of!(Self, request)).cast() }
    }

    /// The half of the maker (0) or the other (1).
    pub fn half(this: NonNull<Self>, side: usize) -> NonNull<LinkEnd> {
        assert!(side < 2);
        // SAFETY: within the record.
        let halves = unsafe { this.byte_add(offset_of!(Self, halves)) }.cast::<LinkEnd>();
        // SAFETY: there are two.
        unsafe { halves.add(side) }
    }

    /// The half of `owner`, who is one of the two.
    pub fn half_of(this: NonNull<Self>, owner: Pid) -> NonNull<LinkEnd> {
        let maker = Self::half(this, 0);
        // SAFETY: the record is live: the caller has a share.
        if unsafe { maker.as_ref() }.owner == owner { maker } else { Self::half(this, 1) }
    }

    /// Whether it is in force for `info`.
    pub fn is_live(&self) -> bool {
        self.state.load(Ordering::Relaxed) == LIVE
    }

    /// Whether either side has unlinked.
    pub fn is_cut(&self) -> bool {
        self.state.load(Ordering::Relaxed) == CUT
    }

    /// (1) `by` died (or was never there): consumes the share of its half, and tells the other.
    /// Lock-free.
    ///
    /// # Safety
    /// The caller has that share, and no EXIT of this record was sent on behalf of `by` before.
    pub unsafe fn fire(this: NonNull<Self>, by: Pid, hand: &KernelCx<'_>, reason: &Reason) {
        // SAFETY: shared, so live.
        let link = unsafe { this.as_ref() };
        // AcqRel: pairs with the other exchanges of this word, whichever came first.
        let fired = link.state.compare_exchange(LIVE, FIRED, Ordering::AcqRel, Ordering::Acquire);
        if fired.is_err() && !hand.kernel.mutated(Mutation::FiresAnyway) {
            // SAFETY: the share is the caller's.
            return unsafe { Self::give_up(this, hand.pool()) };
        }
        // SAFETY: who fires owns the reason until the push.
        link.reason.with_mut(|place| unsafe { *place = reason.clone() });
        // SAFETY: live while we have a share.
        let to = unsafe { Self::half_of(this, by).as_ref() }.peer;
        // SAFETY: who fires owns the exit node; the share goes with it.
        unsafe { hand.deliver(to, this.cast()) };
    }

    /// (2) One side unlinks; false when an EXIT is (or was) on its way. Wait-free.
    pub fn cut(&self) -> bool {
        self.state.compare_exchange(LIVE, CUT, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Who died, and of what, as the fetched exit node of `receiver` says.
    ///
    /// # Safety
    /// The caller fetched the exit node as `receiver`.
    pub unsafe fn opened(this: NonNull<Self>, receiver: Pid) -> (Pid, Reason) {
        // SAFETY: the node's share keeps it.
        let link = unsafe { this.as_ref() };
        // SAFETY: written before the push that brought the node; not written again.
        let reason = link.reason.with(|reason| unsafe { (*reason).clone() });
        // SAFETY: within the record.
        (unsafe { Self::half_of(this, receiver).as_ref() }.peer, reason)
    }

    /// The reference of the DOWN that the owner of `half`, which is this record's, gets and not an EXIT (K4).
    pub fn down_to(&self, half: &LinkEnd) -> Option<Reference> {
        if half.side == 0 { self.down } else { None }
    }

    /// Gives up a share. Wait-free.
    ///
    /// # Safety
    /// The caller has it and does not use the record again.
    pub unsafe fn give_up(this: NonNull<Self>, pool: Option<&Pool>) {
        // SAFETY: shared, so live.
        let link = unsafe { this.as_ref() };
        if link.shares.give_up() {
            // Nothing; but a model sees here whether the other side is done with it.
            link.reason.with_mut(|_| ());
            // SAFETY: the last share.
            unsafe { pool::drop_and_free(this, pool) };
        }
    }
}

impl LinkEnd {
    /// The link of a half.
    pub fn link(this: NonNull<Self>) -> NonNull<Link> {
        // SAFETY: live: the caller has a share.
        let side = unsafe { this.as_ref() }.side as usize;
        // SAFETY: a half lies within a `Link`, at the place of its side.
        let first = unsafe { this.sub(side) };
        // SAFETY: likewise.
        unsafe { first.byte_sub(offset_of!(Link, halves)) }.cast()
    }

    /// Notes whether the owner's set holds it. The owner's.
    pub fn set_held(&self, held: bool) {
        self.held.set(held);
    }

    /// Whether the owner's set holds it. The owner's.
    pub fn is_held(&self) -> bool {
        self.held.get()
    }

    /// An EXIT that arrives from now on is dropped. The owner's.
    pub fn withdraw(&self) {
        self.withdrawn.set(true);
    }

    /// Whether its owner must not cut it, but can only let go of it (K4).
    pub fn is_watched(this: NonNull<Self>) -> bool {
        // SAFETY: live: the caller has a share.
        let is_child = unsafe { this.as_ref() }.side == 1;
        // SAFETY: likewise.
        is_child && unsafe { Self::link(this).as_ref() }.down.is_some()
    }

    /// Lets go of it (K4). The owner's, while it is in no set.
    pub fn hide(&self) {
        self.withdrawn.set(true);
        self.hidden.set(true);
    }

    /// Whether its owner has let go of it. The owner's.
    pub fn is_hidden(&self) -> bool {
        self.hidden.get()
    }

    /// Whether the owner wants no EXIT any more. The owner's.
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn.get()
    }
}
