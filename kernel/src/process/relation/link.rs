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
//! References: one for each end ([`EndRef`]). An end's reference travels with the request, or with
//! the EXIT that the dying side sends ([`LinkExit`]).
//!
//! - **K5.** A record is born as one reference of the initiator's end ([`EndRef`]) and one of the
//!   peer's ([`PeerEnd`]). An end's reference has the end's links in its owner's set. The `PeerEnd`
//!   has the request's node and the record's links on the peer's list, until it becomes an
//!   `EndRef`. (1) succeeds once, and turns the reference of the dead side's end into the
//!   `LinkExit`, which has the exit node.

use core::mem::{ManuallyDrop, offset_of};
use core::ops::Deref;
use core::ptr::NonNull;

use crate::intrusive::counted::{Counted, Ref};
use crate::intrusive::handle::{Embedded, Handle};
use crate::intrusive::list::{Linked, Links};
use crate::intrusive::record_set::{Member, SetLinks};
use crate::intrusive::refcount::RefCount;
use crate::memory::NoMemory;
use crate::memory::pool::{self, Pool};
use crate::mutation::{MutationSwitch, mutant};
use crate::pid::{Pid, Reference};
use crate::reason::Reason;
use crate::signal::held::{Headed, Held, HeldNode};
use crate::signal::node::{Budget, Node, SignalKind};
use crate::sync::{AtomicU8, Ordering, PlainAtomicBool, UnsafeCell};

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
    /// `true` if an EXIT that arrives is dropped. Only the owner touches it, as it does the next
    /// field, so Relaxed suffices.
    withdrawn: PlainAtomicBool,
    /// `true` if the owner has detached a record that monitors it (K4) and no longer finds it.
    hidden: PlainAtomicBool,
}

// SAFETY: the links are a field of the end. The key changes only in `EndRef::detach`, which has the
// end outside any set.
unsafe impl Member for LinkEnd {
    fn joint(&self) -> &SetLinks<Self> {
        &self.joint
    }

    fn key(&self) -> u64 {
        if self.is_detached() { DETACHED } else { self.peer.to_raw() }
    }
}

/// The key of an end that lookups must not find: no pid is 0.
const DETACHED: u64 = 0;

/// The record of a link, with both ends (see the module). `repr(C)`: the exit node comes first.
#[derive(Debug)]
#[repr(C)]
pub struct Link {
    exit: Node,
    request: LinkRequest,
    place: Links<Link>,
    state: AtomicU8,
    shares: RefCount,
    /// The reference of the DOWN that the initiator gets (K4).
    down: Option<Reference>,
    /// Written by the side that fires, before the push; read by the side that fetches.
    reason: UnsafeCell<Reason>,
    ends: [LinkEnd; 2],
}

/// The node of a link's request.
#[derive(Debug)]
#[repr(transparent)]
pub struct LinkRequest(Node);

// SAFETY: it is the node. Only request nodes of links are of this kind, and the reference that
// travels with a node keeps the record live.
unsafe impl Headed for LinkRequest {
    fn is_headed_by(kind: SignalKind) -> bool {
        kind == SignalKind::LinkRequest
    }
}

/// A link whose EXIT its holder has fetched: the link has fired.
#[derive(Debug)]
#[repr(transparent)]
pub struct LinkExit(Link);

// SAFETY: `repr(C)`, and the exit node is first. Only exit nodes of links are of this kind, and the
// reference that travels with a node keeps the record live.
unsafe impl Headed for LinkExit {
    fn is_headed_by(kind: SignalKind) -> bool {
        kind == SignalKind::LinkExit
    }
}

// SAFETY: the links are a field of the record, and only the peer's list uses them.
unsafe impl Linked for Link {
    fn place(&self) -> &Links<Self> {
        &self.place
    }
}

// SAFETY: the field `exit`, which is the only one of its type.
unsafe impl Embedded<Link> for Node {
    const OFFSET: usize = offset_of!(Link, exit);
}

// SAFETY: the field `request`, which is the only one of its type.
unsafe impl Embedded<Link> for LinkRequest {
    const OFFSET: usize = offset_of!(Link, request);
}

// SAFETY: the field `ends`, which is the only one of its type.
unsafe impl Embedded<Link> for [LinkEnd; 2] {
    const OFFSET: usize = offset_of!(Link, ends);
}

// SAFETY: `new` counts two references. The orderings are `RefCount`'s.
unsafe impl Counted for Link {
    const BORN: usize = 2;

    fn add_ref(&self) {
        self.shares.add();
    }

    #[inline]
    fn drop_ref(&self) -> bool {
        self.shares.release()
    }

    unsafe fn free(this: NonNull<Self>, pool: Option<&Pool>) {
        // SAFETY: the last reference is released (this function's contract), so the record is the
        // caller's, and live until it is freed below.
        // A no-op, except that a model checks here that the other side no longer uses it.
        unsafe { this.as_ref() }.reason.with_mut(|_| ());
        // SAFETY: the record is the caller's, and not used again.
        unsafe { pool::drop_and_free(this, pool) };
    }
}

