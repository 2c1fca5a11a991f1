//! Registered names: [`Names`].
//!
//! Names are like Erlang's atoms: the first use of a name adds it to the table, where it stays as
//! long as the kernel. The number of names is limited. Only the holder of a name changes. The table
//! therefore only grows, and looking up, registering and releasing a name are lock-free: each
//! bucket is a stack that is pushed on and never popped.
//!
//! A name has a holder (a process, a registrar's mark, or null), and a process has a name (an
//! entry, null, or `GONE` once the process is dying). A registrar reserves the name before it
//! claims the process:
//!
//! ```text
//!   register: entry.holder: null → mark ; process.name: null → entry ; entry.holder: mark →
//!   process death: process.name: any → GONE (returns entry) ; entry.holder: process, or a mark →
//!   null unregister: entry.holder: process → null ; process.name: entry → null
//! ```
//!
//! - **A1.** Once a death has released the name (`release_name`), its process is not a holder and
//!   never becomes one. A registrar that claims the process before the death's swap has reserved
//!   the name before that. The death therefore finds the mark, or the process, and takes it out, so
//!   the registrar's last exchange fails. A registrar that comes after the swap finds `GONE`. Hence
//!   a process is retired only when no name leads to it, and a holder that is read under a guard
//!   stays allocated.
//! - **A2.** A mark belongs to one registrar for the duration of the registration (it is an address
//!   on the registrar's stack): no exchange mistakes another registrar's reservation for its own. A
//!   death cannot tell which registrar owns a mark, and may take out the mark of a registrar of
//!   another process. That registrar finds its process alive and starts again.
//! - **A3.** A newborn's mark is taken out only at the end of the last core: the process is not
//!   queued before the name is confirmed, and so cannot die. Until then other processes can send to
//!   it and monitor it by its name, but its pid is not visible to any thread (`KernelCx::whereis`).
//! - **A4, no thread waits for a registrar.** A registrar that is preempted between its steps does
//!   not block the name. Another registrar replaces the first mark with its own, and the first
//!   registrar then finds the name in use. Hence a name that a monitor reports as having no holder
//!   can be registered.

use alloc::boxed::Box;
use alloc::string::String;
use core::cmp::Ordering as Ordered;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::Deref;
use core::ptr::{self, NonNull};

use crate::config::NAME_BUCKETS;
use crate::memory::pool_box::PoolBox;
use crate::memory::{self, NoMemory, Shared};
use crate::mutation::{MutationSwitch, mutant};
use crate::process::header::Header;
use crate::process::process_ref::ProcessRef;
use crate::reclaim::Guard;
use crate::shipped::Shipped;
use crate::sync::{AtomicPtr, AtomicUsize, Ordering};

/// The text of a registered name.
#[derive(Clone)]
pub struct Name(Shared<String>);

