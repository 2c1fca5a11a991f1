//! [`Table`]: a sharded map from numbers to sessions or local processes.
//!
//! The shards keep contention between schedulers rare. Each operation locks one shard for one map
//! operation. Values are reference-counted, so a found value stays valid after its removal.
//! Therefore the thread that removes a value also closes it, and a thread that still holds the
//! value sees that it is closed.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use crate::sync::Mutex;

const SHARD_BITS: u32 = if cfg!(loom) { 0 } else { 5 };

type Shard<V> = Mutex<BTreeMap<u64, Arc<V>>>;

/// A sharded map. The shards are B-trees because a peer chooses some of the numbers: no choice of
/// keys makes a look-up slow.
#[derive(Debug)]
pub(crate) struct Table<V> {
    shards: Box<[Shard<V>]>,
}

impl<V> Table<V> {
    pub(crate) fn new() -> Self {
        Self { shards: (0..1 << SHARD_BITS).map(|_| Mutex::default()).collect() }
    }

    fn shard(&self, number: u64) -> &Shard<V> {
        // The multiplication spreads neighbours and multiples of powers of two.
        let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        &self.shards[spread as usize & (self.shards.len() - 1)]
    }

    pub(crate) fn get(&self, number: u64) -> Option<Arc<V>> {
        self.shard(number).lock().get(&number).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    pub(crate) fn get_or_add(&self, number: u64, new: impl FnOnce() -> V) -> Arc<V> {
        let new = Arc::new(new());
        self.shard(number).lock().entry(number).or_insert(new).clone()
    }

    /// Drops the values that only the table holds. Look-ups clone a value under the shard's lock,
    /// so no thread can acquire one during the check. The value's drop must call no external code.
    pub(crate) fn drop_unused(&self) {
        for shard in &self.shards {
            shard.lock().retain(|_, held| Arc::strong_count(held) > 1);
        }
    }

    /// Inserts a value and returns the value that it replaces.
    #[must_use = "what has been replaced must be closed"]
    pub(crate) fn replace(&self, number: u64, new: Arc<V>) -> Option<Arc<V>> {
        self.shard(number).lock().insert(number, new)
    }

    #[must_use = "what has been taken out must be closed"]
    pub(crate) fn take(&self, number: u64) -> Option<Arc<V>> {
        self.shard(number).lock().remove(&number)
    }

    /// Removes and returns the value if `which` accepts it.
    #[must_use = "what has been taken out must be closed"]
    pub(crate) fn take_if(&self, number: u64, which: impl FnOnce(&Arc<V>) -> bool) -> Option<Arc<V>> {
        let mut shard = self.shard(number).lock();
        if shard.get(&number).is_some_and(which) { shard.remove(&number) } else { None }
    }
}
