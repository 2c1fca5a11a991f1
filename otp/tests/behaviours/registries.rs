//! Registries.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atropos_kernel::{Context, Pid, Reason, Received};
use atropos_otp::registry::{Registry, RegistryError};
use atropos_otp::{CallError, Next, InitError, Reply, Server, ServerCx, StartError};

use crate::common::{Bed, lock};

async fn waits(cx: Context<()>) {
    cx.recv().await;
}

#[test]
fn a_unique_key_has_one_process_and_goes_with_it() {
    let mut bed = Bed::new(2, 1);
    bed.run(|cx: Context<()>| async move {
        let registry = Registry::<String, u32>::unique().start().start(&cx).await.expect("up");
        let a = cx.spawn(waits).expect("room").pid();
        let b = cx.spawn(waits).expect("room").pid();
        let key = || String::from("key");
        assert_eq!(registry.register_other(&cx, a, key(), 1).await, Ok(()));
        assert_eq!(registry.register_other(&cx, b, key(), 2).await, Err(RegistryError::Taken(a)));
        assert_eq!(registry.lookup(&cx, key()).await, Ok(vec![(a, 1)]));
        assert_eq!(registry.keys(&cx, a).await, Ok(vec![key()]));
        // Killed and looked up in one breath: never the dead.
        cx.exit(a, Reason::KILL).expect("a kill");
        assert_eq!(registry.lookup(&cx, key()).await, Ok(vec![]));
        assert_eq!(registry.register_other(&cx, a, key(), 1).await, Err(RegistryError::NoProc));
        assert_eq!(registry.register_other(&cx, b, key(), 2).await, Ok(()));
        cx.exit(b, Reason::KILL).expect("a kill");
        assert_eq!(registry.register(&cx, key(), 3).await, Ok(()), "the dead hold nothing");
        assert_eq!(registry.unregister(&cx, b, key()).await, Ok(false));
        assert_eq!(registry.unregister(&cx, cx.pid(), key()).await, Ok(true));
        assert_eq!(registry.count(&cx).await, Ok(0));
        assert_eq!(registry.all(&cx).await, Ok(vec![]));
        let watched = cx.info(registry).await.expect("memory").expect("alive").monitors;
        assert!(watched.is_empty(), "{watched:?}");
    });
}

#[test]
fn duplicate_keys_are_dispatched_to_all() {
    let mut bed = Bed::new(2, 1);
    bed.run_as(|cx: Context<u8>| async move {
        let registry = Registry::<&str, ()>::duplicate().start().start(&cx).await.expect("up");
        for _ in 0..2 {
            registry.register(&cx, "topic", ()).await.expect("alive");
        }
        let other = cx.spawn(|cx: Context<u8>| async move {
            cx.recv().await;
        });
        registry.register_other(&cx, other.expect("room"), "topic", ()).await.expect("alive");
        assert_eq!(registry.dispatch(&cx, "topic", 7_u8).await, Ok(3));
        assert_eq!(registry.dispatch(&cx, "nobody's", 7_u8).await, Ok(0));
        for _ in 0..2 {
            assert!(matches!(cx.recv().await, Received::Message(7)));
        }
        cx.sleep(Duration::from_millis(1)).await;
        assert_eq!(registry.count(&cx).await, Ok(2), "the other has died of it");
        assert_eq!(registry.unregister(&cx, cx.pid(), "topic").await, Ok(true));
        assert_eq!(registry.count(&cx).await, Ok(0));
    });
}

/// A server that registers itself in its `init`.
struct Room(atropos_otp::registry::RegistryRef<u32, ()>, u32);

impl Server for Room {
    type Message = Reply<u32>;

    async fn init(&mut self, cx: ServerCx<'_, Self>) -> Result<Next<Reply<u32>>, InitError> {
        match self.0.register(cx.context(), self.1, ()).await {
            Ok(()) => Ok(Next::Wait),
            Err(error) => Err(InitError::Stop(Reason::value(error))),
        }
    }

    async fn handle(&mut self, reply: Reply<u32>, _: ServerCx<'_, Self>) -> Next<Reply<u32>> {
        reply.send(self.1);
        Next::Wait
    }
}

#[test]
fn via_a_registry_many_find_or_start_one() {
    for seed in 0..20 {
        let mut bed = Bed::new(3, seed);
        let registry = bed
            .run(|cx: Context<()>| async move { Registry::<u32, ()>::unique().start().start(&cx).await.expect("up") });
        let rooms: Arc<Mutex<Vec<Pid>>> = Arc::default();
        for _ in 0..8 {
            let rooms = rooms.clone();
            bed.spawn(false, move |cx: Context<()>| async move {
                let room = match Room(registry, 7).start().start(&cx).await {
                    Ok(room) => room.pid(),
                    Err(StartError::Refused(reason)) => match reason.kind() {
                        atropos_kernel::ReasonKind::Value(value) => match value.downcast_ref::<RegistryError>() {
                            Some(RegistryError::Taken(pid)) => *pid,
                            other => panic!("{other:?}"),
                        },
                        _ => panic!("{reason}"),
                    },
                    Err(error) => panic!("{error}"),
                };
                lock(&rooms).push(room);
                assert_eq!(registry.via::<Room>(7).call(&cx, |reply| reply).await, Ok(7));
            });
        }
        bed.settle();
        let rooms = lock(&rooms).clone();
        assert_eq!(rooms.len(), 8);
        assert!(rooms.iter().all(|room| *room == rooms[0]));
        assert_eq!(bed.processes(), 2);
        let none =
            bed.run(move |cx: Context<()>| async move { registry.via::<Room>(8).call(&cx, |reply| reply).await });
        assert_eq!(none, Err(CallError::NoName));
    }
}

