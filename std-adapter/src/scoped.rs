//! A main process that borrows from the thread that waits for it: [`run`], the mechanism of
//! [`crate::Runtime::block_on`].
//!
//! A process's body must normally own everything that it uses, because no caller knows when a
//! process ends. Here the caller knows, because it waits. So the body's lifetime is hidden from the
//! kernel, under these rules:
//!
//! - **S1, nothing borrowed is left when [`run`] returns.** Everything that may borrow is in two
//!   boxes: the closure that starts the body, and the body itself. The owner of either box also
//!   owns a [`Done`], which is dropped after the box and then signals the caller. [`run`] returns
//!   after that signal, or when no process was started; in that case the failed spawn has dropped
//!   both.
//! - **S2, this holds however the process ends.** A process that is killed before its first slice
//!   drops the closure. One that panics (at its start or later), is killed, or returns, drops its
//!   body. A destructor that panics does not stop the next one from running. A process that never
//!   ends (its body never yields, or its core is gone) keeps [`run`] waiting, for ever if need be.
//!   A leaked box is never accessed again.
//! - **S3, [`run`] does not unwind.** From the moment at which a process may have been started
//!   until S1 holds, a panic in [`run`] itself aborts the program.
//! - **S4, the result** is written into the caller's frame by the body, before the body is dropped.
//! - **S5, a full process table is retried for a while.** A process whose borrows are gone (S1)
//!   still has its slot in the table, for some microseconds, or as long as its core is busy. When
//!   the process limit is reached, [`run`] retries for [`GRACE`]. So consecutive `block_on` calls
//!   succeed wherever a single one does.
//!
//! The runtime cannot be shut down during [`run`]: a shutdown takes the runtime by value, and the
//! caller borrows it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::thread::{self, Thread};
use std::time::Instant;

use atropos_kernel::{Address, Context, SpawnError};

use crate::deadline::{GRACE, Pauses, is_over};
use crate::handle::Handle;
use crate::panics::catch_panic;

type Body<'b> = Pin<Box<dyn Future<Output = ()> + Send + 'b>>;
type Begin<'b, M> = Box<dyn FnOnce(Context<M>) -> Body<'b> + Send + 'b>;

/// Locks the mutex. No code of the user runs under these locks, so a poisoned value is intact.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The signal that the thread in [`run`] waits for. It is an atomic rather than a lock and a
/// condition variable: ThreadSanitizer sees no order that a contended lock of the library makes.
struct Signal {
    done: AtomicBool,
    waiter: Thread,
}

impl Signal {
    /// Creates the signal for this thread.
    fn new() -> Self {
        Self { done: AtomicBool::new(false), waiter: thread::current() }
    }

    /// Waits, in the thread that the signal is for.
    fn wait(&self) {
        // Acquire: pairs with the store of `Done`, after which nothing is borrowed (S1).
        while !self.done.load(Ordering::Acquire) {
            thread::park();
        }
        // The wait may have used up an `unpark` that other code is waiting for.
        self.waiter.unpark();
    }
}

/// A guard that signals [`run`] when it is dropped, after everything that may borrow (S1).
struct Done(Arc<Signal>);

impl Drop for Done {
    fn drop(&mut self) {
        // Release: pairs with the load of `Signal::wait`.
        self.0.done.store(true, Ordering::Release);
        self.0.waiter.unpark();
    }
}

/// The closure that starts a body. The fields are dropped in declaration order (S1).
struct Begins<M> {
    begin: Begin<'static, M>,
    done: Done,
}

impl<M> Begins<M> {
    fn begin(self, cx: Context<M>) -> Runs {
        let Self { begin, done } = self;
        Runs { body: begin(cx), _done: done }
    }
}

/// A body that has started. The fields are dropped in declaration order (S1).
struct Runs {
    body: Body<'static>,
    _done: Done,
}

impl Future for Runs {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<()> {
        self.body.as_mut().poll(task)
    }
}

/// A guard that aborts the program if it is dropped (S3).
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        eprintln!("atropos: a panic in `block_on` while its process may be running: the program ends");
        std::process::abort();
    }
}

/// Builds a future directly in its box, so that a large one is moved over the stack as rarely as
/// possible.
fn boxed<F>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    let mut place = Box::<F>::new_uninit();
    place.write(make());
    // SAFETY: the line above writes the value.
    Box::into_pin(unsafe { place.assume_init() })
}

/// Spawns the process that takes the body out of `place`, and retries while the process table is
/// full (S5).
fn spawn_when_there_is_room<M: Send + 'static>(
    handle: &Handle,
    place: &Arc<Mutex<Option<Begins<M>>>>,
) -> Result<Address<M>, SpawnError> {
    let over = Instant::now().checked_add(GRACE);
    let mut pauses = Pauses::new();
    loop {
        let there = place.clone();
        let start = move |cx| {
            let begins = lock(&there).take();
            drop(there);
            let Some(begins) = begins else { unreachable!("one process is started, and takes the body once") };
            begins.begin(cx)
        };
        match handle.spawn(start) {
            Err(SpawnError::TooMany) if !is_over(over) => pauses.pause(),
            spawned => return spawned,
        }
    }
}

/// Runs `main` as a process and blocks until nothing of its body is left: the process is dying.
/// Returns its address, and what it returned, unless it ended without a result.
pub(crate) fn run<M, T, S, F>(handle: &Handle, main: S) -> Result<(Address<M>, Option<T>), SpawnError>
where
    M: Send + 'static,
    T: Send,
    S: FnOnce(Context<M>) -> F + Send,
    F: Future<Output = T> + Send,
{
    let result = Mutex::new(None);
    let signal = Arc::new(Signal::new());
    let begin: Begin<'_, M> = Box::new(|cx| {
        let body = boxed(|| main(cx));
        Box::pin(async {
            let value = body.await;
            *lock(&result) = Some(value);
        })
    });
    // SAFETY: S1, S2, S3: only the lifetime changes, and what it names outlives the box. From here
    // on this function neither returns nor unwinds (S3) before the box, and the body that it made,
    // have been dropped (S1, S2).
    let begin = unsafe { std::mem::transmute::<Begin<'_, M>, Begin<'static, M>>(begin) };
    let begins = Begins { begin, done: Done(signal.clone()) };
    let bomb = Bomb;
    // Once a process has started, the value belongs to that process. A value that is still here is
    // dropped before the wait (S1); its destructor is user code and may panic (S3).
    let place = Arc::new(Mutex::new(Some(begins)));
    let spawned = spawn_when_there_is_room(handle, &place);
    let _ = catch_panic(|| drop(place));
    if spawned.is_ok() {
        signal.wait();
    }
    std::mem::forget(bomb);
    let main = spawned?;
    Ok((main, result.into_inner().unwrap_or_else(PoisonError::into_inner)))
}
