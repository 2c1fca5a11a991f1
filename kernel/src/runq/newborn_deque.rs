//! [`NewbornDeque`]: the newborn processes of a core. Its owner runs the youngest first, and
//! thieves steal the oldest.
//!
//! A process that starts many children, each of which starts many, forms a tree. A core that runs
//! newborns in birth order keeps a whole level of the tree alive at a time, and reaches each
//! process when its data has left the cache. A core that runs the youngest first keeps one path of
//! the tree alive, and the siblings along that path. The oldest newborn, which a thief gets, has
//! the largest part of the tree below it. No newborn starves: see `runq`, F2.
//!
//! The deque is the Chase-Lev deque in the weak-memory form of Lê, Pop, Cohen and Zappa Nardelli
//! (2013), with a fixed length:
//!
//! ```text
//!      top              bottom
//!       │ oldest … youngest │   free (up to top + RING)
//! ```
//!
//! - **W1.** The core that moves `top` up gets the node that was there. Thieves move it by an
//!   exchange, and so does the owner when it takes the last node.
//! - **W2.** If more than one node is left, the owner takes the youngest without an exchange. The
//!   owner moves `bottom` down before it reads `top`, and a thief reads `top` before it reads
//!   `bottom`. A SeqCst fence separates the two steps on each side. So either a thief that is about
//!   to take the owner's node has seen that the node is gone, or the owner sees that only one node
//!   is left.
//! - **W3.** A slot is rewritten only after `top` has moved past it, so a thief that has read a
//!   stale node fails in its exchange. Positions are words and wrap: with 32 bits a thief would
//!   have to sleep through 2^32 births to mistake an old `top` for a new one.
//!
//! Progress: `push`, `pop` and `steal` are wait-free. The one exchange may fail because another
//! core got the node.

use alloc::boxed::Box;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use crate::config::RING;
use crate::runq::node::{HeldRunNode, RunNode};
use crate::shipped::Shipped;
use crate::sync::{AtomicPtr, AtomicUsize, Ordering, fence};

/// The step that keeps the owner and a thief from taking the same node. A model can omit it and see
/// the failure.
pub trait DequeModel: 'static {
    /// The owner's fence between its two steps (W2).
    const FENCES: bool = true;
}

impl DequeModel for Shipped {}

/// A fixed-size Chase-Lev deque of newborn processes; see the module.
#[derive(Debug)]
pub struct NewbornDeque<S = Shipped> {
    top: AtomicUsize,
    bottom: AtomicUsize,
    places: Box<[AtomicPtr<RunNode>]>,
    steps: PhantomData<S>,
}

/// The owner's side of a deque, which stays on the owner's thread.
#[derive(Debug)]
pub struct DequeOwner<'d, S = Shipped>(&'d NewbornDeque<S>, PhantomData<*mut ()>);

impl<S> Clone for DequeOwner<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for DequeOwner<'_, S> {}

/// The outcome of an attempt to steal.
#[derive(PartialEq, Eq, Debug)]
pub enum Steal {
    /// The oldest node, now the thief's.
    One(HeldRunNode),
    /// The exchange lost to another core; more nodes may be left.
    Retry,
    /// The deque was empty.
    Empty,
}

impl<S: DequeModel> NewbornDeque<S> {
    /// Creates an empty deque.
    pub fn new() -> Self {
        Self {
            top: AtomicUsize::new(0),
            bottom: AtomicUsize::new(0),
            places: (0..RING).map(|_| AtomicPtr::new(ptr::null_mut())).collect(),
            steps: PhantomData,
        }
    }

    fn place(&self, position: usize) -> &AtomicPtr<RunNode> {
        &self.places[position & (RING - 1)]
    }

    /// Returns the node of a slot, if this core gets it (W1).
    #[inline(always)]
    fn take_claimed(&self, node: *mut RunNode) -> Option<HeldRunNode> {
        // SAFETY: R1, W1: the deque has its nodes, and the core that moves `top` past a slot, or
        // takes it off the bottom (W2), gets the slot's node.
        NonNull::new(node).map(|node| unsafe { HeldRunNode::new(node) })
    }

