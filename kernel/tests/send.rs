//! What may go to another thread, with epochs and without (issue 14, 1 and 3). All but the last test is checked when it is compiled.

#[cfg(not(feature = "epoch"))]
mod common;

use std::marker::PhantomData;

use atropos_kernel::reclaim::{Domain, Guard, Participant};
use atropos_kernel::{
    Address, PanicScope, Context, Core, Cx, ExitInfo, ExitQueue, ExitWatch, FiredWatch, Host, SendReservation, Kernel, Name, Pid,
    PreparedWatch, Reason, Received, ReplyFuture, Reply, RequestFuture, SendError, QueryFuture,
};

fn is_send<T: ?Sized + Send>() {}
fn is_sync<T: ?Sized + Sync>() {}

/// Fails to compile where the type has the trait: which of two implementations is meant is then not clear.
macro_rules! is_not {
    ($bound:ident: $($what:ty),* $(,)?) => {$({
        trait Asks<A> { fn asks() {} }
        struct Has;
        impl<T: ?Sized> Asks<()> for T {}
        impl<T: ?Sized + $bound> Asks<Has> for T {}
        <$what as Asks<_>>::asks();
    })*};
}

/// Neither `Send` nor `Sync`.
type Stays = PhantomData<*const ()>;

#[test]
fn n01_what_a_process_has_goes_where_its_body_goes() {
    is_send::<Context<u8>>();
    is_sync::<Context<u8>>();
    is_send::<PanicScope<u8>>();
    is_send::<Address<Stays>>();
    is_send::<Reply<u8>>();
    is_send::<ReplyFuture<u8>>();
    is_send::<RequestFuture<u8>>();
    is_send::<SendReservation>();
    is_send::<QueryFuture>();
    is_send::<Reason>();
    is_send::<Name>();
    is_send::<Received<u8>>();
    is_send::<(PreparedWatch, ExitWatch, FiredWatch, ExitInfo, ExitQueue)>();
    is_sync::<(ExitWatch, FiredWatch, Name, Reason)>();
    is_send::<SendError<u8>>();
    // A message that stays makes what holds it stay.
    is_not!(Send: Reply<Stays>, ReplyFuture<Stays>, RequestFuture<Stays>, Received<Stays>, SendError<Stays>);
}

#[test]
fn n01_a_slice_stays_on_its_thread() {
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

/// Issue 14, 3: what could look into the table of a kernel without epochs stays on its hart.
#[test]
#[cfg(not(feature = "epoch"))]
fn n03_a_kernel_of_one_hart_stays_there() {
    is_not!(Send: Domain, Participant, Kernel, &'static Kernel, std::sync::Arc<Kernel>, Core);
    is_not!(Sync: Domain, Participant, Kernel, std::sync::Arc<Kernel>, Core);
    let _: Option<Pid> = None;
}

/// Issue 14, 3: a waker is `Send`, and the last of one drops its kernel: on any thread, while the hart goes on with another
/// kernel of the same domain. With a count of guards that was not atomic, guards were lost or left over, and memory freed too
/// early or never.
#[test]
#[cfg(not(feature = "epoch"))]
fn n03_a_waker_drops_a_kernel_of_one_hart_elsewhere() {
    use std::sync::{Arc, Mutex, mpsc};
    use std::task::Waker;

    use atropos_kernel::{Options, Resumed, SpawnOptions};

    let domain = Domain::new();
    let (send, wakers) = mpsc::channel::<Waker>();
    let elsewhere = std::thread::spawn(move || {
        for waker in wakers {
            waker.wake_by_ref();
            drop(waker);
        }
    });
    let here = domain.register();
    for _ in 0..if cfg!(miri) { 10 } else { 2000 } {
        let world = Arc::new(common::Stepped::default());
        let kernel = Kernel::new(Options::default(), domain.clone(), world);
        let kept = Arc::new(Mutex::new(None));
        let place = kept.clone();
        let body = common::does(move |cx: &Cx<'_, ()>| {
            *place.lock().unwrap() = Some(cx.waker());
            Resumed::Wait
        });
        Host::new(&kernel, &here).spawn(&SpawnOptions::new(), body).unwrap();
        let mut core = Core::new(kernel.clone(), 0);
        let _ = core.run(2);
        // The waker is the last who has the kernel.
        drop((core, kernel));
        send.send(kept.lock().unwrap().take().expect("it has run")).unwrap();
        // Meanwhile the hart pins and lets go.
        for _ in 0..2000 {
            drop((here.pin(), here.pin()));
        }
    }
    drop(send);
    elsewhere.join().unwrap();
    // No guard is left over: `Domain`'s only number is that of its guards.
    let left = format!("{domain:?}");
    assert!(left.contains("guards: 0"), "{left}");
}
