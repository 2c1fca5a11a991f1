//! Tests of registries.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atropos_kernel::{Context, Pid, Reason, Received};
use atropos_otp::registry::{Registry, RegistryError};
use atropos_otp::{CallError, InitError, Next, Reply, Server, ServerCx, StartError};

use crate::common::{Bed, lock};

async fn waits(cx: Context<()>) {
    cx.recv().await;
}

#[test]
fn unique_key_has_one_process_and_is_removed_with_it() {
    let mut bed = Bed::new(2, 1);
    bed.run(|cx: Context<()>| async move {
        let registry = Registry::<String, u32>::unique().start().start(&cx).await.expect("up");
        let a = cx.spawn(waits).expect("space").pid();
        let b = cx.spawn(waits).expect("space").pid();
        let key = || String::from("key");
        assert_eq!(registry.register_other(&cx, a, key(), 1).await, Ok(()));
        assert_eq!(registry.register_other(&cx, b, key(), 2).await, Err(RegistryError::Taken(a)));
        assert_eq!(registry.lookup(&cx, key()).await, Ok(vec![(a, 1)]));
        assert_eq!(registry.keys(&cx, a).await, Ok(vec![key()]));
        // Killed and looked up at once: the lookup never finds a dead process.
        cx.exit(a, Reason::KILL).expect("a kill");
        assert_eq!(registry.lookup(&cx, key()).await, Ok(vec![]));
        assert_eq!(registry.register_other(&cx, a, key(), 1).await, Err(RegistryError::NoProc));
        assert_eq!(registry.register_other(&cx, b, key(), 2).await, Ok(()));
        cx.exit(b, Reason::KILL).expect("a kill");
        assert_eq!(registry.register(&cx, key(), 3).await, Ok(()), "a dead process has no key");
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
        registry.register_other(&cx, other.expect("space"), "topic", ()).await.expect("alive");
        assert_eq!(registry.dispatch(&cx, "topic", 7_u8).await, Ok(3));
        assert_eq!(registry.dispatch(&cx, "no one's", 7_u8).await, Ok(0));
        for _ in 0..2 {
            assert!(matches!(cx.recv().await, Received::Message(7)));
        }
        cx.sleep(Duration::from_millis(1)).await;
        assert_eq!(registry.count(&cx).await, Ok(2), "the other member has exited after it");
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
fn many_callers_find_or_start_one_server_via_a_registry() {
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

/// Issue 14, 12: a member learns that its registry has crashed: it dies of the link, or gets the
/// EXIT; the same holds for members that another process has registered. The exit of a member does
/// not end the registry.
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
        let (own, traps) = (own.expect("space").pid(), traps.expect("space").pid());
        let other = cx.spawn(waits).expect("space").pid();
        registry.register_other(&cx, other, "other", ()).await.expect("free");
        let left = cx.spawn(waits).expect("space").pid();
        registry.register_other(&cx, left, "left", ()).await.expect("free");
        assert_eq!(registry.unregister(&cx, left, "left").await, Ok(true));
        registry.register(&cx, "parent", ()).await.expect("free");
        let crashes = cx.spawn(waits).expect("space").pid();
        registry.register_other(&cx, crashes, "crashes", ()).await.expect("free");
        cx.exit(crashes, Reason::value("its own")).expect("memory");
        cx.sleep(Duration::from_millis(1)).await;
        assert_eq!(registry.whereis(&cx, "crashes").await, Ok(None));
        assert_eq!(registry.whereis(&cx, "traps").await, Ok(Some(traps)));
        cx.exit(registry, Reason::KILL).expect("a kill");
        cx.sleep(Duration::from_millis(1)).await;
        for member in [own, other, traps] {
            assert!(!cx.is_alive(member).await, "the link or the EXIT ended it");
        }
        assert!(cx.is_alive(left).await, "it had left");
        let exit = lock(&heard).take().expect("an EXIT");
        assert_eq!((exit.from, exit.reason), (Some(registry.pid()), Reason::KILLED));
        // The parent is not linked, whatever it registers, so it survives.
        let apart = Registry::<&str, ()>::unique().unlinked().start().start(&cx).await.expect("up");
        apart.register_other(&cx, left, "left", ()).await.expect("free");
        cx.exit(apart, Reason::KILL).expect("a kill");
        assert!(!cx.is_alive(apart).await);
        assert!(cx.is_alive(left).await, "not linked");
    });
}

/// Issue 14, 12: a registry traps exits because of its links; an exit signal from a live process
/// still ends it.
#[test]
fn n12_exit_signal_still_ends_a_registry() {
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

/// Issue 14, 30: a process has a key as often as it has registered it; its keys are listed oldest
/// first.
#[test]
fn n30_keys_are_listed_as_often_as_they_are_registered() {
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

/// Issue 14, 12: many members of one key that die together are removed in time proportional to
/// their number. (With a search for each, this takes minutes.)
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
            let pid = cx.spawn(waits).expect("space").pid();
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
