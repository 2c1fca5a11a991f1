//! Two runtimes of one program (issue 14, 2): a pid, reference or alias of one runtime is an error
//! or unknown to the other, and never names a process, monitor, alias or timer of its own.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use atropos::facility::LinkFacility as _;
use atropos::kernel::{CallerState, Tombstone};
use atropos::prelude::*;
use atropos::{Alias, WatchError};

const SOON: Duration = Duration::from_secs(30);

fn runtime() -> Runtime {
    Runtime::builder().cores(1).build().expect("a runtime")
}

/// Spawns a process that waits for ever.
fn waits(runtime: &Runtime) -> Address<u32> {
    let waits = async |cx: Context<u32>| while let Received::Message(_) = cx.recv().await {};
    runtime.spawn(waits).expect("room")
}

/// Spawns the same number of processes in two runtimes, alternately, so that their pids use the
/// same slots.
fn both() -> (Runtime, Runtime, Vec<Address<u32>>, Vec<Address<u32>>) {
    let (one, other) = (runtime(), runtime());
    let (ours, theirs) = ((0..20).map(|_| waits(&one)).collect(), (0..20).map(|_| waits(&other)).collect());
    (one, other, ours, theirs)
}

/// Issue 14, 2: the operations of the host.
#[test]
fn n02_a_pid_of_another_runtime_is_unknown_to_the_host() {
    let (one, other, ours, theirs) = both();
    for &address in &ours {
        let pid = address.pid();
        assert!(other.send(address, 7).is_err());
        assert_eq!(other.exit(pid, Reason::KILL), Ok(false));
        assert!(!other.is_alive(pid));
        assert_eq!(other.tombstone(pid), Tombstone::NeverAllocated);
        assert!(matches!(other.on_exit(pid, |_| ()), Err(WatchError::NoSuchProcess(_))));
        assert!(other.wait_blocking(pid, SOON).is_err());
        let alias = one.block_on(async |cx: Context<u32>| cx.alias(false).expect("memory")).expect("it ends");
        let _ = other.send_alias(Alias::new(pid, alias.reference()), 7_u32);
        let state = other.kernel().register();
        let host = atropos::kernel::Host::new(other.kernel(), &state);
        assert_eq!(host.act_as(pid, |acting| acting.state()), CallerState::NeverAllocated);
    }
    assert!(ours.iter().all(|address| one.is_alive(*address)));
    assert!(theirs.iter().all(|address| other.is_alive(*address)));
}

/// Issue 14, 2: the operations of a process.
#[test]
fn n02_a_pid_of_another_runtime_is_dead_to_a_process() {
    let (one, other, ours, theirs) = both();
    let foreign = ours.clone();
    let done = other.block_on(async move |cx: Context<u32>| {
        cx.trap_exit(true);
        for &address in &foreign {
            assert!(cx.send(address, 7).is_err());
            cx.exit(address, Reason::KILL).expect("memory");
            cx.exit_inline(address, Reason::KILL).expect("memory");
            assert!(!cx.is_alive(address).await);
            assert!(cx.info(address).await.expect("memory").is_none());
            let monitor = cx.monitor(address).expect("memory");
            let Received::Down(down) = cx.recv().await else { panic!("a DOWN first") };
            assert_eq!((down.reference, down.reason), (monitor, Reason::NOPROC));
            let _ = cx.link(address);
            let Some(Received::Exit(exit)) = cx.recv_timeout(SOON).await else { panic!("an EXIT") };
            assert_eq!((exit.from, exit.reason), (Some(address.pid()), Reason::NOPROC));
            let timer = cx.send_after(address.pid(), Duration::from_secs(900), 1_u32);
            assert_eq!(timer.ok().and_then(|timer| cx.cancel_timer(timer)), None);
            assert!(cx.register("a name", address).is_err());
        }
    });
    done.expect("no panic");
    assert!(ours.iter().all(|address| one.is_alive(*address)));
    assert!(theirs.iter().all(|address| other.is_alive(*address)));
}

