//! Exhaustion: full tables, and nodes (messages, links, monitors, timers) that run out at any
//! point. The caller gets an error, other processes lose nothing, and exits still work.

mod common;

use std::time::Duration;

use atropos_kernel::{Context, Limits, Options, Reason, Received, SpawnError};
use atropos_otp::{
    ChildSpec, ChildStarter, Intensity, Next, Server, ServerCx, Shutdown, StartChildError, StartError, Supervisor,
    SupervisorRef,
};
use common::{Bed, Told, Yard, boom};

struct Idle;

impl Server for Idle {
    type Message = ();

    async fn handle(&mut self, (): (), _: ServerCx<'_, Self>) -> Next<()> {
        Next::Wait
    }
}

/// Builds a tree of three workers, a server, and a supervisor with two workers below: 8 processes.
fn tree(yard: &Yard) -> Supervisor {
    let inner = yard.clone();
    Supervisor::one_for_one()
        .intensity(Intensity::within(5, Duration::from_secs(60)))
        .child(yard.worker("a"))
        .child(yard.trapping("b").shutdown(Shutdown::Within(Duration::from_secs(1))))
        .child(ChildSpec::supervisor("below", move |starter: &mut ChildStarter<'_>| {
            let below = Supervisor::one_for_all().intensity(Intensity::within(5, Duration::from_secs(60)));
            starter.supervisor(below.child(inner.worker("x")).child(inner.worker("y")))
        }))
        .child(ChildSpec::worker("server", |starter: &mut ChildStarter<'_>| {
            starter.server(Idle.start().trap_exit(true))
        }))
        .child(yard.worker("c"))
}

const WHOLE: usize = 8;

fn limited(nodes: usize) -> Options {
    Options { cores: 2, seed: nodes as u64, limits: Limits { nodes, ..Limits::default() }, ..Options::default() }
}

/// Asserts that the tree is complete, or gone.
fn assert_whole_or_gone(bed: &Bed, yard: &Yard, top: SupervisorRef, others: usize, what: &str) {
    let (processes, live) = (bed.processes() - others, yard.live());
    if bed.is_alive(top) {
        assert_eq!((processes, live), (WHOLE, 5), "{what}: it is alive and incomplete");
    } else {
        assert_eq!((processes, live), (0, 0), "{what}: an orphan");
    }
}

fn end_all(bed: &mut Bed, what: &str) {
    for pid in bed.host(|host| host.processes().collect::<Vec<_>>()) {
        bed.exit(pid, Reason::KILL);
    }
    bed.sleep(Duration::from_secs(60));
    assert_eq!(bed.processes(), 0, "{what}");
    assert_eq!(bed.kernel.nodes_used(), 0, "{what}: a node has leaked");
}

#[test]
fn tree_starts_completely_or_not_at_all() {
    let (mut up, mut refused) = (0, 0);
    for nodes in 0..120 {
        let (mut bed, yard) = (Bed::with(limited(nodes)), Yard::default());
        let what = format!("{nodes} nodes");
        match bed.host(|host| tree(&yard).start_from_host(host)) {
            Err(error) => panic!("{what}: {error}: a spawn by the host needs none"),
            Ok((top, _)) => {
                bed.sleep(Duration::from_secs(60));
                let alive = bed.is_alive(top);
                assert_whole_or_gone(&bed, &yard, top, 0, &what);
                up += usize::from(alive);
                refused += usize::from(!alive);
                for victim in ["a", "x"] {
                    if yard.live_of(victim) > 0 {
                        bed.exit(yard.pid(victim), Reason::KILL);
                        bed.sleep(Duration::from_secs(60));
                        assert_whole_or_gone(&bed, &yard, top, 0, &what);
                    }
                }
                if bed.is_alive(top) {
                    // With memory for the signal it stops in order; without, it is not stopped.
                    let told = bed.host(|host| host.exit(top.pid(), Reason::SHUTDOWN)).is_ok();
                    bed.sleep(Duration::from_secs(60));
                    assert_eq!(bed.processes(), if told { 0 } else { WHOLE }, "{what}");
                }
            }
        }
        end_all(&mut bed, &what);
    }
    // Each child takes one node: its link, which is also its monitor.
    assert_eq!((up, refused), (120 - (WHOLE - 1), WHOLE - 1), "trees that are up, and refused ones");
}

