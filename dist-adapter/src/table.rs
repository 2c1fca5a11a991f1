//! [`Table`]: where sessions and local processes are found by number.
//!
//! Sharded, so that two schedulers rarely meet; each operation locks one shard for one map operation. What is found is
//! counted, and lives on in the hands of its finder when it has been taken out: so whoever takes something out also
//! closes it, and who comes later with it in hand learns that from the thing itself.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use crate::sync::Mutex;

const SHARD_BITS: u32 = if cfg!(loom) { 0 } else { 5 };

type Shard<V> = Mutex<BTreeMap<u64, Arc<V>>>;

/// See the module. B-trees, because a peer chooses some of the numbers: no choice of them makes a look-up slow.
#[derive(Debug)]
pub(crate) struct Table<V> {
    shards: Box<[Shard<V>]>,
}

impl<V> Table<V> {
    pub(crate) fn new() -> Self {
        Self { shards: (0..1 << SHARD_BITS).map(|_| Mutex::default()).collect() }
    }

    fn shard(&self, number: u64) -> &Shard<V> {
        // Multiplied, so that neighbours and multiples of powers of two are spread.
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

    /// Drops what nobody else holds. What is found here is counted under the shard's lock, so nobody can come to hold it
    /// meanwhile. Its drop must call nothing foreign.
    pub(crate) fn drop_unused(&self) {
        for shard in &self.shards {
            shard.lock().retain(|_, held| Arc::strong_count(held) > 1);
        }
    }

    /// Puts one in; the one that it replaces.
    #[must_use = "what has been replaced must be closed"]
    pub(crate) fn replace(&self, number: u64, new: Arc<V>) -> Option<Arc<V>> {
        self.shard(number).lock().insert(number, new)
    }

    #[must_use = "what has been taken out must be closed"]
    pub(crate) fn take(&self, number: u64) -> Option<Arc<V>> {
        self.shard(number).lock().remove(&number)
    }

    /// Takes it out if it is the one that `which` means.
    #[must_use = "what has been taken out must be closed"]
    pub(crate) fn take_if(&self, number: u64, which: impl FnOnce(&Arc<V>) -> bool) -> Option<Arc<V>> {
        let mut shard = self.shard(number).lock();
        if shard.get(&number).is_some_and(which) { shard.remove(&number) } else { None }
    }
}
