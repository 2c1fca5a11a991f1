//! Birth: how a process comes to be, as its [`SpawnOptions`] say.
//!
//! Everything that can fail is done before the process is published; from then on nothing
//! can, and links, monitors, flags and the name hold before its first instruction.

mod options;
mod ties;

use core::mem::offset_of;
use core::ptr::{self, NonNull};

use crate::bound::OptionalLimit;
use crate::hand::KernelCx;
use crate::kernel::Kernel;
use crate::mailbox::Mailbox;
use crate::memory::NoMemory;
use crate::memory::pool::{self, Pool};
use crate::name::NameEntry;
use crate::pid::{Pid, Reference};
use crate::process::body::{Body, Process};
use crate::process::header::{self, Header};
use crate::process::private::OwnerState;
use crate::reason::Reason;
use crate::reclaim::Retired;
use crate::roll::SweepList;
use crate::runq::node::RunNode;
use crate::signal::node::{SignalKind, Node};
use crate::sync::{AtomicBool, AtomicPtr, AtomicUsize, PlainAtomicBool, UnsafeCell};
use crate::table::{Claim, FreeSlots};

pub use options::{Priority, SpawnError, SpawnOptions, Spawned};
use ties::SpawnRelations;

unsafe fn reclaim(retired: NonNull<Retired>, pool: Option<&Pool>) {
    // SAFETY: only headers' `retired` are given this function.
    let header = unsafe { retired.byte_sub(offset_of!(Header, retired)).cast::<Header>() };
    // SAFETY: the table's share: out of everybody's reach.
    unsafe { Header::give_up_table(header, pool) };
}

/// The process that spawns.
pub(crate) struct Parent<'a> {
    /// Who.
    pub process: &'a Header,
    /// For the monitor, if one is asked for.
    pub reference: Option<Reference>,
    /// The caller does not own it: its sides of the ties go to it by proxy.
    pub by_proxy: bool,
}

/// What a spawn counts in and takes slots from: a core's own, or the host's.
pub(crate) enum SlotSource<'a> {
    Core(&'a crate::sched::local::CoreLocal),
    Host(&'a mut FreeSlots),
}

impl SlotSource<'_> {
    fn claim(&mut self, kernel: &Kernel) -> Result<Claim, SpawnError> {
        match self {
            // The parent is a process, so a kernel that is closed meanwhile is not empty before its child is seen.
            Self::Core(core) => Ok(core.claim(kernel)?),
            Self::Host(slots) => {
                let credit = kernel.take_credit()?;
                if kernel.is_closed_to_the_counted() {
                    kernel.return_credit(credit);
                    return Err(SpawnError::Closing);
                }
                kernel.return_credit(credit - 1);
                Ok(kernel.table.claim(slots).inspect_err(|_| kernel.return_credit(1))?)
            }
        }
    }

    fn release(&mut self, kernel: &Kernel, pid: Pid) {
        match self {
            Self::Core(core) => core.release(kernel, pid),
            Self::Host(slots) => {
                kernel.table.release(pid, slots);
                kernel.return_credit(1);
            }
        }
    }
}

/// Starts a process. Lock-free but for growing the table.
pub(crate) fn spawn<B: Body>(
    hand: &KernelCx<'_>,
    mut slots: SlotSource<'_>,
    parent: Option<Parent<'_>>,
    options: &SpawnOptions<'_>,
    body: B,
) -> Result<Spawned, SpawnError> {
    let kernel = hand.kernel;
    let (bound, entry) = match check(kernel, parent.as_ref(), options) {
        Ok(checked) => checked,
        Err(error) => return refuse(hand, body, error),
    };
    let Ok(memory) = hand.try_alloc::<Process<B>>() else { return refuse(hand, body, SpawnError::NoMemory) };
    let claim = match slots.claim(kernel) {
        Ok(claim) => claim,
        Err(error) => {
            // SAFETY: allocated above, nothing written.
            unsafe { pool::free(memory, hand.pool()) };
            return refuse(hand, body, error);
        }
    };
    // Most are tied to nobody.
    let parent = parent.as_ref().filter(|parent| options.link || parent.reference.is_some());
    let mut ties = SpawnRelations::NONE;
    if let Some(parent) = parent
        && ties.make(hand, options, parent, claim.pid).is_err()
    {
        undo(hand, &mut slots, &claim);
        // SAFETY: allocated above, nothing written.
        unsafe { pool::free(memory, hand.pool()) };
        return refuse(hand, body, SpawnError::NoMemory);
    }
    // Part after part, where it is to stay: a whole process is several cache lines to copy.
    // SAFETY: within fresh memory of this layout.
    let place = unsafe { &raw mut (*memory.as_ptr()).body };
    // SAFETY: likewise.
    unsafe { place.write(UnsafeCell::new(body)) };
    let process = memory.cast::<Header>();
    // SAFETY: likewise.
    unsafe { write_header::<B>(process, kernel, options, bound, &claim) };
    // For `Header::whole`.
    let _ = process.as_ptr().expose_provenance();
    // SAFETY: initialised; ours until it is published.
    let child = unsafe { process.as_ref() };
    if let Some(entry) = entry
        && let Err(error) = entry.reserve_for_newborn(child)
    {
        ties.give_up(hand);
        undo(hand, &mut slots, &claim);
        // SAFETY: never published, and a reservation shows it to nobody: ours alone. The
        // slot has the tombstone again.
        child.predecessor.with_mut(|word| unsafe { *word = ptr::null_mut() });
        // SAFETY: ours, once.
        child.vtable.drop_body.into_iter().for_each(|drop_body| hand.catch_panic(|| unsafe { drop_body(process) }));
        // SAFETY: the only share.
        unsafe { Header::give_up_table(process, hand.pool()) };
        return Err(SpawnError::Name(error));
    }
    ties.tie(parent, child, hand);
    kernel.table.publish(process, claim.pid);
    if let Some(entry) = entry {
        // After its pid leads to it, so that who finds it by name can reach it; before it can die.
        entry.confirm_newborn(child, kernel);
    }
    if let Some(parent) = parent.filter(|parent| parent.by_proxy) {
        ties.hand_over(parent, hand);
    }
    hand.schedule_newborn(child);
    Ok(Spawned { pid: claim.pid, monitor: parent.and_then(|parent| parent.reference) })
}

