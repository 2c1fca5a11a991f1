//! Registered names: [`Names`].
//!
//! Names are like Erlang's atoms: the first use of one adds it to the table, where it
//! stays as long as the kernel; there is a limit to how many there can be. What changes is
//! who holds a name. So the table only grows, and looking up, registering and releasing
//! a name are lock-free: buckets are stacks that are pushed on and never popped.
//!
//! A name has a holder (a process, a registrar's mark, or null), and a process has a name (an entry, null, or
//! `GONE` once it is dying). Registering reserves the name before it claims the process:
//!
//! ```text
//!   register:    entry.holder: null → mark ;  process.name: null → entry ;  entry.holder: mark → process
//!   death:       process.name: any → GONE (returns entry) ;  entry.holder: process, or a mark → null
//!   unregister:                              entry.holder: process → null ;  process.name: entry → null
//! ```
//!
//! - **A1.** Once a death's part is done its process is not a holder, and never will be. Who claims the
//!   process before the death's swap has reserved the name before that, so the death finds the mark, or the process,
//!   and takes it out: the registrar's last exchange fails. Who comes after the swap finds `GONE`. So a process is
//!   retired when no name leads to it, and a holder that is read under a guard stays.
//! - **A2.** A mark is its registrar's alone as long as it registers (an address on its stack): no exchange
//!   takes another's reservation for its own. A death can't tell whose a mark is, and may take out that of a
//!   registrar of another process; that one finds its process alive, and begins again.
//! - **A3.** A newborn's mark is not taken out, but by the end of the last core: its process is not queued before the name
//!   is confirmed, and can't die.
//!   Until then it can be sent to and monitored by its name, but has no pid that anybody could know (`KernelCx::whereis`).
//! - **A4, nobody waits for a registrar.** One that is preempted between its steps keeps the name from nobody: another
//!   puts its own mark in the place of the first one's, which then finds the name in use. So a name that nobody has, as
//!   a monitor says, can be registered.

use alloc::boxed::Box;
use alloc::string::String;
use core::cmp::Ordering as Ordered;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ptr::{self, NonNull};

use crate::config::NAME_BUCKETS;
use crate::kernel::Kernel;
use crate::memory::{self, NoMemory, Shared};
use crate::mutate::Mutation;
use crate::process::header::Header;
use crate::reclaim::Guard;
use crate::sync::{AtomicPtr, AtomicUsize, Ordering};

/// A registered name's text.
#[derive(Clone)]
pub struct Name(Shared<String>);

impl Name {
    fn try_new(text: &str) -> Result<Self, NoMemory> {
        Shared::try_new(memory::try_text(format_args!("{text}"))?).map(Self)
    }

    /// The text.
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

/// A name that has been used, and who holds it.
#[derive(Debug)]
pub struct NameEntry {
    /// The text.
    pub name: Name,
    holder: AtomicPtr<Header>,
    next: *mut NameEntry,
}

/// The bits by which a mark is told from a process.
const MARK: usize = 3;
/// A registrar's mark: any death may take it out (A2).
const REVOCABLE: usize = 1;
/// A newborn's mark: its own to take out (A3).
const NEWBORN: usize = 2;

/// The steps that keep A1, a parameter so that a model can leave one out and see it fail.
pub trait Steps: 'static {
    /// A death takes out marks.
    const REVOKES: bool = true;
    /// A registrar gives the name only if its mark was left.
    const MAY_BE_REVOKED: bool = true;
}

/// The steps as they must be.
#[derive(Debug)]
pub struct Shipped;
impl Steps for Shipped {}

/// Why a name could not be registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RegisterError {
    /// Another process, or this one, has the name.
    InUse,
    /// The process is dead.
    NoProc,
    /// The process has a name already.
    AlreadyNamed,
    /// As many names as the kernel's limit have been used.
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

/// What `process.name` is once the process is dying.
fn gone() -> *mut NameEntry {
    ptr::without_provenance_mut(1)
}

