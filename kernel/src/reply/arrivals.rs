//! [`CompletionOrder`], in which order what several wakers wait for has come.
//!
//! An answer lies in a cell of its own, so of several that have come nothing says which was the first. Who
//! gathers them polls each with a waker of its own, an [`CompletionTicket`]'s: the first call of it takes the next place, and
//! then calls the waker that it was made with.
//!
//! - **R1.** A place is taken once: by the exchange that finds none. Later calls only pass the call on.
//! - **R2.** The place is there before the call is passed on: who is woken finds it.

use alloc::sync::Arc;
use alloc::task::Wake;
use core::task::Waker;

use crate::sync::{AtomicUsize, Ordering};

/// The orderings and steps, a parameter so that a model can weaken one and see it fail.
pub trait Orders: Send + Sync + 'static {
    /// Of taking a place. Release: pairs with `LOOK`, so that who sees the place sees what came before it.
    const TAKE: Ordering = Ordering::Release;
    /// Of the look at a place. Acquire: pairs with `TAKE`.
    const LOOK: Ordering = Ordering::Acquire;
    /// A place is kept by the first call.
    const TAKES_ONCE: bool = true;
    /// The place is taken before the call is passed on.
    const TAKES_FIRST: bool = true;
}

/// All as it must be.
#[derive(Debug)]
pub struct Shipped;
impl Orders for Shipped {}

/// A row in which places are taken. See the module.
#[derive(Debug, Default)]
pub struct CompletionOrder(Arc<Next>);

#[derive(Debug)]
struct Next(AtomicUsize);

impl Default for Next {
    fn default() -> Self {
        Self(AtomicUsize::new(0))
    }
}

/// One that is to take a place in the row.
#[derive(Debug)]
pub struct CompletionTicket<O: Orders = Shipped>(Arc<Slot<O>>);

#[derive(Debug)]
struct Slot<O> {
    row: Arc<Next>,
    /// 0 for none yet.
    place: AtomicUsize,
    then: Waker,
    orders: core::marker::PhantomData<O>,
}

impl<O: Orders> Slot<O> {
    fn take(&self) {
        // Relaxed: no place is there but by this exchange's own order.
        if O::TAKES_ONCE && self.place.load(Ordering::Relaxed) != 0 {
            return;
        }
        // Relaxed: a number, which is published with the place.
        let place = self.row.0.fetch_add(1, Ordering::Relaxed) + 1;
        if O::TAKES_ONCE {
            // Relaxed: who fails has been overtaken by another call, which has the place.
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
    /// An empty row.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that has not come yet; its waker passes calls on to `then`.
    pub fn ticket(&self, then: &Waker) -> CompletionTicket {
        self.ticket_by(then)
    }

    /// [`CompletionOrder::ticket`], with other orderings: for the models.
    pub fn ticket_by<O: Orders>(&self, then: &Waker) -> CompletionTicket<O> {
        CompletionTicket(Arc::new(Slot {
            row: self.0.clone(),
            place: AtomicUsize::new(0),
            then: then.clone(),
            orders: core::marker::PhantomData,
        }))
    }
}

impl<O: Orders> CompletionTicket<O> {
    /// The waker that takes the place. Wait-free.
    pub fn waker(&self) -> Waker {
        Waker::from(self.0.clone())
    }

    /// Takes the place now, if it has none.
    pub fn comes(&self) {
        self.0.take();
    }

    /// Its place in the row; `None` while it has not come. Lower is earlier.
    pub fn place(&self) -> Option<usize> {
        let place = self.0.place.load(O::LOOK);
        (place != 0).then_some(place)
    }

    /// Whether it passes calls on to `waker`.
    pub fn passes_on_to(&self, waker: &Waker) -> bool {
        self.0.then.will_wake(waker)
    }
}
