//! Birth: how a process is created, according to its [`SpawnOptions`].
//!
//! Every step that can fail comes before the process is published. After that no step can fail, and
//! links, monitors, flags and the name are in force before its first instruction.

pub(crate) mod options;
pub(crate) mod relations;

use core::mem::offset_of;
use core::ptr::{self, NonNull};

use crate::intrusive::sweep_list::SweepList;
use crate::kernel::Kernel;
use crate::kernel::kernel_cx::KernelCx;
use crate::kernel_ptr::KernelPtr;
use crate::mailbox::Mailbox;
use crate::mailbox::limit::OptionalLimit;
use crate::memory::NoMemory;
use crate::memory::pool::{self, Pool};
use crate::pid::{Pid, Reference};
use crate::process::header::{self, Header};
use crate::process::name::NameEntry;
use crate::process::owned::OwnerState;
use crate::process::table::{Claim, FreeSlots};
use crate::process::vtable::{ErasedBody, Process};
use crate::reason::Reason;
use crate::reclaim::Retired;
use crate::runq::node::RunNode;
use crate::signal::node::{Node, SignalKind};
use crate::sync::{AtomicBool, AtomicPtr, AtomicUsize, PlainAtomicBool, UnsafeCell};

pub use crate::ops::spawn::options::{Priority, SpawnError, SpawnOptions, Spawned};
use crate::ops::spawn::relations::SpawnRelations;

unsafe fn reclaim(retired: NonNull<Retired>, pool: Option<&Pool>) {
    // SAFETY: only the `retired` field of headers has this function.
    let header = unsafe { retired.byte_sub(offset_of!(Header, retired)).cast::<Header>() };
    // SAFETY: the table's reference: no thread can reach the process now.
    unsafe { Header::release_table_ref(header, pool) };
}

/// The process that spawns.
pub(crate) struct Parent<'a> {
    /// The parent process.
    pub process: &'a Header,
    /// The reference of the monitor, if one is requested.
    pub reference: Option<Reference>,
    /// `true` if the caller does not own the parent: the parent's sides go to it as queued
    /// operations.
    pub by_proxy: bool,
}