fn bucket_of(text: &str) -> usize {
    // FNV-1a.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    (hash ^ (hash >> 32)) as usize % NAME_BUCKETS
}

impl Names {
    /// A table for `limit` names.
    pub(crate) fn new(limit: usize) -> Self {
        let buckets = (0..NAME_BUCKETS).map(|_| AtomicPtr::new(ptr::null_mut())).collect();
        Self { buckets, count: AtomicUsize::new(0), limit }
    }

    fn search(&self, text: &str, from: *mut NameEntry, until: *mut NameEntry) -> Option<&NameEntry> {
        let mut entry = from;
        while entry != until {
            // SAFETY: entries are initialised before they are pushed (Release, Acquire) and
            // live as long as the table.
            let at = unsafe { &*entry };
            if at.name.as_str() == text {
                return Some(at);
            }
            entry = at.next;
        }
        None
    }

    /// The entry of a name that has been used. Wait-free.
    pub(crate) fn find(&self, text: &str) -> Option<&NameEntry> {
        let head = self.buckets[bucket_of(text)].load(Ordering::Acquire);
        self.search(text, head, ptr::null_mut())
    }

    /// The entry of a name, added if it has never been used. Lock-free.
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
            memory::try_new(entry).map_err(|_| NoMemory)
        });
        let Ok(new) = new else {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return Err(RegisterError::NoMemory);
        };
        loop {
            // Release: publishes the entry. Acquire on failure: the others' are searched below.
            match bucket.compare_exchange(head, new.as_ptr(), Ordering::Release, Ordering::Acquire) {
                // SAFETY: the table's from now on, for as long as it lives.
                Ok(_) => return Ok(unsafe { new.as_ref() }),
                Err(now) => {
                    if let Some(entry) = self.search(text, now, head) {
                        // SAFETY: never published.
                        unsafe { memory::drop_and_free(new) };
                        self.count.fetch_sub(1, Ordering::Relaxed);
                        return Ok(entry);
                    }
                    head = now;
                    // SAFETY: not yet published, so still ours.
                    unsafe { (*new.as_ptr()).next = head };
                }
            }
        }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        for bucket in &self.buckets {
            let mut entry = bucket.load(Ordering::Acquire);
            while let Some(at) = NonNull::new(entry) {
                // SAFETY: the table's own, freed once.
                entry = unsafe { at.as_ref() }.next;
                // SAFETY: likewise.
                unsafe { memory::drop_and_free(at) };
            }
        }
    }
}

impl NameEntry {
    /// Who has the name. Wait-free.
    pub fn holder<'g>(&self, _guard: &'g Guard<'_>) -> Option<&'g Header> {
        // Acquire: pairs with the Release of who confirms.
        let holder = self.holder.load(Ordering::Acquire);
        let holder = match holder.addr() & MARK {
            REVOCABLE => return None,
            // The mark leads to the newborn itself (A3).
            mark => holder.map_addr(|address| address & !mark),
        };
        // SAFETY: a holder is retired only after `release_name`, from when on no name leads to it (A1).
        let holder = unsafe { NonNull::new(holder)?.as_ref() };
        (!holder.mailbox.is_closed()).then_some(holder)
    }

    /// Gives the name to a process. Lock-free.
    pub fn register(&self, process: &Header) -> Result<(), RegisterError> {
        self.register_by::<Shipped>(process)
    }

    /// [`NameEntry::register`], by the steps `S`.
    pub fn register_by<S: Steps>(&self, process: &Header) -> Result<(), RegisterError> {
        let on_the_stack = 0_usize;
        let mark = ptr::from_ref(&on_the_stack).cast_mut().cast::<Header>().map_addr(|address| address | REVOCABLE);
        let this = ptr::from_ref(self).cast_mut();
        let that = process.whole().as_ptr();
        // Once: who is displaced in its turn leaves the name to the other (A4).
        let mut displaces = true;
        loop {
            self.reserve(process, mark, core::mem::take(&mut displaces))?;
            if S::MAY_BE_REVOKED {
                // Release: pairs with `holder`. Fails when a death has taken the mark out, or another has displaced it.
                if self.holder.compare_exchange(mark, that, Ordering::Release, Ordering::Relaxed).is_ok() {
                    return Ok(());
                }
            } else {
                self.holder.store(that, Ordering::Release);
                return Ok(());
            }
            // Its own death, or another's (A2), or another registrar (A4).
            if process.name.compare_exchange(this, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed).is_err() {
                return Err(RegisterError::NoProc);
            }
        }
    }