/// Issue 14, 12: a member learns that its registry has crashed: it dies of the link, or has the EXIT; and so do members
/// that another process has registered. What ends a member does not end the registry.
#[test]
fn n12_members_go_with_their_registry() {
    let mut bed = Bed::new(2, 1);
    bed.run(|cx: Context<()>| async move {
        let registry = Registry::<&str, ()>::unique().start().start(&cx).await.expect("up");
        let heard = Arc::new(Mutex::new(None));
        let place = heard.clone();
        let own = cx.spawn(move |cx: Context<()>| async move {
            registry.register(&cx, "own", ()).await.expect("free");
            waits(cx).await;
        });
        let traps = cx.spawn(move |cx: Context<()>| async move {
            cx.trap_exit(true);
            registry.register(&cx, "traps", ()).await.expect("free");
            if let Received::Exit(exit) = cx.recv().await {
                *lock(&place) = Some(exit);
            }
        });
        let (own, traps) = (own.expect("room").pid(), traps.expect("room").pid());
        let other = cx.spawn(waits).expect("room").pid();
        registry.register_other(&cx, other, "other", ()).await.expect("free");
        let left = cx.spawn(waits).expect("room").pid();
        registry.register_other(&cx, left, "left", ()).await.expect("free");
        assert_eq!(registry.unregister(&cx, left, "left").await, Ok(true));
        registry.register(&cx, "parent", ()).await.expect("free");
        let crashes = cx.spawn(waits).expect("room").pid();
        registry.register_other(&cx, crashes, "crashes", ()).await.expect("free");
        cx.exit(crashes, Reason::value("its own")).expect("memory");
        cx.sleep(Duration::from_millis(1)).await;
        assert_eq!(registry.whereis(&cx, "crashes").await, Ok(None));
        assert_eq!(registry.whereis(&cx, "traps").await, Ok(Some(traps)));
        cx.exit(registry, Reason::KILL).expect("a kill");
        cx.sleep(Duration::from_millis(1)).await;
        for member in [own, other, traps] {
            assert!(!cx.is_alive(member).await, "it has learnt of it");
        }
        assert!(cx.is_alive(left).await, "it had left");
        let exit = lock(&heard).take().expect("an EXIT");
        assert_eq!((exit.from, exit.reason), (Some(registry.pid()), Reason::KILLED));
        // The parent is not linked, whatever it registers: it lives to see this.
        let apart = Registry::<&str, ()>::unique().unlinked().start().start(&cx).await.expect("up");
        apart.register_other(&cx, left, "left", ()).await.expect("free");
        cx.exit(apart, Reason::KILL).expect("a kill");
        assert!(!cx.is_alive(apart).await);
        assert!(cx.is_alive(left).await, "told not to");
    });
}

/// Issue 14, 12: a registry traps exits for its links; an exit signal that a living process sends ends it all the same.
#[test]
fn n12_an_exit_signal_ends_a_registry_still() {
    let mut bed = Bed::new(2, 1);
    let registry = bed
        .run(|cx: Context<()>| async move { Registry::<u8, ()>::unique().start().start(&cx).await.expect("up").pid() });
    bed.exit_from_a_stranger(registry, Reason::NORMAL);
    bed.settle();
    assert!(bed.is_alive(registry));
    bed.run(move |cx: Context<()>| async move {
        cx.exit(registry, Reason::SHUTDOWN).expect("memory");
        cx.sleep(Duration::from_millis(1)).await;
        assert!(!cx.is_alive(registry).await);
    });
}

/// Issue 14, 30: a process has a key as often as it has registered it, oldest first among its keys.
#[test]
fn n30_keys_come_as_often_as_they_are_registered() {
    let mut bed = Bed::new(2, 1);
    bed.run(|cx: Context<()>| async move {
        let registry = Registry::<&str, u8>::duplicate().start().start(&cx).await.expect("up");
        for (n, key) in ["b", "a", "b", "c", "a"].into_iter().enumerate() {
            registry.register(&cx, key, n as u8).await.expect("alive");
        }
        assert_eq!(registry.keys(&cx, cx.pid()).await, Ok(vec!["b", "a", "b", "c", "a"]));
        assert_eq!(registry.lookup(&cx, "b").await, Ok(vec![(cx.pid(), 0), (cx.pid(), 2)]));
        assert_eq!(registry.unregister(&cx, cx.pid(), "b").await, Ok(true), "all of it at once");
        assert_eq!(registry.keys(&cx, cx.pid()).await, Ok(vec!["a", "c", "a"]));
        assert_eq!(registry.count(&cx).await, Ok(3));
    });
}

/// Issue 14, 12: many members of one key that die together are forgotten in a time that grows with their number. (With a
/// search for each, this takes minutes.)
#[test]
fn n12_mass_leaving_is_linear() {
    const MANY: usize = 20_000;
    let mut bed = Bed::new(2, 1);
    let begun = std::time::Instant::now();
    let registry = bed
        .run(|cx: Context<()>| async move { Registry::<u8, usize>::duplicate().start().start(&cx).await.expect("up") });
    let pids = bed.run(move |cx: Context<()>| async move {
        let mut pids = Vec::new();
        for n in 0..MANY {
            let pid = cx.spawn(waits).expect("room").pid();
            registry.register_other(&cx, pid, 7, n).await.expect("alive");
            pids.push(pid);
        }
        pids
    });
    for pid in pids.into_iter().rev() {
        bed.exit(pid, Reason::KILL);
    }
    bed.settle();
    let left = bed.run(move |cx: Context<()>| async move { registry.count(&cx).await });
    assert_eq!(left, Ok(0));
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}