impl Name {
    fn try_new(text: &str) -> Result<Self, NoMemory> {
        Shared::try_new(memory::try_text(format_args!("{text}"))?).map(Self)
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordered> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordered {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A name that has been used, and its current holder.
#[derive(Debug)]
pub struct NameEntry {
    /// The text.
    pub name: Name,
    holder: AtomicPtr<Header>,
    next: *mut NameEntry,
}

/// A pointer to an entry, for a record of the entry's kernel. Entries live as long as the kernel,
/// which outlives its records (`Budget::node`).
#[derive(Clone, Copy, Debug)]
pub struct NameRef(NonNull<NameEntry>);

// SAFETY: threads share an entry, as `&NameEntry`.
unsafe impl Send for NameRef {}
// SAFETY: threads share an entry, as `&NameEntry`.
unsafe impl Sync for NameRef {}

impl NameRef {
    /// Returns the pointer to an entry, of the kernel to whose records it is given.
    pub(crate) fn of(entry: &NameEntry) -> Self {
        Self(NonNull::from(entry))
    }

    /// Returns the process that has the name; see [`NameEntry::holder`].
    pub(crate) fn holder<'g>(self, guard: &'g Guard<'_>) -> Option<ProcessRef<'g>> {
        // SAFETY: entries live as long as the kernel, which outlives the guards under which its
        // processes are looked up.
        unsafe { self.0.as_ref() }.holder(guard)
    }

    /// Returns the entry at a link of a table, or of a process of the table's kernel.
    fn at(entry: *mut NameEntry) -> Option<Self> {
        NonNull::new(entry).filter(|entry| entry.as_ptr() != gone()).map(Self)
    }
}

impl Deref for NameRef {
    type Target = NameEntry;

    fn deref(&self) -> &NameEntry {
        // SAFETY: entries live as long as the kernel, which outlives its records.
        unsafe { self.0.as_ref() }
    }
}

/// The bits that distinguish a mark from a process.
const MARK: usize = 3;
/// A registrar's mark: any death may take it out (A2).
const REVOCABLE: usize = 1;
/// A newborn's mark: only its own registrar takes it out (A3).
const NEWBORN: usize = 2;

/// The steps that keep A1, as a parameter so that a model can leave one out and see a failure.
pub trait Steps: 'static {
    /// `true` if a death takes out marks.
    const REVOKES: bool = true;
    /// `true` if a registrar assigns the name only if its mark is still there.
    const MAY_BE_REVOKED: bool = true;
}

impl Steps for Shipped {}

/// The reason why a name could not be registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RegisterError {
    /// Another process, or this one, has the name.
    InUse,
    /// The process is dead.
    NoProc,
    /// The process has a name already.
    AlreadyNamed,
    /// The kernel's limit of names is reached.
    TableFull,
    /// There is no memory for a new name.
    NoMemory,
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InUse => "the name is in use",
            Self::NoProc => "there is no such process",
            Self::AlreadyNamed => "the process has a name already",
            Self::TableFull => "the limit of names is reached",
            Self::NoMemory => "out of memory",
        })
    }
}

impl core::error::Error for RegisterError {}

/// The table of names.
#[derive(Debug)]
pub(crate) struct Names {
    buckets: Box<[AtomicPtr<NameEntry>]>,
    count: AtomicUsize,
    limit: usize,
}

/// Returns the value of `process.name` once the process is dying.
fn gone() -> *mut NameEntry {
    ptr::without_provenance_mut(1)
}

fn bucket_of(text: &str) -> usize {
    // FNV-1a.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    (hash ^ (hash >> 32)) as usize % NAME_BUCKETS
}

impl Names {
    /// Creates a table for at most `limit` names.
    pub(crate) fn new(limit: usize) -> Self {
        let buckets = (0..NAME_BUCKETS).map(|_| AtomicPtr::new(ptr::null_mut())).collect();
        Self { buckets, count: AtomicUsize::new(0), limit }
    }

    fn search(&self, text: &str, from: *mut NameEntry, until: *mut NameEntry) -> Option<&NameEntry> {
        let mut entry = from;
        while entry != until {
            // An entry is initialised before it is pushed (Release in `intern`, Acquire in the
            // caller).
            let at = NameRef::at(entry)?;
            if at.name.as_str() == text {
                return Some(self.entry(at));
            }
            entry = at.next;
        }
        None
    }

    /// Returns an entry of this table.
    fn entry(&self, at: NameRef) -> &NameEntry {
        // SAFETY: an entry of this table lives as long as the table.
        unsafe { at.0.as_ref() }
    }

    /// Returns the entry of a name that has been used. Wait-free.
    pub(crate) fn find(&self, text: &str) -> Option<&NameEntry> {
        let head = self.buckets[bucket_of(text)].load(Ordering::Acquire);
        self.search(text, head, ptr::null_mut())
    }

