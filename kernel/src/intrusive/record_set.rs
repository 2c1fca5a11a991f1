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
//! Only its owner uses it: the process, while it runs. It owns the members' handles (`handle`).

use alloc::boxed::Box;
use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;

use hashbrown::HashTable;

use crate::config::{INDEX_FROM, SWEEP_AT_LEAST};
use crate::intrusive::handle::{Borrowed, Handle};
use crate::sync::Cell;

/// A pointer to a member of a set. A member is live until it is removed (`handle`, E2).
#[derive(Debug)]
struct At<T>(NonNull<T>);

impl<T> Clone for At<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for At<T> {}

impl<T> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Deref for At<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: E2: `RecordSet::insert` made the pointer, and members are live until they are
        // removed. `unlink` removes the pointers to a member together with the member.
        unsafe { self.0.as_ref() }
    }
}

/// The links of a member in its set. The first member's `prev` is the last member: a set is one
/// pointer. A member without `prev` is in no set.
#[derive(Debug)]
pub struct SetLinks<T> {
    next: Cell<Option<At<T>>>,
    prev: Cell<Option<At<T>>>,
}

impl<T> SetLinks<T> {
    /// Creates the links of a record that is in no set.
    #[inline(always)]
    pub fn new() -> Self {
        Self { next: Cell::new(None), prev: Cell::new(None) }
    }
}

impl<T> Default for SetLinks<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A record that can be in a [`RecordSet`].
///
/// # Safety
/// A record always returns the same links, which are its own, and while it is in a set, the same
/// key.
pub unsafe trait Member: Sized {
    /// Returns the record's links.
    fn joint(&self) -> &SetLinks<Self>;
    /// Returns the key that lookups use.
    fn key(&self) -> u64;
}

/// A set of records, by key and in order of age (see the module).
pub struct RecordSet<H: Handle> {
    head: Option<At<H::Record>>,
    len: u32,
    /// The number of members at which the owner sweeps again: twice the number after the last
    /// sweep.
    sweep_at: u32,
    index: Option<Box<HashTable<At<H::Record>>>>,
    handles: PhantomData<H>,
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

impl<H: Handle<Record: Member>> RecordSet<H> {
    /// Creates an empty set.
    pub const fn new() -> Self {
        Self { head: None, len: 0, sweep_at: SWEEP_AT_LEAST as u32, index: None, handles: PhantomData }
    }

    /// Returns the number of members.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Returns `true` if the set has no members.
    pub fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Adds a member. Amortised O(1).
    pub fn insert(&mut self, member: H) {
        let member = At(member.into_raw());
        let joint = member.joint();
        joint.next.set(None);
        match self.head {
            None => {
                joint.prev.set(Some(member));
                self.head = Some(member);
            }
            Some(head) => {
                let last = head.joint().prev.replace(Some(member));
                joint.prev.set(last);
                if let Some(last) = last {
                    last.joint().next.set(Some(member));
                }
            }
        }
        self.len += 1;
        if self.index.is_some() {
            self.add_to_index(member);
        }
    }

    fn add_to_index(&mut self, member: At<H::Record>) {
        let frozen = self.sweep_at == FROZEN;
        let rehash = |member: &At<H::Record>| hash(member.key());
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
        let rehash = |member: &At<H::Record>| hash(member.key());
        let mut index = HashTable::new();
        if index.try_reserve(self.len() * 2, rehash).is_err() {
            return;
        }
        let mut next = self.head;
        while let Some(member) = next {
            next = member.joint().next.get();
            index.insert_unique(rehash(&member), member, rehash);
        }
        // The box itself is small; without memory for it the set stays a list.
        self.index = crate::memory::try_box(index).ok();
    }

    /// Returns the youngest member with the key. O(1) amortised.
    #[inline]
    pub fn find(&mut self, key: u64) -> Option<Found<'_, H>> {
        let member = self.locate(key)?;
        Some(Found { set: self, member })
    }

    #[inline]
    fn locate(&mut self, key: u64) -> Option<At<H::Record>> {
        let head = self.head?;
        if self.index.is_some() {
            return self.locate_by_index(key);
        }
        // Start at the youngest: a call's monitor, a receive's timer.
        let mut at = head.joint().prev.get()?;
        for _ in 0..INDEX_FROM {
            if at.key() == key {
                return Some(at);
            }
            if at == head {
                return None;
            }
            at = at.joint().prev.get()?;
        }
        self.locate_slow(key)
    }

