//! The order of arrival of several events, [`CompletionOrder`].
//!
//! An answer lies in a cell of its own, so when several have arrived, nothing says which was the
//! first. Code that gathers answers polls each with a waker of its own, from a
//! [`CompletionTicket`]. The first call of that waker takes the next number, and then calls the
//! waker that it was made with.
//!
//! - **R1.** A number is taken once: by the exchange that finds none. Later calls only forward the
//!   call.
//! - **R2.** The number is stored before the call is forwarded: the woken task finds it.

use alloc::sync::Arc;
use alloc::task::Wake;
use core::task::Waker;

use crate::shipped::Shipped;
use crate::sync::{AtomicUsize, Ordering};

/// The orderings and steps of the protocol. They are parameters so that a loom model can weaken one
/// of them and show that it then fails.
pub trait Orders: Send + Sync + 'static {
    /// The ordering of taking a number. Release: pairs with `LOOK`, so a thread that sees the
    /// number also sees what came before it.
    const TAKE: Ordering = Ordering::Release;
    /// The ordering of reading a number. Acquire: pairs with `TAKE`.
    const LOOK: Ordering = Ordering::Acquire;
    /// The first call keeps its number.
    const TAKES_ONCE: bool = true;
    /// The number is taken before the call is forwarded.
    const TAKES_FIRST: bool = true;
}

impl Orders for Shipped {}

/// A counter that numbers arrivals (see the module).
#[derive(Debug, Default)]
pub struct CompletionOrder(Arc<Next>);

#[derive(Debug)]
struct Next(AtomicUsize);

impl Default for Next {
    fn default() -> Self {
        Self(AtomicUsize::new(0))
    }
}

/// An expected arrival, which takes a number when it happens.
#[derive(Debug)]
pub struct CompletionTicket(Ticket<Shipped>);

/// The ticket, by its orderings and steps.
#[derive(Debug)]
pub struct Ticket<O: Orders>(Arc<Slot<O>>);

#[derive(Debug)]
struct Slot<O> {
    row: Arc<Next>,
    /// The number; 0 for none yet.
    place: AtomicUsize,
    then: Waker,
    orders: core::marker::PhantomData<O>,
}

impl<O: Orders> Slot<O> {
    fn take(&self) {
        // Relaxed: only the exchange below decides if a number is there.
        if O::TAKES_ONCE && self.place.load(Ordering::Relaxed) != 0 {
            return;
        }
        // Relaxed: a number, which is published with `place`.
        let place = self.row.0.fetch_add(1, Ordering::Relaxed) + 1;
        if O::TAKES_ONCE {
            // Relaxed: a failed exchange was overtaken by another call, which has stored its
            // number.
            let _ = self.place.compare_exchange(0, place, O::TAKE, Ordering::Relaxed);
        } else {
            self.place.store(place, O::TAKE);
        }
    }
}

impl<O: Orders> Wake for Slot<O> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if O::TAKES_FIRST {
            self.take();
        }
        self.then.wake_by_ref();
        if !O::TAKES_FIRST {
            self.take();
        }
    }
}

impl CompletionOrder {
    /// Creates a counter without arrivals.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates an arrival that has not happened yet; its waker forwards calls to `then`.
    pub fn ticket(&self, then: &Waker) -> CompletionTicket {
        CompletionTicket(Ticket::new(self, then))
    }
}

impl CompletionTicket {
    /// Returns the waker that takes the number. Wait-free.
    pub fn waker(&self) -> Waker {
        self.0.waker()
    }

    /// Takes the number now, if the arrival has none.
    pub fn comes(&self) {
        self.0.comes();
    }

    /// Returns its number; `None` while it has not arrived. Lower is earlier.
    pub fn place(&self) -> Option<usize> {
        self.0.place()
    }

    /// Returns `true` if it forwards calls to `waker`.
    pub fn passes_on_to(&self, waker: &Waker) -> bool {
        self.0.0.then.will_wake(waker)
    }
}

impl<O: Orders> Ticket<O> {
    /// Creates an arrival that has not happened yet; its waker forwards calls to `then`.
    pub fn new(order: &CompletionOrder, then: &Waker) -> Self {
        Self(Arc::new(Slot {
            row: order.0.clone(),
            place: AtomicUsize::new(0),
            then: then.clone(),
            orders: core::marker::PhantomData,
        }))
    }

    /// Returns the waker that takes the number. Wait-free.
    pub fn waker(&self) -> Waker {
        Waker::from(self.0.clone())
    }

    /// Takes the number now, if the arrival has none.
    pub fn comes(&self) {
        self.0.take();
    }

    /// Returns its number; `None` while it has not arrived. Lower is earlier.
    pub fn place(&self) -> Option<usize> {
        let place = self.0.place.load(O::LOOK);
        (place != 0).then_some(place)
    }
}