/// What can be told before anything is made.
#[inline(always)]
fn check<'k>(
    kernel: &'k Kernel,
    parent: Option<&Parent<'_>>,
    options: &SpawnOptions<'_>,
) -> Result<(OptionalLimit, Option<&'k NameEntry>), SpawnError> {
    if kernel.is_closing() {
        return Err(SpawnError::Closing);
    }
    if parent.is_none() && (options.link || options.monitor || options.supervised) {
        return Err(SpawnError::NoParent);
    }
    if options.core.is_some_and(|core| core >= kernel.cores()) {
        return Err(SpawnError::NoSuchCore);
    }
    let bound =
        OptionalLimit::try_new(options.mailbox_limit, options.overflow).map_err(|NoMemory| SpawnError::NoMemory)?;
    let entry = options.name.map(|name| kernel.names.intern(name)).transpose().map_err(SpawnError::Name)?;
    Ok((bound, entry))
}

/// There is no process, and its body is dropped without having run. Its destructor is foreign; its spawner gets the error.
#[cold]
#[inline(never)]
fn refuse<B>(hand: &KernelCx<'_>, body: B, error: SpawnError) -> Result<Spawned, SpawnError> {
    hand.catch_panic(|| drop(body));
    Err(error)
}

fn undo(hand: &KernelCx<'_>, slots: &mut SlotSource<'_>, claim: &Claim) {
    // SAFETY: taken out by the claim, given back once. A reader that found it is done when
    // the slot is claimed again: its generation has moved on, and it holds a count if it cloned.
    let tombstone = unsafe { Reason::from_word(claim.tombstone) };
    hand.kernel.table.vacate(claim.pid, tombstone.unwrap_or(Reason::NOPROC));
    slots.release(hand.kernel, claim.pid);
}

/// Writes a new process's header, field after field: a whole one would be made elsewhere and copied.
///
/// # Safety
/// `process` is fresh memory of a header's layout.
#[inline(always)]
unsafe fn write_header<B: Body>(
    process: NonNull<Header>,
    kernel: &Kernel,
    options: &SpawnOptions<'_>,
    bound: OptionalLimit,
    claim: &Claim,
) {
    /// The nodes of a wake and of a kill are parts of their process: nothing to free.
    unsafe fn part_of_the_process(_: NonNull<Node>, _: Option<&Pool>) {}
    macro_rules! write {
        ($($field:ident: $value:expr),* $(,)?) => {
            // None is left out.
            let _ = |header: Header| {
                let Header { $($field: _),* } = header;
            };
            $(
                // SAFETY: within the header, by contract.
                let place = unsafe { &raw mut (*process.as_ptr()).$field };
                // SAFETY: likewise.
                unsafe { place.write($value) };
            )*
        };
    }
    write! {
        run: RunNode::new(options.priority as u8),
        mailbox: Mailbox::of(bound.get().is_some()),
        pid: claim.pid,
        limit: bound,
        vtable: Process::<B>::VTABLE,
        private: UnsafeCell::new(OwnerState::new()),
        core: options.core.map_or(u32::MAX, |core| core as u32),
        watchers: SweepList::new(),
        links: SweepList::new(),
        name: AtomicPtr::new(ptr::null_mut()),
        reason: UnsafeCell::new(Reason::NOPROC),
        wake: Node::new(SignalKind::Wake, part_of_the_process),
        waking: AtomicBool::new(false),
        killed: AtomicBool::new(false),
        trap_exit: AtomicBool::new(options.trap_exit),
        context_gone: PlainAtomicBool::new(false),
        shares: AtomicUsize::new(header::TABLE),
        kernel: NonNull::from(kernel),
        retired: Retired::new(reclaim),
        predecessor: UnsafeCell::new(claim.tombstone),
    }
}
