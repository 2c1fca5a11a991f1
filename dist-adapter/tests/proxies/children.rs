//! Supervisors, groups and registries of this node with processes of the other.

use std::time::Duration;

use atropos::otp::group::ProcessGroups;
use atropos::otp::{ChildSpec, ChildState, Server as _, Shutdown, Supervisor, SupervisorRef};
use atropos::{Context, Pid, Reason, Received};
use atropos_dist::node::{Mail, Node, ProcessId, RemoteSpawn, term_of};
use atropos_dist::term::{ErlPid, Term};

use crate::pair::{Heard, Pair, Word, atom, eventually};

fn child(node: &Node, places: Vec<Node>) -> ChildSpec {
    let mut starts = 0;
    let place = move || {
        let at = places[starts % places.len()].name().clone();
        starts += 1;
        RemoteSpawn { node: at, module: atom("tests"), function: atom("waits"), arguments: Vec::new() }
    };
    node.remote_child("child", place)
}

/// Waits until the child is another process than `old`, and returns it.
async fn next_child(cx: &Context<Heard>, supervisor: SupervisorRef, old: Option<Pid>) -> Pid {
    loop {
        let children = supervisor.which_children(cx).await.expect("it lives");
        match children[0].state {
            ChildState::Up(pid) if Some(pid) != old => return pid,
            _ => cx.sleep(Duration::from_millis(1)).await,
        }
    }
}

fn external(node: &Node, pid: Pid) -> ErlPid {
    match node.process_of(pid) {
        ProcessId::Remote(pid) => pid,
        ProcessId::Local(pid) => node.external(pid),
    }
}

fn is_alive(nodes: &[Node; 2], pid: &ErlPid) -> bool {
    let node = nodes.iter().find(|node| *node.name() == pid.node).expect("one of the two");
    node.runtime().is_alive(Pid::from_raw(pid.raw()).expect("a pid"))
}

/// The scenario with children at one node: restarts, and all ways to stop a child.
fn supervised(pair: &Pair, at: &Node) -> Vec<String> {
    let (second, at) = (pair.second.clone(), at.clone());
    let nodes = [pair.first.clone(), pair.second.clone()];
    pair.run(async move |cx: Context<Heard>| {
        cx.trap_exit(true);
        let mut seen = Vec::new();
        for shutdown in [Shutdown::Brutal, Shutdown::Infinity] {
            let spec = child(&second, vec![at.clone()]).shutdown(shutdown);
            let supervisor = Supervisor::one_for_one().child(spec).start_link(&cx).await.expect("it is up");
            let first = next_child(&cx, supervisor, None).await;
            let there = external(&second, first);
            assert_eq!(there.node, *at.name());
            cx.monitor(first).expect("memory");
            // The process at the other node ends by itself.
            cx.send(first, Mail::Term(Term::atom("boom"))).expect("it lives");
            let Received::Down(down) = cx.recv().await else { panic!("no DOWN") };
            seen.push(format!("{}", term_of(&down.reason)));
            assert!(!is_alive(&nodes, &there), "no DOWN before the end");
            let next = next_child(&cx, supervisor, Some(first)).await;
            let there = external(&second, next);
            assert!(is_alive(&nodes, &there));
            // The supervisor stops it.
            cx.monitor(next).expect("memory");
            supervisor.terminate_child(&cx, "child").await.expect("it lives");
            let Received::Down(down) = cx.recv().await else { panic!("no DOWN") };
            seen.push(format!("{}", term_of(&down.reason)));
            assert!(!is_alive(&nodes, &there), "no DOWN before the end");
            // The supervisor is killed: the child goes too.
            supervisor.restart_child(&cx, "child").await.expect("it is started");
            let last = external(&second, next_child(&cx, supervisor, Some(next)).await);
            assert!(is_alive(&nodes, &last));
            cx.exit(supervisor, Reason::KILL).expect("memory");
            let Received::Exit(exit) = cx.recv().await else { panic!("no EXIT") };
            seen.push(format!("{}", term_of(&exit.reason)));
            while is_alive(&nodes, &last) {
                cx.sleep(Duration::from_millis(1)).await;
            }
        }
        seen
    })
}

