//! [`NewbornDeque`]: the newborn of a core, of which its owner runs the youngest first, and others steal the oldest.
//!
//! A process that starts many, each of which starts many, is a tree. Whoever runs the newborn in the order in which they were
//! born has a whole level of it alive at a time, and comes to each process when nothing of it is in the cache any more. The
//! youngest first, there is one path of the tree alive, and what lies beside it; and the oldest, which a thief gets, has the
//! largest part of the tree below it. Nobody starves for it: see `runq`, F2.
//!
//! The deque of Chase and Lev, as Lê, Pop, Cohen and Zappa Nardelli have it for weak memory (2013), of a fixed length:
//!
//! ```text
//!      top              bottom
//!       │ oldest … youngest │   free (up to top + RING)
//! ```
//!
//! - **W1.** Who moves `top` up has the node that was there: thieves by an exchange, and so does the owner when it takes
//!   the last one.
//! - **W2.** Of more than one the owner takes the youngest without an exchange. It moves `bottom` down before it looks at `top`,
//!   and a thief looks at `top` before it looks at `bottom`, with a SeqCst fence between the two steps on each side: so a
//!   thief that is about to take the owner's node has seen that it is gone, or the owner sees that only one is left.
//! - **W3.** A place is written again only when `top` has moved past it, so a thief that has read what is not there any more
//!   fails in its exchange. Positions are words and wrap: with 32 bits a thief would have to sleep through 2^32 births.
//!
//! Progress: `push` is wait-free, `pop` and `steal` are too (one exchange, which may fail because another got the node).

use alloc::boxed::Box;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use super::node::RunNode;
use crate::config::RING;
use crate::sync::{AtomicPtr, AtomicUsize, Ordering, fence};

/// The step that keeps owner and thief from taking one node, a parameter so that a model can leave it out and see it fail.
pub trait BroodModel: 'static {
    /// The owner's fence between its two steps (W2).
    const FENCES: bool = true;
}

/// The step as it must be.
#[derive(Debug)]
pub struct Shipped;
impl BroodModel for Shipped {}

/// See the module.
#[derive(Debug)]
pub struct NewbornDeque<S = Shipped> {
    top: AtomicUsize,
    bottom: AtomicUsize,
    places: Box<[AtomicPtr<RunNode>]>,
    steps: PhantomData<S>,
}

/// What a thief has got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Steal {
    /// The oldest.
    One(NonNull<RunNode>),
    /// Another came first: there may be more.
    Retry,
    /// There was none.
    Empty,
}

impl<S: BroodModel> NewbornDeque<S> {
    /// None.
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

    /// Adds the youngest; false when there is no room. Wait-free.
    ///
    /// # Safety
    /// The caller is the owner and has the node (R1).
    #[inline]
    pub unsafe fn push(&self, node: NonNull<RunNode>) -> bool {
        // Relaxed: the owner's own.
        let bottom = self.bottom.load(Ordering::Relaxed);
        // Acquire: pairs with the exchange of a thief, whose read of the place is over before we write there (W3).
        if bottom.wrapping_sub(self.top.load(Ordering::Acquire)) >= RING {
            return false;
        }
        // Relaxed: published by `bottom`.
        self.place(bottom).store(node.as_ptr(), Ordering::Relaxed);
        // Release: pairs with the Acquire of a thief: the place, and the process, are written.
        self.bottom.store(bottom.wrapping_add(1), Ordering::Release);
        true
    }

    /// Takes the youngest. Wait-free.
    ///
    /// # Safety
    /// The caller is the owner.
    #[inline]
    pub unsafe fn pop(&self) -> Option<NonNull<RunNode>> {
        // Relaxed, both: the owner's own; and `top` only ever comes nearer, so what looks empty is.
        let bottom = self.bottom.load(Ordering::Relaxed);
        if self.top.load(Ordering::Relaxed) == bottom {
            return None;
        }
        let youngest = bottom.wrapping_sub(1);
        // Relaxed: ordered by the fence.
        self.bottom.store(youngest, Ordering::Relaxed);
        if S::FENCES {
            // Pairs with the fence of `steal` (W2).
            fence(Ordering::SeqCst);
        }
        // Relaxed: ordered by the fence.
        let top = self.top.load(Ordering::Relaxed);
        let node = match youngest.wrapping_sub(top) {
            0 => {
                let gone = youngest.wrapping_add(1);
                // AcqRel: as a thief's, with which it is in one order (W1).
                let won = self.top.compare_exchange(top, gone, Ordering::AcqRel, Ordering::Relaxed).is_ok();
                // Relaxed: it is empty, and `bottom` is where it was.
                self.bottom.store(bottom, Ordering::Relaxed);
                if won { self.place(youngest).load(Ordering::Relaxed) } else { ptr::null_mut() }
            }
            usize::MAX => {
                // The last one has gone meanwhile. Relaxed: as above.
                self.bottom.store(bottom, Ordering::Relaxed);
                ptr::null_mut()
            }
            // Relaxed: our own store.
            _ => self.place(youngest).load(Ordering::Relaxed),
        };
        NonNull::new(node)
    }

    /// Takes the oldest. Anybody's. Wait-free.
    pub fn steal(&self) -> Steal {
        // Acquire: pairs with the exchanges of others, so that the place is read as it is since then (W3).
        let top = self.top.load(Ordering::Acquire);
        // Pairs with the fence of `pop` (W2).
        fence(Ordering::SeqCst);
        // Acquire: pairs with `push`.
        let bottom = self.bottom.load(Ordering::Acquire);
        // Below `top` by one while the owner finds it empty.
        if bottom.wrapping_sub(top).wrapping_sub(1) >= RING {
            return Steal::Empty;
        }
        // Relaxed: `bottom` was acquired.
        let node = self.place(top).load(Ordering::Relaxed);
        // Release: our read of the place comes before the owner's next write there. Acquire: as above.
        match self.top.compare_exchange(top, top.wrapping_add(1), Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => NonNull::new(node).map_or(Steal::Empty, Steal::One),
            Err(_) => Steal::Retry,
        }
    }

    /// How many there are. A hint, but for the fences of the park protocol.
    pub fn len(&self) -> usize {
        let top = self.top.load(Ordering::Acquire);
        let len = self.bottom.load(Ordering::Acquire).wrapping_sub(top);
        if len > RING { 0 } else { len }
    }

    /// Whether there is none. As [`NewbornDeque::len`].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<S: BroodModel> Default for NewbornDeque<S> {
    fn default() -> Self {
        Self::new()
    }
}