    /// Returns the entry of a name, and adds the name if it was never used. Lock-free.
    pub(crate) fn intern(&self, text: &str) -> Result<&NameEntry, RegisterError> {
        let bucket = &self.buckets[bucket_of(text)];
        // Acquire: pairs with the Release of a push.
        let mut head = bucket.load(Ordering::Acquire);
        if let Some(entry) = self.search(text, head, ptr::null_mut()) {
            return Ok(entry);
        }
        // Relaxed: a counter that orders nothing.
        if self.count.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return Err(RegisterError::TableFull);
        }
        let new = Name::try_new(text).and_then(|name| {
            let entry = NameEntry { name, holder: AtomicPtr::new(ptr::null_mut()), next: head };
            PoolBox::try_new(entry, None).map_err(|_| NoMemory)
        });
        let Ok(mut new) = new else {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return Err(RegisterError::NoMemory);
        };
        loop {
            let entry = new.into_raw();
            // Release: publishes the entry. Acquire on failure: the entries of other threads are
            // searched below.
            let Err(now) = bucket.compare_exchange(head, entry.as_ptr(), Ordering::Release, Ordering::Acquire) else {
                return Ok(self.entry(NameRef(entry)));
            };
            // SAFETY: the exchange failed, so the entry was never published.
            new = unsafe { PoolBox::from_raw(entry) };
            if let Some(entry) = self.search(text, now, head) {
                self.count.fetch_sub(1, Ordering::Relaxed);
                return Ok(entry);
            }
            head = now;
            new.next = head;
        }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        for bucket in &self.buckets {
            let mut entry = bucket.load(Ordering::Acquire);
            while let Some(at) = NonNull::new(entry) {
                // SAFETY: `intern` published the entry as the table's own, which ends here.
                entry = unsafe { PoolBox::from_raw(at) }.next;
            }
        }
    }
}

