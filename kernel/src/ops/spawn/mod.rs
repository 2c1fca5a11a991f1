//! Birth: how a process is created, according to its [`SpawnOptions`].
//!
//! Every step that can fail comes before the process is published. After that no step can fail, and
//! links, monitors, flags and the name are in force before its first instruction.

pub(crate) mod options;
pub(crate) mod relations;

use crate::kernel::Kernel;
use crate::kernel::kernel_cx::KernelCx;
use crate::kernel::slice::Slice;
use crate::kernel_ptr::KernelPtr;
use crate::mailbox::limit::OptionalLimit;
use crate::memory::NoMemory;
use crate::pid::Reference;
use crate::process::header::{ANY_CORE, NewHeader};
use crate::process::name::NameEntry;
use crate::process::process_ref::ProcessRef;
use crate::process::table::{Claim, FreeSlots, HeldSlot};
use crate::process::vtable::{ErasedBody, Process};
use crate::reason::Reason;

pub use crate::ops::spawn::options::{Priority, SpawnError, SpawnOptions, Spawned};
use crate::ops::spawn::relations::SpawnRelations;

/// The process that spawns.
pub(crate) struct Parent<'a, 'p> {
    /// The parent process.
    pub process: ParentProcess<'a, 'p>,
    /// The reference of the monitor, if one is requested.
    pub reference: Option<Reference>,
}

/// The parent process, and the right that the caller has to it.
pub(crate) enum ParentProcess<'a, 'p> {
    /// The parent's body calls, in this slice.
    Running(&'a Slice<'p>),
    /// The caller does not own the parent: the parent's sides go to it as queued operations.
    ByProxy(ProcessRef<'p>),
}

impl<'p> Parent<'_, 'p> {
    /// Returns the parent process.
    pub(crate) fn process(&self) -> ProcessRef<'p> {
        match &self.process {
            ParentProcess::Running(slice) => slice.process(),
            ParentProcess::ByProxy(process) => *process,
        }
    }

    /// Returns `true` if the parent's sides go to it as queued operations.
    pub(crate) fn is_by_proxy(&self) -> bool {
        matches!(self.process, ParentProcess::ByProxy(_))
    }
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

    fn release(&mut self, kernel: &Kernel, slot: HeldSlot) {
        match self {
            Self::Core(core) => core.release(kernel, slot),
            Self::Host(slots) => {
                kernel.table.release(slot, slots);
                kernel.return_credit(1);
            }
        }
    }
}

/// Starts a process. Lock-free, except when the table grows.
pub(crate) fn spawn<B: ErasedBody>(
    kernel_cx: &KernelCx<'_>,
    mut slots: SlotSource<'_>,
    parent: Option<Parent<'_, '_>>,
    options: &SpawnOptions<'_>,
    body: B,
) -> Result<Spawned, SpawnError> {
    let kernel = kernel_cx.kernel;
    let (limit, entry) = match check(kernel, parent.as_ref(), options) {
        Ok(checked) => checked,
        Err(error) => return refuse(kernel_cx, body, error),
    };
    let Claim { slot, tombstone } = match slots.claim(kernel) {
        Ok(claim) => claim,
        Err(error) => return refuse(kernel_cx, body, error),
    };
    // Most processes are neither linked with nor monitored by their parent.
    let parent = parent.as_ref().filter(|parent| options.link || parent.reference.is_some());
    let mut ties = None;
    if let Some(parent) = parent
        && SpawnRelations::make(&mut ties, kernel_cx, options, parent, slot.pid()).is_err()
    {
        roll_back(kernel_cx, &mut slots, slot, tombstone);
        return refuse(kernel_cx, body, SpawnError::NoMemory);
    }
    let Ok(memory) = kernel_cx.try_alloc::<Process<B>>() else {
        release_ties(kernel_cx, ties);
        roll_back(kernel_cx, &mut slots, slot, tombstone);
        return refuse(kernel_cx, body, SpawnError::NoMemory);
    };
    let pid = slot.pid();
    let header = NewHeader {
        kernel: KernelPtr::of(kernel),
        pid,
        tombstone,
        vtable: B::VTABLE,
        limit,
        priority: options.priority as u8,
        core: options.core.map_or(ANY_CORE, |core| core as u16),
        trap_exit: options.trap_exit,
        proxy: options.proxy,
    };
    // SAFETY: fresh memory. The process is published, queued and retired no earlier than under a
    // guard, of which this call has one.
    let mut child = unsafe { Process::write(memory, header, body) };
    if let Some(entry) = entry
        && let Err(error) = entry.reserve_for_newborn(child.process())
    {
        release_ties(kernel_cx, ties);
        let (child, body) = child.take_body();
        body.into_iter().for_each(|body| kernel_cx.catch_panic(|| body.run()));
        // SAFETY: never published, and a reservation shows it to no thread.
        let tombstone = unsafe { child.discard_unpublished(kernel_cx.pool()) };
        roll_back(kernel_cx, &mut slots, slot, tombstone);
        return Err(SpawnError::Name(error));
    }
    if let (Some(ties), Some(parent)) = (&mut ties, parent) {
        ties.tie(parent, &mut child, kernel_cx);
    }
    kernel.table.publish(slot, child.process());
    if let Some(entry) = entry {
        // After its pid leads to it, so that a thread that finds it by name can reach it; and
        // before it can die.
        entry.confirm_newborn(child.process(), kernel.mutations);
    }
    if let (Some(ties), Some(Parent { process: ParentProcess::ByProxy(process), .. })) = (&mut ties, parent) {
        ties.send_to_parent(*process, kernel_cx);
    }
    // All of it was taken out; a drop would look at each part.
    core::mem::forget(ties);
    kernel_cx.schedule_newborn(child);
    Ok(Spawned { pid, monitor: parent.and_then(|parent| parent.reference) })
}

/// Performs the checks that need no allocation of the process.
#[inline(always)]
fn check<'k>(
    kernel: &'k Kernel,
    parent: Option<&Parent<'_, '_>>,
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

#[cold]
#[inline(never)]
fn release_ties(kernel_cx: &KernelCx<'_>, ties: Option<SpawnRelations>) {
    ties.into_iter().for_each(|ties| ties.release(kernel_cx));
}

/// Returns a slot that no process was published in, with the tombstone that it had. A reader that
/// found the tombstone is done before the slot is claimed again: the generation has moved on, and a
/// reader that cloned the reason holds a count.
fn roll_back(kernel_cx: &KernelCx<'_>, slots: &mut SlotSource<'_>, slot: HeldSlot, tombstone: Option<Reason>) {
    kernel_cx.kernel.table.put_tombstone(&slot, tombstone.unwrap_or(Reason::NOPROC));
    slots.release(kernel_cx.kernel, slot);
}