/// Issue 14, 2: monitors, aliases and timers of one runtime, used in a process of the other one,
/// which has as many of its own.
#[test]
fn n02_references_of_another_runtime_end_nothing() {
    let (one, other) = (runtime(), runtime());
    let made = |runtime: &Runtime, sleeper: Address<u32>, foreign: Vec<(Reference, Alias, Reference)>| {
        runtime.block_on(async move |cx: Context<u32>| {
            let mut own = Vec::new();
            for _ in 0..100 {
                let monitor = cx.monitor(sleeper).expect("memory");
                let alias = cx.alias(false).expect("memory");
                let timer = cx.send_after(cx.pid(), Duration::from_secs(900), 1_u32).expect("room");
                own.push((monitor, alias, timer));
            }
            for (monitor, alias, timer) in foreign {
                assert!(!cx.demonitor(monitor, true));
                assert!(!cx.unalias(alias));
                assert!(!cx.unalias(Alias::new(cx.pid(), alias.reference())));
                assert_eq!(cx.read_timer(timer), None);
                assert_eq!(cx.cancel_timer(timer), None);
            }
            for &(monitor, alias, timer) in &own {
                assert!(cx.cancel_timer(timer).is_some() && cx.unalias(alias) && cx.demonitor(monitor, true));
            }
            own
        })
    };
    let first = made(&one, waits(&one), Vec::new()).expect("no panic");
    let second = made(&other, waits(&other), first.clone()).expect("no panic");
    let all: HashSet<_> =
        first.iter().chain(&second).flat_map(|(one, two, three)| [*one, two.reference(), *three]).collect();
    assert_eq!(all.len(), 600, "no reference is allocated twice in a program");
}

/// Issue 14, 2: servers and similar processes are reached by pid.
#[test]
fn n02_a_server_of_another_runtime_does_not_answer() {
    struct Echo;
    impl Server for Echo {
        type Message = Reply<u32>;
        async fn handle(&mut self, reply: Reply<u32>, _: ServerCx<'_, Self>) -> Next<Reply<u32>> {
            reply.send(5);
            Next::Wait
        }
    }
    let (one, other) = (runtime(), runtime());
    let ours = one.start_server(Echo).expect("room").expect("it starts");
    let theirs = other.start_server(Echo).expect("room").expect("it starts");
    let called = other.block_on(async move |cx: Context<()>| {
        (ours.call(&cx, |reply| reply).await, theirs.call(&cx, |reply| reply).await)
    });
    let (foreign, own) = called.expect("no panic");
    assert!(foreign.is_err(), "{foreign:?}");
    assert_eq!(own.ok(), Some(5));
    assert!(one.is_alive(ours));
}

/// Issue 14, 2: a facility takes raw pids.
#[test]
fn n02_a_raw_pid_of_another_runtime_is_no_process() {
    let (one, other, ours, theirs) = both();
    let native = atropos::facility::KernelFacilities::new(other.handle());
    for (address, own) in ours.iter().zip(&theirs) {
        assert!(native.link(own.pid().to_raw(), address.pid().to_raw()).is_err());
        assert!(native.link(address.pid().to_raw(), own.pid().to_raw()).is_err());
    }
    assert!(ours.iter().all(|address| one.is_alive(*address)));
    assert!(theirs.iter().all(|address| other.is_alive(*address)));
}

/// Issue 14, 2: no two runtimes, one after the other or at the same time, allocate the same pid.
#[test]
fn n02_no_pid_is_allocated_twice_in_a_program() {
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let seen = seen.clone();
            thread::spawn(move || {
                for _ in 0..20 {
                    let runtime = runtime();
                    let pids: Vec<_> = (0..50).map(|_| waits(&runtime).pid()).collect();
                    let mut seen = seen.lock().unwrap();
                    for pid in pids {
                        assert!(seen.insert(pid), "{pid} was allocated twice");
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    // The kept pids name no process of a later runtime.
    let last = runtime();
    let own: Vec<_> = (0..50).map(|_| waits(&last)).collect();
    for pid in seen.lock().unwrap().iter() {
        assert_eq!(last.tombstone(*pid), Tombstone::NeverAllocated);
        assert_eq!(last.exit(*pid, Reason::KILL), Ok(false));
    }
    assert!(own.iter().all(|address| last.is_alive(*address)));
}

/// Issue 14, 2: contexts that outlive their runtimes, of the right type and of a wrong one, used in
/// processes of later runtimes.
#[test]
fn n02_a_context_of_a_dead_runtime_has_no_process() {
    type Old = Arc<Mutex<HashMap<u32, Vec<Context<Box<u64>>>>>>;
    let old = Old::default();
    for _ in 0..20 {
        let first = runtime();
        for _ in 0..16 {
            let old = old.clone();
            let leaves =
                async move |cx: Context<Box<u64>>| old.lock().unwrap().entry(cx.pid().index()).or_default().push(cx);
            first.spawn(leaves).expect("room");
        }
        first.block_on(async |_: Context<()>| ()).expect("it ends");
        drop(first);
        let second = runtime();
        for _ in 0..16 {
            let old = old.clone();
            let tries = async move |cx: Context<usize>| {
                cx.send(cx.address(), 0xdead_beef_0000).expect("it lives");
                for foreign in old.lock().unwrap().get(&cx.pid().index()).into_iter().flatten() {
                    assert!(foreign.try_with(|_| ()).is_none());
                }
            };
            let address = second.spawn(tries).expect("room");
            let outcome = second.wait_blocking(address, SOON).expect("it ends");
            assert_eq!(outcome.reason, Some(Reason::NORMAL));
        }
    }
}