// SAFETY: the record is not tied to a thread.
unsafe impl Send for Link {}
// SAFETY: the fields are constant or atomic, except for the nodes, the links and the reason, each
// of which belongs to one reference at a time (K5).
unsafe impl Sync for Link {}

unsafe fn release_exit(node: NonNull<Node>, pool: Option<&Pool>) {
    // SAFETY: the exit node heads a link; the reference that travels with it is released.
    unsafe { Ref::<Link>::of_field(node) }.release(pool);
}

unsafe fn release_request(node: NonNull<Node>, pool: Option<&Pool>) {
    // SAFETY: a request node of a link; the reference that travels with it is released.
    unsafe { Ref::<Link>::of_field(node.cast::<LinkRequest>()) }.release(pool);
}

impl Link {
    /// Creates a live link that counts a reference for each end. With `down` it is also its
    /// initiator's monitor of `other` (K4).
    #[inline(always)]
    fn new(nodes: &Budget, maker: Pid, other: Pid, down: Option<Reference>) -> Result<Self, NoMemory> {
        let end = |owner, peer, side| LinkEnd {
            joint: SetLinks::new(),
            owner,
            peer,
            side,
            withdrawn: PlainAtomicBool::new(false),
            hidden: PlainAtomicBool::new(false),
        };
        Ok(Self {
            exit: nodes.node(SignalKind::LinkExit, release_exit).ok_or(NoMemory)?,
            request: LinkRequest(Node::new(SignalKind::LinkRequest, release_request)),
            place: Links::new(),
            state: AtomicU8::new(LIVE),
            shares: RefCount::new(2),
            down,
            reason: UnsafeCell::new(Reason::NOPROC),
            ends: [end(maker, other, 0), end(other, maker, 1)],
        })
    }

    /// Allocates a live link. Returns the references of the initiator's end and of the peer's. With
    /// `down` it is also its initiator's monitor of `other` (K4).
    #[inline(always)]
    pub(crate) fn try_new(
        (nodes, pool): (&Budget, Option<&Pool>),
        maker: Pid,
        other: Pid,
        down: Option<Reference>,
    ) -> Result<(EndRef, PeerEnd), NoMemory> {
        let (link, peer) = Ref::try_pair(Self::new(nodes, maker, other, down)?, pool).map_err(|_| NoMemory)?;
        Ok((EndRef::of(link, false), PeerEnd(peer)))
    }

    /// Returns the end of `owner`, which is one of the two processes.
    #[inline]
    fn end_of(&self, owner: Pid) -> &LinkEnd {
        let [maker, peer] = &self.ends;
        if maker.owner == owner { maker } else { peer }
    }

    /// Returns the process that has made the link.
    pub fn maker(&self) -> Pid {
        self.ends[0].owner
    }

    /// Returns `true` if the link is in force, for `info`.
    pub fn is_live(&self) -> bool {
        self.state.load(Ordering::Relaxed) == LIVE
    }

    /// Returns `true` if either side has unlinked.
    pub fn is_unlinked(&self) -> bool {
        self.state.load(Ordering::Relaxed) == UNLINKED
    }

