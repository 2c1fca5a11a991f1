//! A set of one process's records, [`RecordSet`]: its own links, monitors and timers, by key and in
//! order of age.
//!
//! It is an intrusive doubly linked list, so adding and removing allocate nothing, and code that
//! visits all members (a death) visits them in the order in which they were made, every time. A
//! hash index is added at the first lookup whose member is not among the youngest [`INDEX_FROM`].
//! With fewer members, a walk of the list is faster than hashing. A process that only adds members
//! and removes them by their pointer, for example one that waits for many deaths, needs no index.
//! Without memory for the index the set works without it: slower, never wrong.
//!
//! Only its owner uses it: the process, while it runs.

use alloc::boxed::Box;
use core::ptr::{self, NonNull};

use hashbrown::HashTable;

use crate::config::{INDEX_FROM, SWEEP_AT_LEAST};
use crate::sync::Cell;

/// The links of a member in its set. The first member's `prev` is the last member: a set is one
/// pointer. A member without `prev` is in no set.
#[derive(Debug)]
pub struct SetLinks<T> {
    next: Cell<*mut T>,
    prev: Cell<*mut T>,
}

impl<T> SetLinks<T> {
    /// Creates the links of a record that is in no set.
    pub fn new() -> Self {
        Self { next: Cell::new(ptr::null_mut()), prev: Cell::new(ptr::null_mut()) }
    }

    /// Returns `true` if it is in a set. Only that set's owner may call it.
    pub fn is_in_set(&self) -> bool {
        !self.prev.get().is_null()
    }
}

impl<T> Default for SetLinks<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A record that can be in a [`RecordSet`].
pub trait Member: Sized {
    /// Returns the record's links.
    fn joint(&self) -> &SetLinks<Self>;
    /// Returns the key that lookups use.
    fn key(&self) -> u64;
}

/// A set of records, by key and in order of age (see the module).
#[derive(Debug)]
pub struct RecordSet<T> {
    head: *mut T,
    len: u32,
    /// The number of members at which the owner sweeps again: twice the number after the last
    /// sweep.
    sweep_at: u32,
    index: Option<Box<HashTable<NonNull<T>>>>,
}

/// The value of `sweep_at` in a frozen set: no sweep follows, and the index does not grow.
const FROZEN: u32 = u32::MAX;

/// Hashes a key: 64 consecutive keys lie side by side. Keys are counters or packed indexes, never
/// chosen by an attacker. A process that creates many members creates them in sequence, and most
/// often looks them up in sequence. The part of the index that it needs is then in the cache,
/// however large the index is.
fn hash(key: u64) -> u64 {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    // The table distinguishes neighbours by the highest 7 bits of a word, so these depend on the
    // whole key.
    const TAG: u64 = 0x7F << (usize::BITS - 7);
    let whole = (key ^ (key >> 32)).wrapping_mul(GOLDEN).rotate_right(64 - usize::BITS);
    let run = ((key >> 6) ^ (key >> 38)).wrapping_mul(GOLDEN);
    (whole & TAG) | ((((run >> 13) & !63) | (key & 63)) & !TAG)
}

impl<T: Member> RecordSet<T> {
    /// Creates an empty set.
    pub const fn new() -> Self {
        Self { head: ptr::null_mut(), len: 0, sweep_at: SWEEP_AT_LEAST as u32, index: None }
    }