#[test]
fn a_child_at_another_node_is_supervised_like_one_of_this_node() {
    let pair = Pair::new();
    let here = supervised(&pair, &pair.second);
    let there = supervised(&pair, &pair.first);
    assert_eq!(here, there);
    assert_eq!(here, ["boom", "killed", "killed", "boom", "shutdown", "killed"]);
    eventually(|| pair.second.proxy_count() == 0);
    pair.stop();
}

#[test]
fn a_child_whose_node_is_lost_is_restarted_at_another() {
    let pair = Pair::new();
    let (first, second) = (pair.first.clone(), pair.second.clone());
    let nodes = [first.clone(), second.clone()];
    pair.run(async move |cx: Context<Heard>| {
        let spec = child(&second, vec![first.clone(), second.clone()]);
        let supervisor = Supervisor::one_for_one().child(spec).start_link(&cx).await.expect("it is up");
        let one = next_child(&cx, supervisor, None).await;
        let there = external(&second, one);
        assert_eq!(there.node, *first.name());
        assert!(second.disconnect(first.name()).await);
        let other = external(&second, next_child(&cx, supervisor, Some(one)).await);
        assert_eq!(other.node, *second.name());
        // The child that was cut off ends as well: it is linked.
        while is_alive(&nodes, &there) {
            cx.sleep(Duration::from_millis(1)).await;
        }
        assert!(is_alive(&nodes, &other));
        cx.unlink(supervisor);
        cx.exit(supervisor, Reason::KILL).expect("memory");
        while is_alive(&nodes, &other) {
            cx.sleep(Duration::from_millis(1)).await;
        }
    });
    pair.stop();
}

#[test]
fn a_child_that_cannot_be_started_is_a_failed_start() {
    let pair = Pair::new();
    let second = pair.second.clone();
    pair.run(async move |cx: Context<Heard>| {
        cx.trap_exit(true);
        let nowhere = move || RemoteSpawn {
            node: atom("nowhere@127.0.0.1"),
            module: atom("tests"),
            function: atom("waits"),
            arguments: Vec::new(),
        };
        let spec = second.remote_child("child", nowhere);
        let started = Supervisor::one_for_one().child(spec).start_link(&cx).await;
        assert!(started.is_err_and(|error| error.to_string().contains("noconnection")));
    });
    // The start has failed when the proxy says so; then the proxy ends.
    eventually(|| pair.second.proxy_count() == 0);
    pair.stop();
}

#[test]
fn groups_and_registries_take_processes_of_other_nodes() {
    let pair = Pair::new();
    let members = pair.both(async |cx, stage| {
        let groups = ProcessGroups::<u8>::new().unlinked().start().start_link(&cx).await.expect("it is up");
        cx.monitor(stage.worker).expect("memory");
        groups.join(&cx, 1, [stage.pid()]).await.expect("it lives");
        let before = groups.members(&cx, 1).await.expect("it lives") == [stage.pid()];
        cx.register("worker of the scenario", stage.pid()).expect("a free name");
        let ping = Word::Ping { from: stage.own.clone(), n: 1, ballast: Vec::new() };
        cx.send_name("worker of the scenario", ping).expect("it is registered");
        let pong = cx.recv().await;
        stage.tell(&cx, Word::Die(atom("boom")));
        let Received::Down(_) = cx.recv().await else { panic!("no DOWN") };
        while !groups.members(&cx, 1).await.expect("it lives").is_empty() {
            cx.sleep(Duration::from_millis(1)).await;
        }
        let named = cx.whereis("worker of the scenario");
        (before, matches!(pong, Received::Message(Heard::Pong(1))), named)
    });
    assert_eq!(members, (true, true, None));
    pair.stop();
}