    /// Finds a member that is not among the youngest. From now on there is an index, if there is
    /// memory for one.
    #[cold]
    fn locate_slow(&mut self, key: u64) -> Option<At<H::Record>> {
        if self.sweep_at != FROZEN {
            self.build_index();
        }
        if self.index.is_some() {
            return self.locate_by_index(key);
        }
        let (mut found, mut next) = (None, self.head);
        while let Some(member) = next {
            next = member.joint().next.get();
            if member.key() == key {
                found = Some(member);
            }
        }
        found
    }

    #[inline(never)]
    fn locate_by_index(&self, key: u64) -> Option<At<H::Record>> {
        self.index.as_ref()?.find(hash(key), |member| member.key() == key).copied()
    }

    /// Removes a member. O(1).
    fn unlink(&mut self, member: At<H::Record>) -> H {
        let joint = member.joint();
        let (next, prev) = (joint.next.get(), joint.prev.replace(None));
        if self.head == Some(member) {
            self.head = next;
        } else if let Some(prev) = prev {
            prev.joint().next.set(next);
        }
        // The last member has no next one: it is then the first one's `prev`.
        if let Some(next) = next.or(self.head) {
            next.joint().prev.set(prev);
        }
        self.len -= 1;
        if let Some(index) = &mut self.index
            && let Ok(entry) = index.find_entry(hash(member.key()), |other| *other == member)
        {
            entry.remove();
        }
        if self.len == 0 {
            self.index = None;
        }
        // SAFETY: E2: the set had the handle, and no longer has a pointer to the member.
        unsafe { H::from_raw(member.0) }
    }

    /// Removes a member that the caller has found by another way. Returns `None` if it is in no
    /// set. O(1).
    ///
    /// # Safety
    /// The member is in this set, or in none.
    pub unsafe fn remove(&mut self, member: &H::Record) -> Option<H> {
        let prev = member.joint().prev.get()?;
        // The set's own pointer, which is valid for more than `member`.
        let member = match self.head {
            Some(head) if core::ptr::eq(&*head, member) => head,
            _ => prev.joint().next.get()?,
        };
        Some(self.unlink(member))
    }

    /// Removes and returns the oldest member.
    pub fn pop(&mut self) -> Option<H> {
        self.head.map(|head| self.unlink(head))
    }

    /// Removes the members for which `keeps` returns `false`, oldest first, and passes them to
    /// `gone`.
    pub fn retain(&mut self, mut keeps: impl FnMut(&H) -> bool, mut gone: impl FnMut(H)) {
        let mut next = self.head;
        while let Some(member) = next {
            next = member.joint().next.get();
            // SAFETY: E2: the set has the member's handle, and is not changed while it is borrowed.
            let keeps = keeps(&*unsafe { Borrowed::of(member.0) });
            if !keeps {
                gone(self.unlink(member));
            }
        }
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

    /// Returns an iterator over all members, oldest first.
    pub fn iter(&self) -> Iter<'_, H> {
        Iter { next: self.head, set: PhantomData }
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

impl<H: Handle> fmt::Debug for RecordSet<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordSet").field("len", &self.len).finish_non_exhaustive()
    }
}

impl<H: Handle<Record: Member>> Default for RecordSet<H> {
    fn default() -> Self {
        Self::new()
    }
}

/// A member that [`RecordSet::find`] found.
pub struct Found<'s, H: Handle> {
    set: &'s mut RecordSet<H>,
    member: At<H::Record>,
}

impl<'s, H: Handle<Record: Member>> Found<'s, H> {
    /// Returns the member.
    pub fn get(&self) -> Borrowed<'_, H> {
        // SAFETY: E2: the set has the member's handle, and is not changed while it is borrowed.
        unsafe { Borrowed::of(self.member.0) }
    }

    /// Removes the member from the set. O(1).
    pub fn remove(self) -> H {
        self.set.unlink(self.member)
    }
}

impl<H: Handle<Record: Member>> Deref for Found<'_, H> {
    type Target = H::Record;

    fn deref(&self) -> &H::Record {
        &self.member
    }
}

impl<H: Handle> fmt::Debug for Found<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Found")
    }
}