    fn reserve(&self, process: &Header, mark: *mut Header, displaces: bool) -> Result<(), RegisterError> {
        let this = ptr::from_ref(self).cast_mut();
        let why = |named: *mut Self| match named {
            named if named == gone() => RegisterError::NoProc,
            named if named == this => RegisterError::InUse,
            _ => RegisterError::AlreadyNamed,
        };
        let mut free = ptr::null_mut();
        // Release: pairs with `holder`, which a newborn's mark leads to the newborn.
        while let Err(now) = self.holder.compare_exchange(free, mark, Ordering::Release, Ordering::Relaxed) {
            // Each round is another's step: a mark that came, went, or gave way.
            if !(now.is_null() || displaces && now.addr() & MARK == REVOCABLE) {
                return Err(RegisterError::InUse);
            }
            // Who is bound to fail displaces nobody. Relaxed: only compared.
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
        // Relaxed: nothing is handed over. Fails when a death has taken the mark out.
        let _ = self.holder.compare_exchange(mark, ptr::null_mut(), Ordering::Relaxed, Ordering::Relaxed);
        Err(why(now))
    }

    /// Reserves the name for a process that is not published yet; [`NameEntry::confirm_newborn`] must follow, when it is
    /// published and not yet queued (A3). Lock-free.
    pub(crate) fn reserve_for_newborn(&self, process: &Header) -> Result<(), RegisterError> {
        self.reserve(process, process.whole().as_ptr().map_addr(|address| address | NEWBORN), true)
    }

    /// Gives the reserved name to the newborn. Wait-free.
    pub(crate) fn confirm_newborn(&self, process: &Header, kernel: &Kernel) {
        let that = process.whole().as_ptr();
        if kernel.mutated(Mutation::ConfirmsAnyway) {
            return self.holder.store(that, Ordering::Release);
        }
        let mark = that.map_addr(|address| address | NEWBORN);
        // Release: pairs with `holder`. Fails when the end of the last core has discarded the newborn.
        let _ = self.holder.compare_exchange(mark, that, Ordering::Release, Ordering::Relaxed);
    }

    /// Takes the name from whoever has it; false when nobody did. Lock-free.
    pub fn unregister(&self, guard: &Guard<'_>) -> bool {
        let Some(process) = self.holder(guard) else { return false };
        let that = process.whole().as_ptr();
        if self.holder.compare_exchange(that, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return false;
        }
        let this = ptr::from_ref(self).cast_mut();
        let _ = process.name.compare_exchange(this, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed);
        true
    }
}

/// The name that a process has.
pub(crate) fn name_of(process: &Header) -> Option<&NameEntry> {
    let entry = process.name.load(Ordering::Acquire);
    // SAFETY: neither null nor `GONE`: an entry, which lives as long as the kernel.
    (!entry.is_null() && entry != gone()).then(|| unsafe { &*entry })
}

/// The death's part: the process has no name any more and gets none. Lock-free.
pub(crate) fn release_name(process: &Header) {
    release_by::<Shipped>(process);
}

/// [`release_name`], by the steps `S`.
pub(crate) fn release_by<S: Steps>(process: &Header) {
    let entry = process.name.swap(gone(), Ordering::AcqRel);
    if entry.is_null() || entry == gone() {
        return;
    }
    // SAFETY: an entry, which lives as long as the kernel.
    let entry = unsafe { &*entry };
    let that = process.whole().as_ptr();
    // Relaxed: only compared; the swap's Acquire has it see the mark, or what came after it.
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
