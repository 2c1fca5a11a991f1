//! The types that may move to another thread, with epochs and without (issue 14, items 1 and 3).
//! All tests but the last are checked at compile time.

#[cfg(not(feature = "epoch"))]
mod common;

use std::marker::PhantomData;

use atropos_kernel::reclaim::{Domain, Guard, Participant};
use atropos_kernel::{
    Address, Context, Core, Cx, ExitInfo, ExitQueue, ExitWatch, FiredWatch, Host, Kernel, Name, PanicScope, Pid,
    PreparedWatch, QueryFuture, Reason, Received, Reply, ReplyFuture, RequestFuture, SendError, SendReservation,
};

fn is_send<T: ?Sized + Send>() {}
fn is_sync<T: ?Sized + Sync>() {}

/// Fails to compile if the type has the trait: two implementations then apply, and the compiler
/// cannot choose.
macro_rules! is_not {
    ($bound:ident: $($what:ty),* $(,)?) => {$({
        trait Asks<A> { fn asks() {} }
        struct Has;
        impl<T: ?Sized> Asks<()> for T {}
        impl<T: ?Sized + $bound> Asks<Has> for T {}
        <$what as Asks<_>>::asks();
    })*};
}

/// A type that is neither `Send` nor `Sync`.
type Stays = PhantomData<*const ()>;

#[test]
fn n01_values_of_a_process_move_with_its_body() {
    is_send::<Context<u8>>();
    is_sync::<Context<u8>>();
    is_send::<PanicScope<u8>>();
    is_send::<Address<Stays>>();
    is_send::<Reply<u8>>();
    is_send::<ReplyFuture<u8>>();
    is_send::<RequestFuture<u8>>();
    is_send::<SendReservation>();
    is_send::<QueryFuture<bool>>();
    is_send::<Reason>();
    is_send::<Name>();
    is_send::<Received<u8>>();
    is_send::<(PreparedWatch, ExitWatch, FiredWatch, ExitInfo, ExitQueue)>();
    is_sync::<(ExitWatch, FiredWatch, Name, Reason)>();
    is_send::<SendError<u8>>();
    // A container of a message that is not `Send` is not `Send` either.
    is_not!(Send: Reply<Stays>, ReplyFuture<Stays>, RequestFuture<Stays>, Received<Stays>, SendError<Stays>);
}

#[test]
fn n01_slice_stays_on_its_thread() {
    is_not!(Send: Cx<'static, u8>, &'static Cx<'static, u8>, Host<'static>, Guard<'static>);
    is_not!(Sync: Cx<'static, u8>, Host<'static>, Guard<'static>, Core, Participant);
}

#[test]
#[cfg(feature = "epoch")]
fn n03_a_kernel_with_epochs_is_shared() {
    is_send::<(Domain, Participant, Core)>();
    is_sync::<(Domain, Kernel)>();
    is_send::<Kernel>();
    let _: Option<Pid> = None;
}

/// Issue 14, item 3: every type that could look into the table of a kernel without epochs stays on
/// its hart.
#[test]
#[cfg(not(feature = "epoch"))]
fn n03_a_kernel_of_one_hart_stays_there() {
    is_not!(Send: Domain, Participant, Kernel, &'static Kernel, std::sync::Arc<Kernel>, Core);
    is_not!(Sync: Domain, Participant, Kernel, std::sync::Arc<Kernel>, Core);
    let _: Option<Pid> = None;
}

/// Issue 14, item 3: a waker is `Send`, and the last waker of a kernel drops the kernel: on any
/// thread, while the hart continues with another kernel of the same domain. When the count of
/// guards was not atomic, guards were lost or left over, and memory was freed too early or never.
#[test]
#[cfg(not(feature = "epoch"))]
fn n03_a_waker_drops_a_kernel_of_one_hart_elsewhere() {
    use std::sync::{Arc, Mutex, mpsc};
    use std::task::Waker;

    use atropos_kernel::{BodyPoll, Options, SpawnOptions};

    let domain = Domain::new();
    let (send, wakers) = mpsc::channel::<Waker>();
    let elsewhere = std::thread::spawn(move || {
        for waker in wakers {
            waker.wake_by_ref();
            drop(waker);
        }
    });
    let current_slot = domain.register();
    for _ in 0..if cfg!(miri) { 10 } else { 2000 } {
        let world = Arc::new(common::Stepped::default());
        let kernel = Kernel::new(Options::default(), domain.clone(), world);
        let kept = Arc::new(Mutex::new(None));
        let place = kept.clone();
        let body = common::does(move |cx: &Cx<'_, ()>| {
            *place.lock().unwrap() = Some(cx.waker());
            BodyPoll::Wait
        });
        Host::new(&kernel, &current_slot).spawn(&SpawnOptions::new(), body).unwrap();
        let mut core = Core::new(kernel.clone(), 0);
        let _ = core.run(2);
        // The waker is the last holder of the kernel.
        drop((core, kernel));
        send.send(kept.lock().unwrap().take().expect("it has run")).unwrap();
        // At the same time the hart pins and unpins.
        for _ in 0..2000 {
            drop((current_slot.pin(), current_slot.pin()));
        }
    }
    drop(send);
    elsewhere.join().unwrap();
    // No guard is left: the only number in `Domain` is that of its guards.
    let left = format!("{domain:?}");
    assert!(left.contains("guards: 0"), "{left}");
}
