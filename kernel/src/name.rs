//! Registered names: [`Names`].
//!
//! Names are like Erlang's atoms: the first use of one adds it to the table, where it
//! stays as long as the kernel; there is a limit to how many there can be. What changes is
//! who holds a name. So the table only grows, and looking up, registering and releasing
//! a name are lock-free: buckets are stacks that are pushed on and never popped.
//!
//! A name has a holder (a process or null), and a process has a name (an entry, null, or
//! `GONE` once it is dying). Registering *claims* the name first, which shows the process to nobody:
//!
//! ```text
//!   register:  holder: null → claim of process ;  process.name: null → entry ;  holder: claim → process
//!   death:     process.name: any → GONE (returns entry) ;  holder: process, or its claim → null
//!   unregister:                     holder: process → null ;  process.name: entry → null
//! ```
//!
//! A death that finds the entry takes process or claim away, and a registrar who finds its claim gone, or
//! `GONE`, gives up. So a process is never shown as a holder once its death has been past here, and as a
//! process is retired after that, a holder may be read under any guard. A dead process never keeps a name.

use alloc::boxed::Box;
use alloc::string::String;
use core::cmp::Ordering as Ordered;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ptr::{self, NonNull};

use crate::config::NAME_BUCKETS;
use crate::memory::{self, NoMemory, Shared};
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
pub struct Entry {
    /// The text.
    pub name: Name,
    holder: AtomicPtr<Header>,
    next: *mut Entry,
}

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
    buckets: Box<[AtomicPtr<Entry>]>,
    count: AtomicUsize,
    limit: usize,
}

/// What `process.name` is once the process is dying.
fn gone() -> *mut Entry {
    ptr::without_provenance_mut(1)
}

/// Marks a holder that is only claimed.
const CLAIM: usize = 1;
const _: () = assert!(align_of::<Header>() > CLAIM);

/// What a name's holder is while the process is being registered. Compared, never followed.
fn claim_of(process: &Header) -> *mut Header {
    process.whole().as_ptr().map_addr(|address| address | CLAIM)
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

    fn search(&self, text: &str, from: *mut Entry, until: *mut Entry) -> Option<&Entry> {
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
    pub(crate) fn find(&self, text: &str) -> Option<&Entry> {
        let head = self.buckets[bucket_of(text)].load(Ordering::Acquire);
        self.search(text, head, ptr::null_mut())
    }

    /// The entry of a name, added if it has never been used. Lock-free.
    pub(crate) fn intern(&self, text: &str) -> Result<&Entry, RegisterError> {
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
            let entry = Entry { name, holder: AtomicPtr::new(ptr::null_mut()), next: head };
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

impl Entry {
    /// Who has the name. Wait-free.
    pub fn holder<'g>(&self, _guard: &'g Guard<'_>) -> Option<&'g Header> {
        // Acquire: pairs with the Release of `register`.
        let holder = NonNull::new(self.holder.load(Ordering::Acquire))?;
        if holder.addr().get() & CLAIM != 0 {
            return None;
        }
        // SAFETY: a holder is retired only after `release_name` took it out of here, and not put back.
        let holder = unsafe { holder.as_ref() };
        (!holder.mailbox.is_closed()).then_some(holder)
    }

    /// Gives the name to a process. Wait-free: three exchanges.
    pub fn register(&self, process: &Header) -> Result<(), RegisterError> {
        let this = ptr::from_ref(self).cast_mut();
        let (that, claim) = (process.whole().as_ptr(), claim_of(process));
        if self.holder.compare_exchange(ptr::null_mut(), claim, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return Err(RegisterError::InUse);
        }
        // AcqRel: either the swap of a death comes later, and sees the entry and so the claim, or we see `GONE`.
        let named = process.name.compare_exchange(ptr::null_mut(), this, Ordering::AcqRel, Ordering::Acquire);
        let Err(before) = named else {
            // Release: pairs with the Acquire of `holder`.
            let shown = self.holder.compare_exchange(claim, that, Ordering::AcqRel, Ordering::Relaxed);
            // The claim is taken by the process's death, and by nobody else.
            return shown.map(drop).map_err(|_| RegisterError::NoProc);
        };
        let _ = self.holder.compare_exchange(claim, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed);
        Err(if before == gone() { RegisterError::NoProc } else { RegisterError::AlreadyNamed })
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
pub(crate) fn name_of(process: &Header) -> Option<&Entry> {
    let entry = process.name.load(Ordering::Acquire);
    // SAFETY: neither null nor `GONE`: an entry, which lives as long as the kernel.
    (!entry.is_null() && entry != gone()).then(|| unsafe { &*entry })
}

/// The death's part: the process has no name any more and gets none. Wait-free.
pub(crate) fn release_name(process: &Header) {
    let entry = process.name.swap(gone(), Ordering::AcqRel);
    if entry.is_null() || entry == gone() {
        return;
    }
    // SAFETY: an entry, which lives as long as the kernel.
    let entry = unsafe { &*entry };
    // A registrar may be between its claim and its last step: it makes one into the other at most once.
    for held in [claim_of(process), process.whole().as_ptr()] {
        if entry.holder.compare_exchange(held, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            return;
        }
    }
}

impl From<NoMemory> for RegisterError {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}