impl NameEntry {
    /// Returns the process that has the name. Wait-free.
    pub fn holder<'g>(&'g self, _guard: &'g Guard<'_>) -> Option<ProcessRef<'g>> {
        // Acquire: pairs with the Release of the registrar's last exchange.
        let holder = self.holder.load(Ordering::Acquire);
        let holder = match holder.addr() & MARK {
            REVOCABLE => return None,
            // The mark leads to the newborn itself (A3).
            mark => holder.map_addr(|address| address & !mark),
        };
        // SAFETY: A1 — a holder is retired only after `release_name`, from which point no name
        // leads to it.
        let holder = unsafe { ProcessRef::new(NonNull::new(holder)?) };
        (!holder.mailbox.is_closed()).then_some(holder)
    }

    /// Assigns the name to a process. Lock-free.
    pub fn register(&self, process: ProcessRef<'_>) -> Result<(), RegisterError> {
        self.register_by::<Shipped>(process)
    }

    /// Assigns the name by the steps `S`, as [`NameEntry::register`] does.
    pub fn register_by<S: Steps>(&self, process: ProcessRef<'_>) -> Result<(), RegisterError> {
        let on_the_stack = 0_usize;
        let mark = ptr::from_ref(&on_the_stack).cast_mut().cast::<Header>().map_addr(|address| address | REVOCABLE);
        let this = ptr::from_ref(self).cast_mut();
        let that = process.as_ptr().as_ptr();
        // Only once: a registrar that is displaced in its turn leaves the name to the other
        // registrar (A4).
        let mut displaces = true;
        loop {
            self.reserve(process, mark, core::mem::take(&mut displaces))?;
            if S::MAY_BE_REVOKED {
                // Release: pairs with `holder`. Fails if a death took the mark out, or if another
                // registrar displaced it.
                if self.holder.compare_exchange(mark, that, Ordering::Release, Ordering::Relaxed).is_ok() {
                    return Ok(());
                }
            } else {
                self.holder.store(that, Ordering::Release);
                return Ok(());
            }
            // The mark was taken out by the process's own death, by another death (A2), or by
            // another registrar (A4).
            if process.name.compare_exchange(this, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed).is_err() {
                return Err(RegisterError::NoProc);
            }
        }
    }

    fn reserve(&self, process: ProcessRef<'_>, mark: *mut Header, displaces: bool) -> Result<(), RegisterError> {
        let this = ptr::from_ref(self).cast_mut();
        let why = |named: *mut Self| match named {
            named if named == gone() => RegisterError::NoProc,
            named if named == this => RegisterError::InUse,
            _ => RegisterError::AlreadyNamed,
        };
        let mut free = ptr::null_mut();
        // Release: pairs with `holder`, which follows a newborn's mark to the newborn.
        while let Err(now) = self.holder.compare_exchange(free, mark, Ordering::Release, Ordering::Relaxed) {
            // Each round is a step of another thread: a mark that came, went, or was displaced.
            if !(now.is_null() || displaces && now.addr() & MARK == REVOCABLE) {
                return Err(RegisterError::InUse);
            }
            // A registrar that is bound to fail displaces no mark. Relaxed: the value is only
            // compared.
            let named = process.name.load(Ordering::Relaxed);
            if !now.is_null() && !named.is_null() {
                return Err(why(named));
            }
            free = now;
        }
        // Release: pairs with the Acquire of a death's swap, which must find the mark (A1).
        let Err(now) = process.name.compare_exchange(ptr::null_mut(), this, Ordering::Release, Ordering::Relaxed)
        else {
            return Ok(());
        };
        // Relaxed: nothing is published. Fails if a death has taken the mark out.
        let _ = self.holder.compare_exchange(mark, ptr::null_mut(), Ordering::Relaxed, Ordering::Relaxed);
        Err(why(now))
    }

    /// Reserves the name for a process that is not published yet. [`NameEntry::confirm_newborn`]
    /// must follow once the process is published and before it is queued (A3). Lock-free.
    pub(crate) fn reserve_for_newborn(&self, process: ProcessRef<'_>) -> Result<(), RegisterError> {
        self.reserve(process, process.as_ptr().as_ptr().map_addr(|address| address | NEWBORN), true)
    }

    /// Assigns the reserved name to the newborn. Wait-free.
    pub(crate) fn confirm_newborn(&self, process: ProcessRef<'_>, mutations: MutationSwitch) {
        let that = process.as_ptr().as_ptr();
        mutant!(mutations, ConfirmsAnyway,
            right => {
                let mark = that.map_addr(|address| address | NEWBORN);
                // Release: pairs with `holder`. Fails if the end of the last core has discarded the
                // newborn.
                let _ = self.holder.compare_exchange(mark, that, Ordering::Release, Ordering::Relaxed);
            },
            wrong => self.holder.store(that, Ordering::Release),
        );
    }

    /// Takes the name from its holder. Returns `false` if no process had it. Lock-free.
    pub fn unregister(&self, guard: &Guard<'_>) -> bool {
        let Some(process) = self.holder(guard) else { return false };
        let that = process.as_ptr().as_ptr();
        if self.holder.compare_exchange(that, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return false;
        }
        let this = ptr::from_ref(self).cast_mut();
        let _ = process.name.compare_exchange(this, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed);
        true
    }
}

/// Returns the entry of the name that a process has.
pub(crate) fn name_of(process: &Header) -> Option<NameRef> {
    NameRef::at(process.name.load(Ordering::Acquire))
}

/// Releases the name of a dying process: the process has no name afterwards and gets none.
/// Lock-free.
pub(crate) fn release_name(process: ProcessRef<'_>) {
    release_by::<Shipped>(process);
}

/// Releases the name by the steps `S`, as [`release_name`] does.
pub(crate) fn release_by<S: Steps>(process: ProcessRef<'_>) {
    let Some(entry) = NameRef::at(process.name.swap(gone(), Ordering::AcqRel)) else { return };
    let that = process.as_ptr().as_ptr();
    // Relaxed: the value is only compared. The Acquire of the swap above makes the mark, or its
    // successor, visible.
    let mut holder = entry.holder.load(Ordering::Relaxed);
    while holder.addr() & !MARK == that.addr() || (S::REVOKES && holder.addr() & MARK == REVOCABLE) {
        match entry.holder.compare_exchange_weak(holder, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => holder = now,
        }
    }
}

impl From<NoMemory> for RegisterError {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}
