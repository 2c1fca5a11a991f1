//! Monitors, links, exits, and the host's watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use atropos::{Context, ExitCause, MonitorTarget, Reason, Received};
use atropos_dist::node::{Node, Options, term_of};
use atropos_dist::term::{ErlPid, Term};

use crate::pair::{Heard, Pair, Stage, Word, atom, eventually, options};

/// The next signal, as text.
async fn signal(cx: &Context<Heard>, stage: &Stage) -> String {
    match cx.recv().await {
        Received::Down(down) => {
            assert_eq!(down.target, MonitorTarget::Pid(stage.pid()));
            format!("down {}", term_of(&down.reason))
        }
        Received::Exit(exit) => {
            assert_eq!(exit.from, Some(stage.pid()));
            format!("exit {}", term_of(&exit.reason))
        }
        Received::Message(Heard::Exited(from, reason)) => {
            format!("told {} {reason}", if from == stage.own { "own" } else { "other" })
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_end_of_a_process_is_told_with_its_reason() {
    let pair = Pair::new();
    for reason in ["normal", "shutdown", "boom"] {
        let told = pair.both(async move |cx, stage| {
            cx.trap_exit(true);
            cx.monitor(stage.worker).expect("memory");
            cx.link(stage.worker).expect("it lives");
            stage.tell(&cx, Word::Die(atom(reason)));
            let told = [signal(&cx, &stage).await, signal(&cx, &stage).await];
            // Of the dead there is nothing to link with; a monitor says that it is dead.
            assert!(stage.node.remote_pid(&stage.node.process(stage.worker_pid.as_ref())).is_ok());
            told
        });
        assert_eq!(told, [format!("exit {reason}"), format!("down {reason}")]);
    }
    pair.stop();
}

#[test]
fn a_process_that_is_dead_already_is_noproc() {
    let pair = Pair::new();
    let dead = Pair::worker_at(&pair.first);
    let pid = atropos::Pid::from_raw(dead.raw()).expect("a pid");
    pair.first.runtime().exit(pid, Reason::KILL).expect("memory");
    eventually(|| !pair.first.runtime().is_alive(pid));
    let second = pair.second.clone();
    pair.run(async move |cx: Context<()>| {
        let proxy = second.remote_pid(&second.process(dead.as_ref())).expect("a proxy");
        cx.monitor(proxy).expect("memory");
        let Received::Down(down) = cx.recv().await else { panic!("no DOWN") };
        assert_eq!(down.reason, Reason::NOPROC);
    });
    pair.stop();
}

#[test]
fn an_exit_signal_reaches_a_process_and_no_down_comes_before_its_end() {
    let pair = Pair::new();
    for (reason, end) in [(Reason::KILL, "killed"), (Reason::SHUTDOWN, "shutdown")] {
        let nodes = [pair.first.clone(), pair.second.clone()];
        let told = pair.both(move |cx, stage| {
            let (reason, nodes) = (reason.clone(), nodes.clone());
            async move {
                cx.monitor(stage.worker).expect("memory");
                // A normal exit ends nothing.
                cx.exit(stage.worker, Reason::NORMAL).expect("memory");
                stage.sync(&cx).await;
                cx.exit(stage.worker, reason).expect("memory");
                let told = signal(&cx, &stage).await;
                (told, is_alive(&nodes, &stage.worker_pid))
            }
        });
        assert_eq!(told, (format!("down {end}"), false));
    }
    pair.stop();
}

fn is_alive(nodes: &[Node], pid: &ErlPid) -> bool {
    let node = nodes.iter().find(|node| *node.name() == pid.node).expect("one of the two");
    node.runtime().is_alive(atropos::Pid::from_raw(pid.raw()).expect("a pid"))
}

/// Starts a process that links with the worker, waits for the scenario, and ends with a reason.
fn linker(cx: &Context<Heard>, stage: &Stage, reason: Reason) -> atropos::Address<()> {
    let worker = stage.worker;
    let start = async move |cx: Context<()>| {
        cx.link(worker).expect("it lives");
        cx.recv().await;
        reason
    };
    cx.spawn(start).expect("a process")
}

#[test]
fn the_end_of_a_linked_process_is_told_to_the_other_side() {
    let pair = Pair::new();
    let told = pair.both(async |cx, stage| {
        stage.tell(&cx, Word::Trap(stage.own.clone()));
        stage.sync(&cx).await;
        let linker = linker(&cx, &stage, Reason::value("own reason"));
        cx.send(linker, ()).expect("it lives");
        let Received::Message(Heard::Exited(from, reason)) = cx.recv().await else { panic!("nothing is told") };
        assert_eq!(from, stage.node.external(linker.pid()));
        // The worker lives.
        stage.sync(&cx).await;
        reason.to_string().contains("own reason")
    });
    assert!(told);
    pair.stop();
}

#[test]
fn a_process_that_does_not_trap_exits_dies_of_a_link() {
    let pair = Pair::new();
    let told = pair.both(async |cx, stage| {
        cx.monitor(stage.worker).expect("memory");
        let linker = linker(&cx, &stage, Reason::SHUTDOWN);
        cx.send(linker, ()).expect("it lives");
        signal(&cx, &stage).await
    });
    assert_eq!(told, "down shutdown");
    pair.stop();
}

#[test]
fn an_unlinked_process_is_told_nothing() {
    let pair = Pair::new();
    let told = pair.both(async |cx, stage| {
        cx.trap_exit(true);
        // Links and unlinks of both sides, in turns.
        for _ in 0..10 {
            cx.link(stage.worker).expect("it lives");
            cx.unlink(stage.worker);
            stage.tell(&cx, Word::Link(stage.own.clone()));
            stage.sync(&cx).await;
            stage.tell(&cx, Word::Unlink(stage.own.clone()));
            stage.sync(&cx).await;
        }
        stage.tell(&cx, Word::Link(stage.own.clone()));
        stage.sync(&cx).await;
        cx.unlink(stage.worker);
        cx.monitor(stage.worker).expect("memory");
        stage.tell(&cx, Word::Die(atom("boom")));
        let told = signal(&cx, &stage).await;
        (told, cx.try_recv().is_none())
    });
    assert_eq!(told, ("down boom".to_owned(), true));
    eventually(|| pair.second.counts().links == 0 && pair.first.counts().links == 0);
    pair.stop();
}

#[test]
fn a_link_that_the_other_side_makes_is_a_link() {
    let pair = Pair::new();
    let told = pair.both(async |cx, stage| {
        cx.trap_exit(true);
        stage.tell(&cx, Word::Link(stage.own.clone()));
        stage.sync(&cx).await;
        stage.tell(&cx, Word::Die(atom("boom")));
        signal(&cx, &stage).await
    });
    assert_eq!(told, "exit boom");
    // The other way: the scenario's process ends, the worker is told.
    let told = pair.both(async |cx, stage| {
        let worker = stage.worker;
        let node = stage.node.clone();
        stage.tell(&cx, Word::Trap(stage.own.clone()));
        let linked = cx.spawn(async |cx: Context<Heard>| drop(cx.recv().await)).expect("a process");
        let pid = node.export(linked).expect("it is watched");
        cx.send(worker, Word::Link(pid.clone())).expect("it lives");
        // The worker's message ends the process, which is linked before: the worker sends it after
        // the link. A message of this node could come before the link, which is then `noproc`.
        stage.tell(&cx, Word::Ping { from: pid.clone(), n: 0, ballast: Vec::new() });
        let Received::Message(Heard::Exited(from, reason)) = cx.recv().await else { panic!("nothing is told") };
        (from == pid, reason)
    });
    assert_eq!(told, (true, Term::atom("normal")));
    pair.stop();
}

#[test]
fn an_exit_signal_of_a_process_names_it() {
    let pair = Pair::new();
    let told = pair.both(async |cx, stage| {
        cx.trap_exit(true);
        stage.tell(&cx, Word::Exit(stage.own.clone(), atom("stop")));
        let Received::Exit(exit) = cx.recv().await else { panic!("no EXIT") };
        assert_eq!(exit.from, Some(stage.pid()));
        // A process that does not trap exits ends, and the one that is killed too.
        let mut ends = Vec::new();
        for reason in ["stop", "kill"] {
            let (target, _) = cx.spawn_monitor(async |cx: Context<Heard>| drop(cx.recv().await)).expect("a process");
            let pid = stage.node.external(target.pid());
            stage.tell(&cx, Word::Exit(pid, atom(reason)));
            let Received::Down(down) = cx.recv().await else { panic!("no DOWN") };
            ends.push(term_of(&down.reason));
        }
        (exit.cause == ExitCause::Signal, term_of(&exit.reason), ends)
    });
    assert_eq!(told, (true, Term::atom("stop"), vec![Term::atom("stop"), Term::atom("killed")]));
    pair.stop();
}

#[test]
fn the_loss_of_the_connection_ends_links_on_both_sides() {
    let pair = Pair::new();
    // An observer at the first node, since nothing of it can be told after the loss.
    let (tell, told) = std::sync::mpsc::channel();
    let at = pair.first.clone();
    // How many of the three have sent it a word, which comes behind their links and unlinks.
    let heard: Arc<AtomicUsize> = Arc::default();
    let hears = heard.clone();
    let watch = async move |cx: Context<Word>| {
        cx.trap_exit(true);
        loop {
            match cx.recv().await {
                // The host's: the runtime ends.
                Received::Exit(exit) if exit.from.is_none() => return,
                Received::Exit(exit) => {
                    let from = exit.from.map(|from| at.process_of(from));
                    let _ = tell.send((from, exit.reason));
                }
                // Release: pairs with the load of the process that waits for the words.
                _ => _ = hears.fetch_add(1, Ordering::Release),
            }
        }
    };
    let watcher = pair.first.runtime().spawn(watch).expect("a process");
    let watcher = pair.first.export(watcher).expect("it is watched");
    let (second, name) = (pair.second.clone(), pair.first.name().clone());
    let own = pair.run(async move |cx: Context<Heard>| {
        cx.trap_exit(true);
        let proxy = second.remote::<Word>(second.process(watcher.as_ref())).expect("a proxy");
        let word = Word::Die(atom("unused"));
        cx.link(proxy).expect("it lives");
        cx.monitor(proxy).expect("memory");
        cx.send(proxy, word.clone()).expect("it lives");
        // A second one, which does not trap exits, and a third, which has unlinked.
        let words = word.clone();
        let (other, _) = cx
            .spawn_monitor(async move |cx: Context<()>| {
                cx.link(proxy).expect("it lives");
                cx.send(proxy, words).expect("it lives");
                cx.recv().await;
            })
            .expect("a process");
        let third = async move |cx: Context<()>| {
            cx.link(proxy).expect("it lives");
            cx.unlink(proxy);
            cx.send(proxy, word).expect("it lives");
            cx.recv().await;
        };
        let third = cx.spawn(third).expect("a process");
        // The links are in force at the other node as well: what is still in this node's queue is
        // dropped with the connection.
        // Acquire: pairs with the addition of the observer.
        while heard.load(Ordering::Acquire) < 3 {
            cx.sleep(Duration::from_millis(1)).await;
        }
        while second.counts().links != 2 {
            cx.sleep(Duration::from_millis(1)).await;
        }
        let proxy = proxy.pid();
        assert!(second.disconnect(&name).await);
        let mut told = Vec::new();
        while told.len() < 3 {
            match cx.recv().await {
                Received::Exit(exit) => told.push((exit.from == Some(proxy), exit.reason)),
                Received::Down(down) => told.push((down.target == MonitorTarget::Pid(proxy), down.reason)),
                other => panic!("{other:?}"),
            }
        }
        assert!(told.iter().all(|(_, reason)| *reason == Reason::NOCONNECTION), "{told:?}");
        assert_eq!(told.iter().filter(|(of_proxy, _)| *of_proxy).count(), 2);
        assert!(cx.is_alive(third).await);
        [second.external(cx.pid()), second.external(other.pid()), second.external(third.pid())]
    });
    let told: Vec<_> = (0..2).map(|_| told.recv_timeout(crate::pair::PATIENCE).expect("it is told")).collect();
    for linked in &own[..2] {
        let from = Some(atropos_dist::node::ProcessId::Remote(linked.clone()));
        assert!(told.contains(&(from, Reason::NOCONNECTION)), "{told:?}");
    }
    pair.stop();
}

#[test]
fn the_host_waits_for_a_process_of_another_node() {
    let pair = Pair::new();
    let mut ends = Vec::new();
    for node in [&pair.second, &pair.first] {
        let worker = Pair::worker_at(node);
        let address = pair.second.remote::<Word>(pair.second.process(worker.as_ref())).expect("a proxy");
        let (tell, told) = std::sync::mpsc::channel();
        pair.here.on_exit(address, move |outcome| drop(tell.send(outcome.reason))).expect("it is watched");
        pair.here.send(address, Word::Die(atom("boom"))).expect("it lives");
        let waited = pair.tokio.block_on(pair.here.wait(address)).expect("it is watched");
        ends.push((waited.reason, told.recv_timeout(crate::pair::PATIENCE).expect("it is told")));
    }
    assert_eq!(ends[0], ends[1]);
    assert_eq!(ends[0].1.as_ref().map(term_of), Some(Term::atom("boom")));
    pair.stop();
}

#[test]
fn what_a_process_has_sent_comes_before_its_end() {
    for busy_limit in [1 << 20, 1 << 16] {
        let pair = Pair::with_both(Options { busy_limit, ..options() }, options());
        for ballast in [0, 200_000] {
            let heard = pair.both(move |cx, stage| async move {
                cx.monitor(stage.worker).expect("memory");
                stage.tell(&cx, Word::Burst { from: stage.own.clone(), times: 40, ballast });
                let mut heard = 0;
                loop {
                    match cx.recv().await {
                        Received::Message(Heard::Ballast(n, _)) if n == heard => heard += 1,
                        Received::Down(down) => break (heard, down.reason),
                        other => panic!("{other:?}"),
                    }
                }
            });
            assert_eq!(heard, (40, Reason::NORMAL));
        }
        pair.stop();
    }
}