/// The source of slots and credit for a spawn: a core's own, or the host's.
pub(crate) enum SlotSource<'a> {
    Core(&'a crate::kernel::core_local::CoreLocal),
    Host(&'a mut FreeSlots),
}

impl SlotSource<'_> {
    fn claim(&mut self, kernel: &Kernel) -> Result<Claim, SpawnError> {
        match self {
            // The parent is a process, so a kernel that closes at the same time is not empty before
            // its child is visible.
            Self::Core(core) => Ok(core.claim(kernel)?),
            Self::Host(slots) => {
                let credit = kernel.take_credit()?;
                if kernel.is_closed_fenced() {
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

/// Starts a process. Lock-free, except when the table grows.
pub(crate) fn spawn<B: ErasedBody>(
    kernel_cx: &KernelCx<'_>,
    mut slots: SlotSource<'_>,
    parent: Option<Parent<'_>>,
    options: &SpawnOptions<'_>,
    body: B,
) -> Result<Spawned, SpawnError> {
    let kernel = kernel_cx.kernel;
    let (bound, entry) = match check(kernel, parent.as_ref(), options) {
        Ok(checked) => checked,
        Err(error) => return refuse(kernel_cx, body, error),
    };
    let Ok(memory) = kernel_cx.try_alloc::<Process<B>>() else { return refuse(kernel_cx, body, SpawnError::NoMemory) };
    let claim = match slots.claim(kernel) {
        Ok(claim) => claim,
        Err(error) => {
            // SAFETY: allocated above, and nothing is written there.
            unsafe { pool::free(memory, kernel_cx.pool()) };
            return refuse(kernel_cx, body, error);
        }
    };
    // Most processes are neither linked with nor monitored by their parent.
    let parent = parent.as_ref().filter(|parent| options.link || parent.reference.is_some());
    let mut ties = SpawnRelations::NONE;
    if let Some(parent) = parent
        && ties.make(kernel_cx, options, parent, claim.pid).is_err()
    {
        roll_back(kernel_cx, &mut slots, &claim);
        // SAFETY: allocated above, and nothing is written there.
        unsafe { pool::free(memory, kernel_cx.pool()) };
        return refuse(kernel_cx, body, SpawnError::NoMemory);
    }
    // Field by field, in the final place: copying a whole process takes several cache lines.
    // SAFETY: within fresh memory of this layout.
    let place = unsafe { &raw mut (*memory.as_ptr()).body };
    // SAFETY: within fresh memory of this layout.
    unsafe { place.write(UnsafeCell::new(body)) };
    let process = memory.cast::<Header>();
    // SAFETY: fresh memory, which starts with a header's layout.
    unsafe { write_header::<B>(process, kernel, options, bound, &claim) };
    // Exposes the provenance for `Header::whole`.
    let _ = process.as_ptr().expose_provenance();
    // SAFETY: initialised above, and ours until it is published.
    let child = unsafe { process.as_ref() };
    if let Some(entry) = entry
        && let Err(error) = entry.reserve_for_newborn(child)
    {
        ties.release(kernel_cx);
        roll_back(kernel_cx, &mut slots, &claim);
        // SAFETY: never published, and a reservation shows it to no thread: ours alone. The slot
        // has the tombstone again.
        child.predecessor.with_mut(|word| unsafe { *word = ptr::null_mut() });
        // SAFETY: P1: never published, so ours; called once.
        child
            .vtable
            .drop_body
            .into_iter()
            .for_each(|drop_body| kernel_cx.catch_panic(|| unsafe { drop_body(process) }));
        // SAFETY: this is the only reference.
        unsafe { Header::release_table_ref(process, kernel_cx.pool()) };
        return Err(SpawnError::Name(error));
    }
    ties.tie(parent, child, kernel_cx);
    kernel.table.publish(process, claim.pid);
    if let Some(entry) = entry {
        // After its pid leads to it, so that a thread that finds it by name can reach it; and
        // before it can die.
        entry.confirm_newborn(child, kernel.mutations);
    }
    if let Some(parent) = parent.filter(|parent| parent.by_proxy) {
        ties.send_to_parent(parent, kernel_cx);
    }
    kernel_cx.schedule_newborn(child);
    Ok(Spawned { pid: claim.pid, monitor: parent.and_then(|parent| parent.reference) })
}

/// Performs the checks that need no allocation of the process.
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

/// Fails the spawn: drops the body, which has not run. Its destructor is foreign; the spawner gets
/// the error.
#[cold]
#[inline(never)]
fn refuse<B>(kernel_cx: &KernelCx<'_>, body: B, error: SpawnError) -> Result<Spawned, SpawnError> {
    kernel_cx.catch_panic(|| drop(body));
    Err(error)
}

fn roll_back(kernel_cx: &KernelCx<'_>, slots: &mut SlotSource<'_>, claim: &Claim) {
    // SAFETY: the claim took it out of the slot; returned once. A reader that found it is done
    // before the slot is claimed again: the generation has moved on, and a reader that cloned the
    // reason holds a count.
    let tombstone = unsafe { Reason::from_raw(claim.tombstone) };
    kernel_cx.kernel.table.vacate(claim.pid, tombstone.unwrap_or(Reason::NOPROC));
    slots.release(kernel_cx.kernel, claim.pid);
}

/// Writes a new process's header, field by field: a whole one would be built elsewhere and copied.
///
/// # Safety
/// `process` is fresh memory of a header's layout.
#[inline(always)]
unsafe fn write_header<B: ErasedBody>(
    process: NonNull<Header>,
    kernel: &Kernel,
    options: &SpawnOptions<'_>,
    bound: OptionalLimit,
    claim: &Claim,
) {
    /// A no-op: the nodes of a wake and of a kill are parts of their process.
    unsafe fn embedded_node(_: NonNull<Node>, _: Option<&Pool>) {}
    macro_rules! write {
        ($($field:ident: $value:expr),* $(,)?) => {
            // This pattern proves that no field is left out.
            let _ = |header: Header| {
                let Header { $($field: _),* } = header;
            };
            $(
                // SAFETY: `process` has a header's layout (this function's contract).
                let place = unsafe { &raw mut (*process.as_ptr()).$field };
                // SAFETY: `process` is fresh memory of a header's layout (this function's
                // contract).
                unsafe { place.write($value) };
            )*
        };
    }
    write! {
        run: RunNode::new(options.priority as u8),
        mailbox: Mailbox::of(bound.get().is_some()),
        pid: claim.pid,
        limit: bound,
        vtable: B::VTABLE,
        private: UnsafeCell::new(OwnerState::new()),
        core: options.core.map_or(u32::MAX, |core| core as u32),
        watchers: SweepList::new(),
        links: SweepList::new(),
        name: AtomicPtr::new(ptr::null_mut()),
        reason: UnsafeCell::new(Reason::NOPROC),
        wake: Node::new(SignalKind::Wake, embedded_node),
        waking: AtomicBool::new(false),
        killed: AtomicBool::new(false),
        trap_exit: AtomicBool::new(options.trap_exit),
        context_gone: PlainAtomicBool::new(false),
        shares: AtomicUsize::new(header::TABLE),
        kernel: KernelPtr::of(kernel),
        retired: Retired::new(reclaim),
        predecessor: UnsafeCell::new(claim.tombstone),
    }
}