/// An iterator over the members of a set; see [`RecordSet::iter`].
pub struct Iter<'s, H: Handle> {
    next: Option<At<H::Record>>,
    set: PhantomData<&'s RecordSet<H>>,
}

impl<H: Handle> fmt::Debug for Iter<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Iter")
    }
}

impl<'s, H: Handle<Record: Member>> Iterator for Iter<'s, H> {
    type Item = Borrowed<'s, H>;

    fn next(&mut self) -> Option<Borrowed<'s, H>> {
        let member = self.next?;
        self.next = member.joint().next.get();
        // SAFETY: E2: the set has the member's handle, and is not changed while it is borrowed.
        Some(unsafe { Borrowed::of(member.0) })
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::memory::pool_box::PoolBox;
    use alloc::rc::Rc;
    use alloc::vec::Vec;

    struct Record {
        joint: SetLinks<Record>,
        key: u64,
        _alive: Rc<()>,
    }

    // SAFETY: the links are a field of the record, and the key is constant.
    unsafe impl Member for Record {
        fn joint(&self) -> &SetLinks<Self> {
            &self.joint
        }

        fn key(&self) -> u64 {
            self.key
        }
    }

    fn filled(keys: impl Iterator<Item = u64>, alive: &Rc<()>) -> RecordSet<PoolBox<Record>> {
        let mut set = RecordSet::new();
        for key in keys {
            let record = Record { joint: SetLinks::new(), key, _alive: alive.clone() };
            set.insert(PoolBox::try_new(record, None).ok().expect("memory"));
        }
        set
    }

    fn keys(set: &RecordSet<PoolBox<Record>>) -> Vec<u64> {
        set.iter().map(|member| member.key).collect()
    }

    /// More members than the walk of the youngest covers, so that the index is used as well.
    const MANY: u64 = 4 * INDEX_FROM as u64;

    #[test]
    fn members_are_found_removed_and_returned_once() {
        let alive = Rc::new(());
        let mut set = filled(0..MANY, &alive);
        for key in [0, MANY - 1, MANY / 2] {
            let found = set.find(key).expect("a member");
            assert_eq!((found.key, found.get().key), (key, key));
            let removed = found.remove();
            assert_eq!(removed.key, key);
            assert!(set.find(key).is_none());
            set.insert(removed);
            assert_eq!(keys(&set).last(), Some(&key), "the youngest");
        }
        assert_eq!((set.len(), Rc::strong_count(&alive)), (MANY as usize, MANY as usize + 1));
        while let Some(member) = set.pop() {
            assert_eq!(Rc::strong_count(&alive), set.len() + 2);
            drop(member);
        }
        assert_eq!((set.len(), Rc::strong_count(&alive)), (0, 1));
    }

    #[test]
    fn retain_removes_in_order_of_age() {
        let alive = Rc::new(());
        for index in [false, true] {
            let mut set = filled(0..MANY, &alive);
            assert!(!index || set.find(0).is_some());
            let mut gone = Vec::new();
            set.retain(|member| member.key % 3 == 1, |member| gone.push(member.key));
            assert!(gone.iter().copied().eq((0..MANY).filter(|key| key % 3 != 1)));
            assert!(keys(&set).into_iter().eq((0..MANY).filter(|key| key % 3 == 1)));
            assert!(set.find(0).is_none() && set.find(1).is_some());
            core::iter::from_fn(|| set.pop()).for_each(drop);
        }
        assert_eq!(Rc::strong_count(&alive), 1, "each member was dropped once");
    }

    #[test]
    fn member_in_no_set_is_not_removed() {
        let alive = Rc::new(());
        let mut set = filled(0..2, &alive);
        let first = set.find(0).expect("a member").remove();
        // SAFETY: the record is in no set.
        assert!(unsafe { set.remove(&first) }.is_none());
        set.insert(first);
        let second: *const Record = &**set.find(1).expect("a member").get();
        // SAFETY: the set keeps the record until the next line removes it.
        let second = unsafe { &*second };
        // SAFETY: the record is in this set.
        let second = unsafe { set.remove(second) }.expect("a member");
        assert_eq!((second.key, keys(&set)), (1, alloc::vec![0]));
        core::iter::from_fn(|| set.pop()).for_each(drop);
    }
}
