//! Registered names: [`Names`].
//!
//! Names are like Erlang's atoms: the first use of one adds it to the table, where it
//! stays as long as the kernel; there is a limit to how many there can be. What changes is
//! who holds a name. So the table only grows, and looking up, registering and releasing
//! a name are lock-free: buckets are stacks that are pushed on and never popped.
//!
//! A name has a holder (a process or null), and a process has a name (an entry, null, or
//! `GONE` once it is dying). Registering sets both, in this order, and a death undoes both:
//!
//! ```text
//!   register:  process.name: null → entry ;  entry.holder: null → process ;  process.name still entry?
//!   death:     process.name: any → GONE (returns entry) ;  entry.holder: process → null
//!   unregister:                     entry.holder: process → null ;  process.name: entry → null
//! ```
//!
//! The third step of `register` is a read-modify-write on `process.name`: either it comes
//! before the death's swap, and the death then sees the holder and clears it, or it finds
//! `GONE` and the registrar clears the holder itself. A dead process never keeps a name; and one whose mailbox
//! is closed, so that a monitor of it is told `noproc`, does not keep it from who registers next, who takes its place.
//!
//! A holder is read under a guard; a process is retired after its names are released.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::ptr::{self, NonNull};

use crate::config::NAME_BUCKETS;
use crate::memory::{self, NoMemory};
use crate::process::header::Header;
use crate::reclaim::Guard;
use crate::sync::{AtomicPtr, AtomicUsize, Ordering};

/// A registered name's text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
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

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
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
        let entry = Entry { name: Name(Arc::from(text)), holder: AtomicPtr::new(ptr::null_mut()), next: head };
        let Ok(new) = memory::try_new(entry) else {
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
        // SAFETY: a holder is retired only after `release_name` took it out of here.
        let holder = unsafe { holder.as_ref() };
        (!holder.mailbox.is_closed()).then_some(holder)
    }

    /// Gives the name to a process. Lock-free: it tries again when others have released or taken the name meanwhile.
    pub fn register(&self, process: &Header, _guard: &Guard<'_>) -> Result<(), RegisterError> {
        let this = ptr::from_ref(self).cast_mut();
        let that = ptr::from_ref(process).cast_mut();
        match process.name.compare_exchange(ptr::null_mut(), this, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => {}
            Err(now) if now == gone() => return Err(RegisterError::NoProc),
            Err(now) if now == this => return Err(RegisterError::InUse),
            Err(_) => return Err(RegisterError::AlreadyNamed),
        }
        let mut free = ptr::null_mut();
        // Acquire on failure: pairs with the exchange of the `register` that put the holder here, who is looked at.
        while let Err(now) = self.holder.compare_exchange(free, that, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: as in `holder`.
            let in_use = NonNull::new(now).is_some_and(|holder| !unsafe { holder.as_ref() }.mailbox.is_closed());
            if in_use {
                // Ours to undo, unless the process is gone meanwhile.
                let _ = process.name.compare_exchange(this, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed);
                return Err(RegisterError::InUse);
            }
            // Free, or of one that is closed and has not come to releasing it: somebody may have been told already
            // that it is dead, and the name is theirs for the asking. The death then finds another holder.
            free = now;
        }
        // A read-modify-write, so that it comes before or after the swap of a death; see the module.
        match process.name.compare_exchange(this, this, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(_) => {
                let _ = self.holder.compare_exchange(that, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed);
                Err(RegisterError::NoProc)
            }
        }
    }

    /// Takes the name from whoever has it; false when nobody did. Lock-free.
    pub fn unregister(&self, guard: &Guard<'_>) -> bool {
        let Some(process) = self.holder(guard) else { return false };
        let that = ptr::from_ref(process).cast_mut();
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
    let that = ptr::from_ref(process).cast_mut();
    let _ = entry.holder.compare_exchange(that, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed);
}

impl From<NoMemory> for RegisterError {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}
