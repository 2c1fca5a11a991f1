//! [`RecordSet`]: a process's own links, monitors and timers, by key and in order of age.
//!
//! An intrusive doubly linked list, so that adding and removing allocate nothing and
//! whatever goes through all of them (a death) meets them in the order in which they
//! were made, every time. A hash index stands beside it from the first time when a member was looked for and was not among
//! the youngest [`INDEX_FROM`]: with fewer, looking through the list is faster than hashing, and who only adds members and takes
//! them out by what it has of them, as who waits for many deaths, needs none. Without memory for the index the set
//! goes on without it: slower, never wrong.
//!
//! Owner only: the process's, while it runs.

use alloc::boxed::Box;
use core::ptr::{self, NonNull};

use hashbrown::HashTable;

use crate::config::INDEX_FROM;
use crate::sync::Cell;

/// A member's place in its set. The first one's `prev` is the last: a set is one pointer. Who has no `prev` is in none.
#[derive(Debug)]
pub struct SetLinks<T> {
    next: Cell<*mut T>,
    prev: Cell<*mut T>,
}

impl<T> SetLinks<T> {
    /// In no set.
    pub fn new() -> Self {
        Self { next: Cell::new(ptr::null_mut()), prev: Cell::new(ptr::null_mut()) }
    }

    /// Whether it is in a set. For that set's owner.
    pub fn is_in_set(&self) -> bool {
        !self.prev.get().is_null()
    }
}

impl<T> Default for SetLinks<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// What can be in a [`RecordSet`].
pub trait Member: Sized {
    /// Its place.
    fn joint(&self) -> &SetLinks<Self>;
    /// What it is found by.
    fn key(&self) -> u64;
}

/// See the module.
#[derive(Debug)]
pub struct RecordSet<T> {
    head: *mut T,
    len: u32,
    /// Members when it was last swept; at twice as many the owner sweeps again.
    swept: u32,
    index: Option<Box<HashTable<NonNull<T>>>>,
}

/// As the members at the last sweep: there is none any more, and the index does not grow.
const FROZEN: u32 = u32::MAX;

/// Where a key stands in an index: 64 that follow each other stand side by side. Keys are counters or packed indexes, never
/// an attacker's choice; who makes many members makes them in a row, and most often looks for them so, and what it looks for
/// is in the cache then, however large the index is.
fn hash(key: u64) -> u64 {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    // What the table tells neighbours apart by, the highest 7 bits of a word, is of the whole key.
    const TAG: u64 = 0x7F << (usize::BITS - 7);
    let whole = (key ^ (key >> 32)).wrapping_mul(GOLDEN).rotate_right(64 - usize::BITS);
    let run = ((key >> 6) ^ (key >> 38)).wrapping_mul(GOLDEN);
    (whole & TAG) | ((((run >> 13) & !63) | (key & 63)) & !TAG)
}

impl<T: Member> RecordSet<T> {
    /// An empty set.
    pub const fn new() -> Self {
        Self { head: ptr::null_mut(), len: 0, swept: 0, index: None }
    }

    /// Members.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// Adds a member. Amortised O(1).
    ///
    /// # Safety
    /// `member` is in no set, the caller's, and lives until it is removed.
    pub unsafe fn insert(&mut self, member: NonNull<T>) {
        // SAFETY: by contract.
        let joint = unsafe { member.as_ref() }.joint();
        joint.next.set(ptr::null_mut());
        match NonNull::new(self.head) {
            None => {
                joint.prev.set(member.as_ptr());
                self.head = member.as_ptr();
            }
            Some(head) => {
                // SAFETY: members live.
                let last = unsafe { head.as_ref() }.joint().prev.replace(member.as_ptr());
                joint.prev.set(last);
                if let Some(last) = NonNull::new(last) {
                    // SAFETY: likewise.
                    unsafe { last.as_ref() }.joint().next.set(member.as_ptr());
                }
            }
        }
        self.len += 1;
        if self.index.is_some() {
            self.add_to_index(member);
        }
    }

    fn add_to_index(&mut self, member: NonNull<T>) {
        let frozen = self.swept == FROZEN;
        // SAFETY: members live.
        let rehash = |member: &NonNull<T>| hash(unsafe { member.as_ref() }.key());
        if let Some(index) = &mut self.index {
            let has_room = if frozen { index.len() < index.capacity() } else { index.try_reserve(1, rehash).is_ok() };
            if has_room {
                index.insert_unique(rehash(&member), member, rehash);
            } else {
                self.index = None;
            }
        }
    }

