//! A main process that borrows from the thread which waits for it: [`run`], the mechanism of [`crate::Runtime::block_on`].
//!
//! A process's body must own all that it has, because nobody knows when a process ends. Here the caller knows, because it waits. So
//! the body's lifetime is hidden from the kernel, under these rules:
//!
//! - **S1, nothing borrowed is left when [`run`] returns.** All that may borrow is in two boxes: what begins the body, and the body. Whoever has
//!   one of them has a [`Done`] beside it, which is dropped after it, and says so when it is. [`run`] returns after that, or when
//!   no process was started; then the spawn has dropped both.
//! - **S2, however it ends.** A process that is killed before its first slice drops what begins it; one that panics, in its start or later, or
//!   is killed, or returns, drops its body; a destructor that panics does not keep the next from running. A process that never ends (its
//!   body never lets go, or its core is gone) keeps [`run`] waiting, for ever if need be. A leaked box is never looked at again.
//! - **S3, [`run`] does not unwind.** From when a process may have been started until S1 holds a panic of its own ends the program.
//! - **S4, the result** is put where the caller has it, by the body, before it is dropped.
//! - **S5, no room is no room for a while.** A process that nothing is left of (S1) still has its place in the table, for some
//!   microseconds, or as long as its core is busy. With the limit of processes reached, [`run`] tries again for [`GRACE`]: one `block_on`
//!   after the other finds a place wherever one does.
//!
//! The runtime cannot be shut down meanwhile: that takes it by value, and the caller borrows it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use atropos_kernel::{Address, Context, SpawnError};

use crate::ending::{GRACE, Pauses, is_over};
use crate::panics::catch_panic;
use crate::runtime::Handle;

type Body<'b> = Pin<Box<dyn Future<Output = ()> + Send + 'b>>;
type Begin<'b, M> = Box<dyn FnOnce(Context<M>) -> Body<'b> + Send + 'b>;

/// Nothing foreign runs under these locks, so a poisoned one is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Signal {
    done: Mutex<bool>,
    told: Condvar,
}

impl Signal {
    fn wait(&self) {
        let mut done = lock(&self.done);
        while !*done {
            done = self.told.wait(done).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Dropped after what may borrow (S1).
struct Done(Arc<Signal>);

impl Drop for Done {
    fn drop(&mut self) {
        *lock(&self.0.done) = true;
        self.0.told.notify_all();
    }
}

/// What begins a body. The fields are dropped in their order (S1).
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

/// A body that runs. The fields are dropped in their order (S1).
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

/// Ends the program if it is dropped (S3).
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        eprintln!("atropos: a panic in `block_on` while its process may be running: the program ends");
        std::process::abort();
    }
}

/// A future in a box in which it was made: a large one is moved by the stack as seldom as can be.
fn boxed<F>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    let mut place = Box::<F>::new_uninit();
    place.write(make());
    // SAFETY: written in the line above.
    Box::into_pin(unsafe { place.assume_init() })
}

/// Starts the process that takes the body from its place (S5).
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
            let Some(begins) = begins else { unreachable!("one process is started, and takes it once") };
            begins.begin(cx)
        };
        match handle.spawn(start) {
            Err(SpawnError::TooMany) if !is_over(over) => pauses.pause(),
            spawned => return spawned,
        }
    }
}

/// Runs `main` as a process and blocks until nothing of it is left: what it returned, or the process that returned nothing.
pub(crate) fn run<M, T, S, F>(handle: &Handle, main: S) -> Result<Result<T, Address<M>>, SpawnError>
where
    M: Send + 'static,
    T: Send,
    S: FnOnce(Context<M>) -> F + Send,
    F: Future<Output = T> + Send,
{
    let result = Mutex::new(None);
    let signal = Arc::new(Signal::default());
    let begin: Begin<'_, M> = Box::new(|cx| {
        let body = boxed(|| main(cx));
        Box::pin(async {
            let value = body.await;
            *lock(&result) = Some(value);
        })
    });
    // SAFETY: only the lifetime changes, and what it names outlives the box: from here on this function neither returns nor
    // unwinds (S3) before the box, and what it made, have been dropped (S1, S2).
    let begin = unsafe { std::mem::transmute::<Begin<'_, M>, Begin<'static, M>>(begin) };
    let begins = Begins { begin, done: Done(signal.clone()) };
    let bomb = Bomb;
    // The process's, when there is one: what is left here is let go before the wait (S1), and is foreign (S3).
    let place = Arc::new(Mutex::new(Some(begins)));
    let spawned = spawn_when_there_is_room(handle, &place);
    let _ = catch_panic(|| drop(place));
    if spawned.is_ok() {
        signal.wait();
    }
    std::mem::forget(bomb);
    let main = spawned?;
    Ok(result.into_inner().unwrap_or_else(PoisonError::into_inner).ok_or(main))
}