    /// (2) Unlinks one side. Returns `false` if an EXIT is (or was) in transit. Wait-free.
    pub fn unlink(&self) -> bool {
        self.state.compare_exchange(LIVE, UNLINKED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl LinkEnd {
    /// Drops any EXIT that arrives from now on. Only the owner may call it.
    pub fn ignore_exit(&self) {
        self.withdrawn.store(true, Ordering::Relaxed);
    }

    /// Returns `true` if its owner has detached this end. Only the owner may call it.
    pub fn is_detached(&self) -> bool {
        self.hidden.load(Ordering::Relaxed)
    }

    /// Returns `true` if the owner ignores EXITs of this link. Only the owner may call it.
    pub fn ignores_exit(&self) -> bool {
        self.withdrawn.load(Ordering::Relaxed)
    }
}

/// The reference of one end of a link, as a pointer to the end: it is what the owner's set links.
#[derive(Debug)]
pub struct EndRef(NonNull<LinkEnd>);

// SAFETY: it is a reference to the link, which any thread may have.
unsafe impl Send for EndRef {}
// SAFETY: it is a reference to the link, which any thread may have.
unsafe impl Sync for EndRef {}

impl EndRef {
    /// Makes a reference to the link that of the peer's end, or of the initiator's.
    #[inline(always)]
    fn of(link: Ref<Link>, is_peers: bool) -> Self {
        let ends: NonNull<[LinkEnd; 2]> = link.into_field();
        // SAFETY: there are two ends.
        Self(unsafe { ends.cast::<LinkEnd>().add(usize::from(is_peers)) })
    }

    #[inline(always)]
    fn ends(&self) -> NonNull<[LinkEnd; 2]> {
        // SAFETY: an end lies among the two ends of its link, at the index of its side.
        unsafe { self.0.sub(usize::from(self.side)) }.cast()
    }

    /// Converts it into a reference to the link.
    #[inline(always)]
    fn into_link(self) -> Ref<Link> {
        let ends = ManuallyDrop::new(self).ends();
        // SAFETY: `of` made the pointer, with the reference.
        unsafe { Ref::of_field(ends) }
    }

    /// Returns the link of the end.
    #[inline(always)]
    pub fn link(&self) -> &Link {
        // SAFETY: `of` made the pointer from one to the link.
        let link = unsafe { Embedded::<Link>::record(self.ends()) };
        // SAFETY: this reference keeps the link live.
        unsafe { link.as_ref() }
    }

    /// Returns `true` if its owner must not unlink the record, but may only detach it (K4).
    pub fn is_watched(&self) -> bool {
        self.side == 1 && self.link().down.is_some()
    }

    /// Detaches this end (K4), which is in no set.
    pub fn detach(&mut self) {
        self.withdrawn.store(true, Ordering::Relaxed);
        self.hidden.store(true, Ordering::Relaxed);
    }

    /// (1) Decides that the link fires, because the end's owner died or never existed. Returns the
    /// EXIT, which the caller sends to the peer; or the reference, if the link has fired or was
    /// unlinked.
    #[inline(always)]
    pub(crate) fn fire(self, reason: &Reason, mutations: MutationSwitch) -> Result<HeldNode, Self> {
        // AcqRel: pairs with the other exchanges of this word, in either order.
        let fired = self.link().state.compare_exchange(LIVE, FIRED, Ordering::AcqRel, Ordering::Acquire);
        if mutant!(mutations, FiresAnyway, right => fired.is_err(), wrong => false) {
            return Err(self);
        }
        let link = self.into_link();
        // SAFETY: K5: the reference that fired the link has the reason until the push.
        link.reason.with_mut(|place| unsafe { *place = reason.clone() });
        // SAFETY: H1, K5: the reference that fired the link has the exit node, which is in no
        // queue, and goes with it.
        Ok(unsafe { HeldNode::from_raw(link.into_field()) })
    }

    /// Releases the end's reference. Wait-free.
    #[inline]
    pub fn release(self, pool: Option<&Pool>) {
        self.into_link().release(pool);
    }
}

impl Deref for EndRef {
    type Target = LinkEnd;

    #[inline(always)]
    fn deref(&self) -> &LinkEnd {
        // SAFETY: this reference keeps the link live, of which the end is a part.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for EndRef {
    fn drop(&mut self) {
        drop(Self(self.0).into_link());
    }
}

// SAFETY: E1: K5, an end has one reference. E2: the reference keeps the record live.
unsafe impl Handle for EndRef {
    type Record = LinkEnd;

    #[inline(always)]
    fn into_raw(self) -> NonNull<LinkEnd> {
        ManuallyDrop::new(self).0
    }

    #[inline(always)]
    unsafe fn from_raw(end: NonNull<LinkEnd>) -> Self {
        Self(end)
    }
}

/// The reference of the peer's end of a new link, on its way to the peer's set.
#[derive(Debug)]
pub struct PeerEnd(Ref<Link>);

impl PeerEnd {
    /// Converts it into the end's reference, which can be in the set, or fire.
    pub fn into_end(self) -> EndRef {
        EndRef::of(self.0, true)
    }

    /// Converts the reference into the node of a request to the peer.
    pub(crate) fn into_request(self) -> HeldNode {
        let node: NonNull<LinkRequest> = self.0.into_field();
        // SAFETY: H1, K5: this reference has the node, which is in no queue, and goes with it.
        unsafe { HeldNode::from_raw(node.cast()) }
    }

    /// Converts a request that was received, or refused, back.
    pub(crate) fn of_request(request: Held<LinkRequest>) -> Self {
        // SAFETY: the reference travelled with the node.
        Self(unsafe { Ref::of_field(request.into_raw()) })
    }

    /// Releases the reference. Wait-free.
    pub fn release(self, pool: Option<&Pool>) {
        self.0.release(pool);
    }
}

impl Deref for PeerEnd {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.0
    }
}

// SAFETY: E1: K5. E2: the reference keeps the record live.
unsafe impl Handle for PeerEnd {
    type Record = Link;

    fn into_raw(self) -> NonNull<Link> {
        self.0.into_raw()
    }

    unsafe fn from_raw(record: NonNull<Link>) -> Self {
        // SAFETY: the pointer came from `into_raw`, with the reference (this function's contract).
        Self(unsafe { Ref::from_raw(record) })
    }
}

impl LinkExit {
    /// Returns the end of `receiver`, the process that the EXIT goes to.
    pub fn end_of(&self, receiver: Pid) -> &LinkEnd {
        self.0.end_of(receiver)
    }

    /// Returns the exit reason of the dead process.
    pub fn reason(&self) -> Reason {
        // SAFETY: K5: the reason was written before the push that brought the EXIT, and is not
        // written again.
        self.0.reason.with(|reason| unsafe { (*reason).clone() })
    }

    /// Returns the reference of the DOWN that `receiver` gets instead of an EXIT (K4), if any.
    pub fn down_to(&self, receiver: Pid) -> Option<Reference> {
        if self.end_of(receiver).side == 0 { self.0.down } else { None }
    }
}