    /// Returns the owner's side.
    ///
    /// # Safety
    /// The caller is the deque's owner: no other thread has an owner's side of the deque in the
    /// meantime.
    #[inline(always)]
    pub const unsafe fn owner(&self) -> DequeOwner<'_, S> {
        DequeOwner(self, PhantomData)
    }

    /// Takes the oldest node. Any core may call it. Wait-free.
    pub fn steal(&self) -> Steal {
        // Acquire: pairs with the exchanges of other cores, so that the slot is read as of this
        // `top` (W3).
        let top = self.top.load(Ordering::Acquire);
        // Pairs with the fence of `pop` (W2).
        fence(Ordering::SeqCst);
        // Acquire: pairs with the Release store in `push`.
        let bottom = self.bottom.load(Ordering::Acquire);
        // While the owner finds the deque empty, `bottom` is one below `top`.
        if bottom.wrapping_sub(top).wrapping_sub(1) >= RING {
            return Steal::Empty;
        }
        // Relaxed: `bottom` was acquired.
        let node = self.place(top).load(Ordering::Relaxed);
        // Release: our read of the slot comes before the owner's next write there (W3). Acquire: in
        // one order with the exchanges of other cores (W1).
        match self.top.compare_exchange(top, top.wrapping_add(1), Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => self.take_claimed(node).map_or(Steal::Empty, Steal::One),
            Err(_) => Steal::Retry,
        }
    }

    /// Returns the number of nodes. Only a hint, unless the fences of the park protocol surround
    /// it.
    pub fn len(&self) -> usize {
        let top = self.top.load(Ordering::Acquire);
        let len = self.bottom.load(Ordering::Acquire).wrapping_sub(top);
        if len > RING { 0 } else { len }
    }

    /// Returns `true` if the deque is empty. A hint, like [`NewbornDeque::len`].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<S: DequeModel> DequeOwner<'_, S> {
    /// Adds a node as the youngest, or gives it back if the deque is full. Wait-free.
    #[inline]
    pub fn push(self, node: HeldRunNode) -> Result<(), HeldRunNode> {
        let deque = self.0;
        // Relaxed: only the owner writes `bottom`.
        let bottom = deque.bottom.load(Ordering::Relaxed);
        // Acquire: pairs with the exchange in `steal`. Without it we could overwrite the slot
        // before the thief has read it (W3).
        if bottom.wrapping_sub(deque.top.load(Ordering::Acquire)) >= RING {
            return Err(node);
        }
        // Relaxed: published by `bottom`.
        deque.place(bottom).store(node.into_raw().as_ptr(), Ordering::Relaxed);
        // Release: pairs with the Acquire load of `bottom` in `steal`: the thief sees the slot and
        // the process as written.
        deque.bottom.store(bottom.wrapping_add(1), Ordering::Release);
        Ok(())
    }

    /// Takes the youngest node. Wait-free.
    #[inline]
    pub fn pop(self) -> Option<HeldRunNode> {
        let deque = self.0;
        // Relaxed, both: only the owner writes `bottom`, and `top` only moves towards it. A deque
        // that looks empty is empty.
        let bottom = deque.bottom.load(Ordering::Relaxed);
        if deque.top.load(Ordering::Relaxed) == bottom {
            return None;
        }
        let youngest = bottom.wrapping_sub(1);
        // Relaxed: ordered by the fence.
        deque.bottom.store(youngest, Ordering::Relaxed);
        if S::FENCES {
            // Pairs with the fence of `steal` (W2).
            fence(Ordering::SeqCst);
        }
        // Relaxed: ordered by the fence.
        let top = deque.top.load(Ordering::Relaxed);
        let node = match youngest.wrapping_sub(top) {
            0 => {
                let gone = youngest.wrapping_add(1);
                // AcqRel: in one order with the exchanges of thieves (W1).
                let won = deque.top.compare_exchange(top, gone, Ordering::AcqRel, Ordering::Relaxed).is_ok();
                // Relaxed: the deque is empty, and `bottom` returns to its old value.
                deque.bottom.store(bottom, Ordering::Relaxed);
                if won { deque.place(youngest).load(Ordering::Relaxed) } else { ptr::null_mut() }
            }
            usize::MAX => {
                // A thief took the last node in between. Relaxed: the deque is empty, and `bottom`
                // returns to its old value.
                deque.bottom.store(bottom, Ordering::Relaxed);
                ptr::null_mut()
            }
            // Relaxed: the owner wrote the slot.
            _ => deque.place(youngest).load(Ordering::Relaxed),
        };
        deque.take_claimed(node)
    }
}

impl<S: DequeModel> Default for NewbornDeque<S> {
    fn default() -> Self {
        Self::new()
    }
}