    fn build_index(&mut self) {
        // SAFETY: members live.
        let rehash = |member: &NonNull<T>| hash(unsafe { member.as_ref() }.key());
        let mut index = HashTable::new();
        if index.try_reserve(self.len() * 2, rehash).is_err() {
            return;
        }
        for member in self.iter() {
            index.insert_unique(rehash(&member), member, rehash);
        }
        // The box itself is small; without memory for it the set stays a list.
        self.index = crate::memory::try_box(index).ok();
    }

    /// The youngest member with the key. O(1) amortised.
    #[inline]
    pub fn find(&mut self, key: u64) -> Option<NonNull<T>> {
        // SAFETY: members live.
        let head = unsafe { NonNull::new(self.head)?.as_ref() };
        if self.index.is_some() {
            return self.find_by_index(key);
        }
        // From the youngest: a call's monitor, a receive's timer.
        let mut at = NonNull::new(head.joint().prev.get())?;
        for _ in 0..INDEX_FROM {
            // SAFETY: members live.
            let inner = unsafe { at.as_ref() };
            if inner.key() == key {
                return Some(at);
            }
            if at.as_ptr() == self.head {
                return None;
            }
            at = NonNull::new(inner.joint().prev.get())?;
        }
        self.find_far(key)
    }

    /// What is not among the youngest: from now on there is an index, if there is memory for one.
    #[cold]
    fn find_far(&mut self, key: u64) -> Option<NonNull<T>> {
        if self.swept != FROZEN {
            self.build_index();
        }
        match self.index {
            Some(_) => self.find_by_index(key),
            // SAFETY: members live.
            None => self.iter().filter(|member| unsafe { member.as_ref() }.key() == key).last(),
        }
    }

    #[inline(never)]
    fn find_by_index(&self, key: u64) -> Option<NonNull<T>> {
        // SAFETY: members live.
        self.index.as_ref()?.find(hash(key), |member| unsafe { member.as_ref() }.key() == key).copied()
    }

    /// Takes a member out. O(1).
    ///
    /// # Safety
    /// `member` is in this set.
    pub unsafe fn remove(&mut self, member: NonNull<T>) {
        // SAFETY: by contract.
        let inner = unsafe { member.as_ref() };
        let (next, prev) = (inner.joint().next.get(), inner.joint().prev.replace(ptr::null_mut()));
        if self.head == member.as_ptr() {
            self.head = next;
        } else if let Some(prev) = NonNull::new(prev) {
            // SAFETY: members live.
            unsafe { prev.as_ref() }.joint().next.set(next);
        }
        // Behind the last one comes nobody: it is the first one's `prev` then.
        if let Some(next) = NonNull::new(next).or(NonNull::new(self.head)) {
            // SAFETY: members live.
            unsafe { next.as_ref() }.joint().prev.set(prev);
        }
        self.len -= 1;
        if let Some(index) = &mut self.index
            && let Ok(entry) = index.find_entry(hash(inner.key()), |other| *other == member)
        {
            entry.remove();
        }
        if self.len == 0 {
            self.index = None;
        }
    }

    /// Takes the oldest out.
    pub fn pop(&mut self) -> Option<NonNull<T>> {
        let member = NonNull::new(self.head)?;
        // SAFETY: the head is in this set.
        unsafe { self.remove(member) };
        Some(member)
    }

    /// Frees the index, so that emptying the set by [`RecordSet::pop`] costs a list's walk.
    pub fn forget_index(&mut self) {
        self.index = None;
    }

    /// From now on it takes no memory, and is never due for a sweep: its process dies.
    pub fn freeze(&mut self) {
        self.swept = FROZEN;
    }

    /// All members, oldest first. The one that was returned last may be removed.
    pub fn iter(&self) -> Iter<T> {
        Iter(self.head)
    }

    /// Whether the set has doubled since this last said so: time to drop what has lost
    /// its meaning, at a cost that the insertions have paid for.
    pub fn sweep_is_due(&self) -> bool {
        self.swept != FROZEN && self.len() >= crate::config::SWEEP_AT_LEAST.max(2 * self.swept as usize)
    }

    /// The sweep is done.
    pub fn swept(&mut self) {
        self.swept = self.len;
    }
}

impl<T: Member> Default for RecordSet<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// See [`RecordSet::iter`].
#[derive(Debug)]
pub struct Iter<T>(*mut T);

impl<T: Member> Iterator for Iter<T> {
    type Item = NonNull<T>;

    fn next(&mut self) -> Option<NonNull<T>> {
        let member = NonNull::new(self.0)?;
        // SAFETY: members live, and only the one returned last may be removed.
        self.0 = unsafe { member.as_ref() }.joint().next.get();
        Some(member)
    }
}