#[test]
fn tree_without_free_nodes_restarts_with_those_of_the_dead_or_ends() {
    let mut survived = 0;
    for left in 0..40 {
        for victim in ["a", "b", "c", "x", "y"] {
            let (mut bed, yard) = (Bed::with(limited(400)), Yard::default());
            let what = format!("{left} left, {victim}");
            let (top, _) = bed.host(|host| tree(&yard).start_from_host(host)).expect("space");
            // A hog occupies all nodes but a few.
            let hog = bed.spawn(false, |cx: Context<u8>| async move {
                loop {
                    cx.recv_match(|_| false).await;
                }
            });
            bed.settle();
            let free = 400 - bed.kernel.nodes_used();
            for _ in 0..free - left {
                bed.host(|host| host.send(hog, 0_u8)).expect("there is space for it");
            }
            assert_eq!(bed.kernel.nodes_used(), 400 - left);
            for _ in 0..2 {
                if yard.live_of(victim) > 0 {
                    bed.exit(yard.pid(victim), Reason::KILL);
                    bed.sleep(Duration::from_secs(120));
                    assert_whole_or_gone(&bed, &yard, top, 1, &what);
                }
            }
            survived += usize::from(bed.is_alive(top));
            bed.exit(hog, Reason::KILL);
            bed.settle();
            assert_whole_or_gone(&bed, &yard, top, 0, &what);
            end_all(&mut bed, &what);
        }
    }
    assert!(survived > 100, "{survived}: the nodes of a dead child suffice for its successor");
}

#[test]
fn stop_without_free_nodes_kills_and_leaves_nothing() {
    for left in 0..10 {
        let (mut bed, yard) = (Bed::with(limited(400)), Yard::default());
        let (top, _) = bed.host(|host| tree(&yard).start_from_host(host)).expect("space");
        let hog = bed.spawn(false, |cx: Context<u8>| async move {
            loop {
                cx.recv_match(|_| false).await;
            }
        });
        bed.settle();
        let stop = bed.host(|host| host.exit(top.pid(), Reason::SHUTDOWN));
        stop.expect("before the hog takes the nodes");
        for _ in 0..400 - bed.kernel.nodes_used() - left {
            bed.host(|host| host.send(hog, 0_u8)).expect("there is space for it");
        }
        bed.sleep(Duration::from_secs(60));
        assert_eq!((bed.processes(), yard.live()), (1, 0), "{left} left");
        assert_eq!(bed.died_of(top), Reason::SHUTDOWN);
        end_all(&mut bed, "the hog");
    }
}

#[test]
fn full_process_table_is_an_error_to_the_caller() {
    let limits = Limits { processes: 12, ..Limits::default() };
    let (mut bed, yard) = (Bed::with(Options { limits, ..Options::default() }), Yard::default());
    let (top, _) = bed.host(|host| tree(&yard).start_from_host(host)).expect("space");
    bed.settle();
    let more = (0..10).map(|n| yard.worker(&format!("more {n}"))).collect::<Vec<_>>();
    let (started, error) = bed.run(move |cx: Context<()>| async move {
        let mut started = 0;
        for child in more {
            match top.start_child(&cx, child).await {
                Ok(_) => started += 1,
                Err(error) => return (started, error),
            }
        }
        panic!("the table is full");
    });
    assert_eq!(error, StartChildError::Start(StartError::Spawn(SpawnError::TooMany)));
    assert_eq!(yard.live(), 5 + started, "nothing is kept of the refused child");
    // A restart takes the slot of the dead child.
    bed.tell(yard.pid("a"), Told::End(boom()));
    bed.settle();
    assert_eq!((bed.is_alive(top), yard.live()), (true, 5 + started));
    let nothing: Option<Received<()>> =
        bed.run(|cx: Context<()>| async move { cx.recv_timeout(Duration::from_millis(1)).await });
    assert!(nothing.is_none());
}
