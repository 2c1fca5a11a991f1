//! [`Orders`]: the order of the pairs of maps, found before the pairs are moved.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// The maps whose pairs do not lie in the order of their keys, by position.
#[derive(Default, Debug)]
pub(crate) struct Orders {
    maps: BTreeMap<u32, Order>,
    /// Where pairs begin and end: those of each map in one run.
    pairs: Vec<(u32, u32)>,
}

/// The order of one map's pairs.
#[derive(Debug)]
pub(crate) struct Order {
    /// Where its pairs are in [`Orders::pairs`].
    first: usize,
    count: usize,
    end: u32,
}

impl Order {
    /// Returns where the map ends.
    pub(crate) fn end(&self) -> usize {
        self.end as usize
    }

    /// Returns the number of pairs.
    pub(crate) fn count(&self) -> usize {
        self.count
    }
}

impl Orders {
    pub(crate) fn is_empty(&self) -> bool {
        self.maps.is_empty()
    }

    /// Adds a map's pairs in their order.
    pub(crate) fn add(&mut self, map: u32, end: u32, pairs: &[(u32, u32)]) {
        let order = Order { first: self.pairs.len(), count: pairs.len(), end };
        self.pairs.extend_from_slice(pairs);
        self.maps.insert(map, order);
    }

    /// Returns the order of the map at this position.
    pub(crate) fn get(&self, map: usize) -> Option<&Order> {
        self.maps.get(&u32::try_from(map).ok()?)
    }

    /// Returns the first map in a range.
    pub(crate) fn first_in(&self, from: usize, to: usize) -> Option<(usize, &Order)> {
        let (map, order) = self.maps.range(from as u32..to as u32).next()?;
        Some((*map as usize, order))
    }

    /// Returns where a key begins.
    pub(crate) fn key(&self, order: &Order, index: usize) -> usize {
        self.pair(order, index).0
    }

    /// Returns where a pair begins and ends.
    pub(crate) fn pair(&self, order: &Order, index: usize) -> (usize, usize) {
        let (from, to) = self.pairs[order.first + index];
        (from as usize, to as usize)
    }
}