    /// Returns the number of members.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Returns `true` if the set has no members.
    pub fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// Adds a member. Amortised O(1).
    ///
    /// # Safety
    /// `member` is in no set, belongs to the caller, and lives until it is removed.
    pub unsafe fn insert(&mut self, member: NonNull<T>) {
        // SAFETY: `member` is live (this function's contract).
        let joint = unsafe { member.as_ref() }.joint();
        joint.next.set(ptr::null_mut());
        match NonNull::new(self.head) {
            None => {
                joint.prev.set(member.as_ptr());
                self.head = member.as_ptr();
            }
            Some(head) => {
                // SAFETY: members are live until they are removed.
                let last = unsafe { head.as_ref() }.joint().prev.replace(member.as_ptr());
                joint.prev.set(last);
                if let Some(last) = NonNull::new(last) {
                    // SAFETY: members are live until they are removed.
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
        let frozen = self.sweep_at == FROZEN;
        // SAFETY: members are live until they are removed.
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
        // SAFETY: members are live until they are removed.
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

    /// Returns the youngest member with the key. O(1) amortised.
    #[inline]
    pub fn find(&mut self, key: u64) -> Option<NonNull<T>> {
        // SAFETY: members are live until they are removed.
        let head = unsafe { NonNull::new(self.head)?.as_ref() };
        if self.index.is_some() {
            return self.find_by_index(key);
        }
        // Start at the youngest: a call's monitor, a receive's timer.
        let mut at = NonNull::new(head.joint().prev.get())?;
        for _ in 0..INDEX_FROM {
            // SAFETY: members are live until they are removed.
            let inner = unsafe { at.as_ref() };
            if inner.key() == key {
                return Some(at);
            }
            if at.as_ptr() == self.head {
                return None;
            }
            at = NonNull::new(inner.joint().prev.get())?;
        }
        self.find_slow(key)
    }

    /// Finds a member that is not among the youngest. From now on there is an index, if there is
    /// memory for one.
    #[cold]
    fn find_slow(&mut self, key: u64) -> Option<NonNull<T>> {
        if self.sweep_at != FROZEN {
            self.build_index();
        }
        match self.index {
            Some(_) => self.find_by_index(key),
            // SAFETY: members are live until they are removed.
            None => self.iter().filter(|member| unsafe { member.as_ref() }.key() == key).last(),
        }
    }

    #[inline(never)]
    fn find_by_index(&self, key: u64) -> Option<NonNull<T>> {
        // SAFETY: members are live until they are removed.
        self.index.as_ref()?.find(hash(key), |member| unsafe { member.as_ref() }.key() == key).copied()
    }

    /// Removes a member. O(1).
    ///
    /// # Safety
    /// `member` is in this set.
    pub unsafe fn remove(&mut self, member: NonNull<T>) {
        // SAFETY: `member` is in this set (this function's contract), so it is live.
        let inner = unsafe { member.as_ref() };
        let (next, prev) = (inner.joint().next.get(), inner.joint().prev.replace(ptr::null_mut()));
        if self.head == member.as_ptr() {
            self.head = next;
        } else if let Some(prev) = NonNull::new(prev) {
            // SAFETY: members are live until they are removed.
            unsafe { prev.as_ref() }.joint().next.set(next);
        }
        // The last member has no next one: it is then the first one's `prev`.
        if let Some(next) = NonNull::new(next).or(NonNull::new(self.head)) {
            // SAFETY: members are live until they are removed.
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

    /// Removes and returns the oldest member.
    pub fn pop(&mut self) -> Option<NonNull<T>> {
        let member = NonNull::new(self.head)?;
        // SAFETY: the head is in this set.
        unsafe { self.remove(member) };
        Some(member)
    }

    /// Frees the index, so that emptying the set by [`RecordSet::pop`] costs only a walk of the
    /// list.
    pub fn drop_index(&mut self) {
        self.index = None;
    }

    /// Freezes the set of a dying process: from now on it takes no memory, and needs no sweep.
    pub fn freeze(&mut self) {
        self.sweep_at = FROZEN;
    }

    /// Returns an iterator over all members, oldest first. The one that was returned last may be
    /// removed.
    pub fn iter(&self) -> Iter<T> {
        Iter(self.head)
    }

    /// Returns `true` if the set has doubled since the last sweep: time to drop the members that
    /// have lost their meaning, at a cost that the insertions have paid for.
    pub fn needs_sweep(&self) -> bool {
        // There are never as many as `FROZEN`.
        self.len >= self.sweep_at
    }

    /// Records that a sweep is done.
    pub fn swept(&mut self) {
        self.sweep_at = self.len.saturating_mul(2).clamp(SWEEP_AT_LEAST as u32, FROZEN - 1);
    }
}

impl<T: Member> Default for RecordSet<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// An iterator over the members of a set; see [`RecordSet::iter`].
#[derive(Debug)]
pub struct Iter<T>(*mut T);

impl<T: Member> Iterator for Iter<T> {
    type Item = NonNull<T>;

    fn next(&mut self) -> Option<NonNull<T>> {
        let member = NonNull::new(self.0)?;
        // SAFETY: members are live, and only the one returned last may be removed.
        self.0 = unsafe { member.as_ref() }.joint().next.get();
        Some(member)
    }
}
