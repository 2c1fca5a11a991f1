//! One test for each known fault of the control plane that this one replaces, to show that it is
//! absent here. Faults that need an interleaving are forced from inside the calls of external code.
//! The loom models search for them as well.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use atropos_dist::{
    ControlPlane, LoopbackPair, MonitorControlMessage, MonitorError, NoConnection, Node, Options, ReceiveError,
    RemotePid, RemoteReference, RoutedMessage,
};
use atropos_kernel::Reason;
use common::*;

/// Record, unlock, send: the node is lost between the record and the send, and the send then fails.
#[test]
fn fault_2_1_a_never_an_error_and_a_down() {
    for refuses in [true, false] {
        let site = Site::calling(move |plane, routed| {
            assert!(plane.disconnected(routed.connection));
            if refuses { Err(NoConnection) } else { Ok(()) }
        });
        site.plane.connected(THERE, 1);
        let monitor = site.plane.monitor_remote(7, there(42)).expect("answered, so there is no error");
        let down = Down { watcher: 7, reference: monitor, target: there(42), reason: Reason::NOCONNECTION };
        assert_eq!(site.world.drain(), [down]);
        assert_eq!(site.plane.monitors_of(7), []);
        assert!(!site.plane.demonitor_remote(7, monitor));
    }
}

/// The same sequence, with a new connection before the send.
#[test]
fn fault_2_1_a_a_request_of_an_old_connection_leaves_no_ghost_at_the_peer() {
    struct Late {
        cable: Arc<LoopbackPair>,
        planes: OnceLock<[Weak<ControlPlane>; 2]>,
        once: AtomicBool,
    }
    let cable = LoopbackPair::new();
    let [left_end, right_end] = cable.ends();
    let late = Arc::new(Late { cable: cable.clone(), planes: OnceLock::new(), once: AtomicBool::new(true) });
    let act = late.clone();
    let slow = Calls(move |routed: &RoutedMessage| {
        if act.once.swap(false, Ordering::Relaxed) {
            let planes = act.planes.get().expect("set").each_ref().map(|plane| plane.upgrade().expect("alive"));
            act.cable.join(&planes[0], &planes[1]);
        }
        atropos_dist::Sender::send(&*left_end, routed.clone())
    });
    let left = Site::with(Options::new(HERE, 1), Arc::new(slow));
    let right = Site::with(Options::new(THERE, 1), right_end);
    late.planes.set([Arc::downgrade(&left.plane), Arc::downgrade(&right.plane)]).expect("set once");
    cable.join(&left.plane, &right.plane);
    let monitor = left.plane.monitor_remote(7, there(42)).expect("answered");
    while cable.pump(&left.plane, &right.plane, 10) > 0 {}
    assert_eq!(left.world.drain().len(), 1);
    assert_eq!(right.plane.monitors_with(HERE), (0, 0), "the peer holds no record of {monitor}");
    // A monitor over the new connection works.
    left.plane.monitor_remote(7, there(42)).unwrap();
    cable.pump(&left.plane, &right.plane, 10);
    assert_eq!(right.plane.monitors_with(HERE), (0, 1));
}

/// A liveness check outside the registration: the target ends before, during or after the check.
#[test]
fn fault_2_1_b_a_target_that_ends_while_it_is_registered_is_answered_once() {
    for dies in ["before", "while watched", "after"] {
        let recorded = Recorded::new();
        let Site { plane, world } = &recorded.site;
        match dies {
            "before" => world.kill(42, &Reason::KILLED),
            "while watched" => {
                let own: Arc<OnceLock<Weak<World>>> = Arc::default();
                own.set(Arc::downgrade(world)).expect("set once");
                let kill = move |pid| own.get().and_then(Weak::upgrade).expect("alive").kill(pid, &Reason::KILLED);
                assert!(world.on_watch.set(Box::new(kill)).is_ok());
            }
            _ => {}
        }
        assert_eq!(plane.receive(recorded.there, monitor_p(5, there(9), here(42))), Ok(()));
        world.kill(42, &Reason::KILLED);
        let reason = if dies == "after" { Reason::KILLED } else { Reason::NOPROC };
        assert_eq!(recorded.messages(), [exit_p(reference(5), there(9), here(42), reason)], "{dies}");
        assert_eq!(plane.monitors_with(THERE), (0, 0));
        assert_eq!((plane.monitored_by(42), plane.watched()), (Vec::new(), 0));
    }
}

/// A lack of memory for a watch is temporary and is reported: the peer gets an answer, and the node
/// keeps nothing.
#[test]
fn fault_2_1_b_a_target_that_cannot_be_watched_is_answered() {
    let recorded = Recorded::new();
    let Site { plane, world } = &recorded.site;
    world.no_memory.store(true, Ordering::Relaxed);
    plane.receive(recorded.there, monitor_p(5, there(9), here(42))).unwrap();
    assert_eq!(recorded.messages(), [exit_p(reference(5), there(9), here(42), Reason::NOCONNECTION)]);
    assert_eq!(plane.monitor_remote(42, there(9)), Err(MonitorError::NoMemory));
    assert_eq!(recorded.messages(), []);
    assert_eq!((plane.monitors_with(THERE), plane.watched()), ((0, 0), 0));
    world.no_memory.store(false, Ordering::Relaxed);
    plane.receive(recorded.there, monitor_p(5, there(9), here(42))).unwrap();
    world.kill(42, &Reason::KILLED);
    assert_eq!(recorded.messages(), [exit_p(reference(5), there(9), here(42), Reason::KILLED)]);
}

/// Registration after node-down: a message that was decoded before the loss is dropped after it.
#[test]
fn fault_2_1_c_a_message_of_an_old_connection_is_refused() {
    let recorded = Recorded::new();
    let plane = &recorded.site.plane;
    let monitor = plane.monitor_remote(7, there(42)).unwrap();
    plane.disconnected(recorded.there);
    assert_eq!(recorded.site.world.drain().len(), 1);
    recorded.messages();
    for reconnected in [false, true] {
        if reconnected {
            let again = plane.connected(THERE, 1);
            assert_ne!(again, recorded.there);
            assert!(again.generation() > recorded.there.generation());
        }
        let old = [
            monitor_p(5, there(9), here(42)),
            demonitor_p(5, there(9), here(42)),
            exit_p(monitor, here(7), there(42), Reason::KILLED),
        ];
        for message in old {
            assert_eq!(plane.receive(recorded.there, message), Err(ReceiveError::Stale));
        }
        assert_eq!(plane.monitors_with(THERE), (0, 0));
    }
    assert_eq!(recorded.messages(), []);
    assert_eq!(recorded.site.world.drain(), []);
    assert!(!plane.disconnected(recorded.there), "the old connection does not end the new one");
    assert!(plane.connection(THERE).is_some());
}

/// A connection that ends unnoticed: the next one to the same node ends it.
#[test]
fn fault_2_1_c_b_a_new_connection_ends_the_old_one() {
    let recorded = Recorded::new();
    let Site { plane, world } = &recorded.site;
    let monitor = plane.monitor_remote(7, there(42)).unwrap();
    plane.receive(recorded.there, monitor_p(5, there(9), here(43))).unwrap();
    let next = plane.connected(THERE, 1);
    let down = Down { watcher: 7, reference: monitor, target: there(42), reason: Reason::NOCONNECTION };
    assert_eq!(world.drain(), [down]);
    assert_eq!((plane.monitored_by(43), plane.monitors_with(THERE)), (Vec::new(), (0, 0)));
    assert_eq!(plane.receive(recorded.there, monitor_p(5, there(9), here(43))), Err(ReceiveError::Stale));
    assert_eq!(plane.receive(next, monitor_p(5, there(9), here(43))), Ok(()));
}

/// Look-up by the reference alone: any node could send a notice with a guessed reference.
#[test]
fn fault_2_1_d_a_notice_must_come_from_the_monitors_own_node() {
    let recorded = Recorded::new();
    let plane = &recorded.site.plane;
    let other = plane.connected(ELSEWHERE, 1);
    let monitor = plane.monitor_remote(7, there(42)).unwrap();
    let forged = exit_p(monitor, here(7), there(42), Reason::KILLED);
    assert_eq!(plane.receive(other, forged.clone()), Ok(()), "ignored like a late notice");
    assert_eq!(recorded.site.world.drain(), []);
    // From the right node, but about another process or for another watcher.
    for wrong in [
        exit_p(monitor, here(7), there(43), Reason::KILLED),
        exit_p(monitor, here(8), there(42), Reason::KILLED),
        exit_p(monitor, there(7), there(42), Reason::KILLED),
        exit_p(monitor, here(7), elsewhere(42), Reason::KILLED),
    ] {
        assert_eq!(plane.receive(recorded.there, wrong), Err(ReceiveError::Forged));
    }
    assert_eq!(recorded.site.world.drain(), []);
    assert_eq!(plane.monitors_of(7), [(monitor, there(42))], "still armed");
    assert_eq!(plane.receive(recorded.there, forged), Ok(()));
    assert_eq!(recorded.site.world.drain().len(), 1);
}

/// The other two messages may name only the sending peer's own processes and this node's own.
#[test]
fn fault_2_1_d_b_a_peer_cannot_register_or_withdraw_for_another() {
    let recorded = Recorded::new();
    let plane = &recorded.site.plane;
    let other = plane.connected(ELSEWHERE, 1);
    plane.receive(recorded.there, monitor_p(5, there(9), here(42))).unwrap();
    assert_eq!(plane.receive(other, demonitor_p(5, there(9), here(42))), Err(ReceiveError::Forged));
    assert_eq!(plane.receive(other, monitor_p(6, there(9), here(42))), Err(ReceiveError::Forged));
    assert_eq!(plane.receive(other, monitor_p(6, elsewhere(9), there(42))), Err(ReceiveError::Forged));
    assert_eq!(plane.monitored_by(42), [(reference(5), there(9))]);
    assert_eq!(plane.monitors_with(ELSEWHERE), (0, 0));
    assert_eq!(recorded.messages(), []);
}

/// No creation in the name: a restarted node's process has the same number.
#[test]
fn fault_2_1_e_a_process_of_an_older_life_is_another() {
    let pair = Pair::new();
    let old = there(42);
    pair.cut();
    // `THERE` restarts, and its process 42 is a new one.
    let cable = LoopbackPair::new();
    let [left_end, right_end] = cable.ends();
    let left = Site::with(Options::new(HERE, 1), left_end);
    let right = Site::with(Options::new(THERE, 2), right_end);
    cable.join(&left.plane, &right.plane);
    let monitor = left.plane.monitor_remote(7, old).unwrap();
    while cable.pump(&left.plane, &right.plane, 10) > 0 {}
    let down = Down { watcher: 7, reference: monitor, target: old, reason: Reason::NOPROC };
    assert_eq!(left.world.drain(), [down], "the old process 42 is gone, independent of the new one");
    assert_eq!(right.plane.monitored_by(42), []);
    // A notice about the new process is not one about the old process.
    let recorded = Recorded::new();
    let plane = &recorded.site.plane;
    let monitor = plane.monitor_remote(7, old).unwrap();
    let of_the_new = RemotePid { incarnation: 2, ..old };
    let notice = exit_p(monitor, here(7), of_the_new, Reason::KILLED);
    assert_eq!(plane.receive(recorded.there, notice), Err(ReceiveError::Forged));
    // A watcher's creation must also match that of its connection.
    let watcher = RemotePid { incarnation: 2, ..there(9) };
    assert_eq!(plane.receive(recorded.there, monitor_p(5, watcher, here(42))), Err(ReceiveError::Forged));
    assert_eq!(recorded.site.world.drain(), []);
}

/// The serial is dropped.
#[test]
fn fault_2_1_f_the_serial_is_a_part_of_the_name() {
    let pair = Pair::new();
    let seventh = RemotePid { serial: 7, ..there(42) };
    let monitor = pair.left.plane.monitor_remote(7, seventh).unwrap();
    pair.pump();
    let down = Down { watcher: 7, reference: monitor, target: seventh, reason: Reason::NOPROC };
    assert_eq!(pair.left.world.drain(), [down], "answered as itself, not as (42, 0)");
    assert_eq!(pair.right.plane.monitored_by(42), []);
    let recorded = Recorded::new();
    let monitor = recorded.site.plane.monitor_remote(7, seventh).unwrap();
    let notice = exit_p(monitor, here(7), there(42), Reason::KILLED);
    assert_eq!(recorded.site.plane.receive(recorded.there, notice), Err(ReceiveError::Forged));
}

/// A watcher's death is not handled.
#[test]
fn fault_2_1_g_a_watchers_death_withdraws_its_monitors() {
    let pair = Pair::new();
    for number in 0..100 {
        pair.left.plane.monitor_remote(7, there(number)).unwrap();
        pair.left.plane.monitor_remote(8, there(number)).unwrap();
    }
    pair.pump();
    assert_eq!(pair.right.plane.monitors_with(HERE), (0, 200));
    pair.left.world.kill(7, &Reason::KILLED);
    assert_eq!(pair.left.plane.monitors_with(THERE), (100, 0));
    pair.pump();
    assert_eq!(pair.right.plane.monitors_with(HERE), (0, 100));
    for number in 0..100 {
        pair.right.world.kill(number, &Reason::NORMAL);
    }
    pair.pump();
    let downs = pair.left.world.drain();
    assert_eq!(downs.len(), 100);
    assert!(downs.iter().all(|down| down.watcher == 8));
    // A dead process cannot monitor.
    let monitor = pair.left.plane.monitor_remote(7, there(1));
    assert_eq!(monitor, Err(MonitorError::NoCaller));
    assert!(!pair.cable.is_busy());
}

/// The watcher dies while its request is being sent: the withdrawal is sent after the request.
#[test]
fn fault_2_1_g_b_a_withdrawal_never_overtakes_its_request() {
    let world: Arc<OnceLock<Weak<World>>> = Arc::default();
    let sent = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (watching, seen) = (world.clone(), sent.clone());
    let site = Site::calling(move |_, routed| {
        if let MonitorControlMessage::MonitorP { watcher, .. } = routed.message {
            watching.get().and_then(Weak::upgrade).expect("the world is alive").kill(watcher.number, &Reason::KILLED);
        }
        seen.lock().unwrap().push(routed.message.opcode());
        Ok(())
    });
    world.set(Arc::downgrade(&site.world)).expect("set once");
    site.plane.connected(THERE, 1);
    assert!(site.plane.monitor_remote(7, there(42)).is_ok());
    assert_eq!(*sent.lock().unwrap(), [19, 20]);
    assert_eq!(site.plane.monitors_with(THERE), (0, 0));
}

/// Demonitor on a dead connection: an error, and then false.
#[test]
fn fault_2_1_h_a_withdrawal_on_a_dead_connection_is_one() {
    let pair = Pair::new();
    let monitors = [1, 2, 3].map(|number| pair.left.plane.monitor_remote(7, there(number)).unwrap());
    pair.pump();
    // The transport is dead, but the planes have no report of it.
    let dead = Site::calling({
        let refused = AtomicBool::new(false);
        move |_, _| if refused.swap(true, Ordering::Relaxed) { Err(NoConnection) } else { Ok(()) }
    });
    let connection = dead.plane.connected(THERE, 1);
    let monitor = dead.plane.monitor_remote(7, there(1)).unwrap();
    assert!(dead.plane.demonitor_remote(7, monitor), "withdrawn although the transport is dead");
    assert!(!dead.plane.demonitor_remote(7, monitor));
    dead.plane.disconnected(connection);
    assert_eq!(dead.world.drain(), [], "a withdrawn monitor gets no DOWN");
    // After the report of the loss, an answered monitor cannot be withdrawn.
    pair.cut();
    assert_eq!(pair.left.world.drain().len(), 3);
    for monitor in monitors {
        assert!(!pair.left.plane.demonitor_remote(7, monitor));
    }
    assert_eq!(pair.right.plane.monitors_with(HERE), (0, 0), "the peer has discarded them with the connection");
}

/// Returns how many records are visited when one of 100 nodes is lost, and the order of its DOWNs.
/// The lost node has 100 monitors each way. The other nodes together have `others` each way.
fn loss_of_one_node(others: u64) -> (usize, Vec<u64>) {
    let recorded = Recorded::new();
    let plane = &recorded.site.plane;
    let nodes: Vec<_> = (10..109).map(|node| plane.connected(Node::new(node), 1)).collect();
    for (number, connection) in (0..others).zip(nodes.into_iter().cycle()) {
        let remote = RemotePid::new(connection.node(), number, 0, 1);
        plane.monitor_remote(number % 1000, remote).unwrap();
        plane.receive(connection, monitor_p(number, remote, here(number % 1000))).unwrap();
    }
    for number in 0..100 {
        plane.monitor_remote(number * 7 % 100, there(number)).unwrap();
        plane.receive(recorded.there, monitor_p(number, there(number), here(number))).unwrap();
    }
    let before = plane.visits();
    assert!(plane.disconnected(recorded.there));
    let visits = plane.visits() - before;
    (visits, recorded.site.world.drain().iter().map(|down| down.target.number).collect())
}

/// Everything is O(all registrations), in hash order.
#[test]
fn fault_2_1_i_a_loss_costs_its_own_monitors_in_a_repeatable_order() {
    let (few, many) = (loss_of_one_node(100), loss_of_one_node(100_000));
    assert_eq!(few.0, 200, "each of its monitors is visited once");
    assert_eq!(few, many, "independent of the other nodes");
    assert_eq!(few.1, (0..100).collect::<Vec<_>>());
}

#[test]
fn fault_2_1_i_b_an_exit_costs_its_own_monitors() {
    let recorded = Recorded::new();
    let plane = &recorded.site.plane;
    for number in 0..100_000 {
        plane.receive(recorded.there, monitor_p(number, there(number), here(number % 1000))).unwrap();
    }
    recorded.site.world.kill(3, &Reason::NORMAL);
    assert_eq!(plane.visits(), 100);
    assert_eq!(recorded.messages().len(), 100);
}

/// Nor can a peer fill the memory with pids that it invents.
#[test]
fn fault_2_1_j_b_processes_that_never_were_leave_nothing() {
    let recorded = Recorded::new();
    let Site { plane, world } = &recorded.site;
    for number in 0..10_000 {
        world.kill(number, &Reason::NORMAL);
        assert_eq!(plane.receive(recorded.there, monitor_p(number, there(9), here(number))), Ok(()));
    }
    assert_eq!((plane.watched(), plane.monitors_with(THERE)), (0, (0, 0)));
    assert_eq!(recorded.messages().len(), 10_000);
}

/// No quota for a peer's registrations.
#[test]
fn fault_2_1_j_a_peer_holds_no_more_than_its_share() {
    let recorded = Recorded::with(Options::new(HERE, 1).inbound_limit(3));
    let plane = &recorded.site.plane;
    let other = plane.connected(ELSEWHERE, 1);
    for number in 0..3 {
        assert_eq!(plane.receive(recorded.there, monitor_p(number, there(9), here(42))), Ok(()));
    }
    for number in 100..1000 {
        assert_eq!(plane.receive(recorded.there, monitor_p(number, there(9), here(number))), Err(ReceiveError::Quota));
        let answer = exit_p(reference(number), there(9), here(number), Reason::NOCONNECTION);
        assert_eq!(recorded.messages(), [answer], "answered, so that the watcher does not wait for ever");
        assert_eq!(plane.monitored_by(number), []);
    }
    assert_eq!(plane.monitors_with(THERE), (0, 3));
    assert_eq!(plane.watched(), 1, "a refused target is not watched");
    // A repeated request costs nothing, another peer's quota is separate, and a withdrawal frees
    // quota.
    assert_eq!(plane.receive(recorded.there, monitor_p(0, there(9), here(42))), Ok(()));
    assert_eq!(plane.receive(other, monitor_p(0, elsewhere(9), here(42))), Ok(()));
    plane.receive(recorded.there, demonitor_p(0, there(9), here(42))).unwrap();
    assert_eq!(plane.receive(recorded.there, monitor_p(7, there(9), here(42))), Ok(()));
    assert_eq!(recorded.messages(), []);
}

/// Local references count up with no check at 2^56.
#[test]
fn fault_2_1_k_local_and_remote_references_never_meet() {
    use atropos_kernel::Reference;
    assert!(Reference::from_raw((1 << 56) - 1).is_some());
    for raw in [1 << 56, 1 << 57, RemoteReference::LAST.to_raw(), u64::MAX] {
        assert_eq!(
            Reference::from_raw(raw),
            None,
            "the kernel cannot represent it; the kernel's tests cover the end of its counter"
        );
    }
    let recorded = Recorded::with(Options::new(HERE, 1).first_reference(reference(0)));
    assert_eq!(recorded.site.plane.monitor_remote(7, there(42)), Ok(RemoteReference::FIRST));
}

/// The old control plane refused a monitor of another node's process as badarg, and its message
/// number was not Erlang's. This one sets the monitor up and answers it, in Erlang's numbers, with
/// any reason. The rest of (i), a cookie and other nodes' wire protocol, has no test: there is no
/// wire here yet, and so no secret that could have a default.
#[test]
fn fault_2_3_i_a_remote_monitor_is_made_and_answered() {
    let pair = Pair::new();
    let reasons = [Reason::NORMAL, Reason::KILLED, Reason::value(String::from("a text")), Reason::crash("a panic")];
    for (number, reason) in (42..).zip(&reasons) {
        let made = pair.left.plane.monitor_remote(7, there(number)).expect("the request is not refused");
        pair.pump();
        assert_eq!(pair.right.plane.monitored_by(number), [(made, here(7))]);
        pair.right.world.kill(number, reason);
        pair.pump();
        let down = Down { watcher: 7, reference: made, target: there(number), reason: reason.clone() };
        assert_eq!(pair.left.world.drain(), [down]);
    }
    let recorded = Recorded::new();
    let made = recorded.site.plane.monitor_remote(7, there(42)).expect("the request is not refused");
    assert!(recorded.site.plane.demonitor_remote(7, made));
    recorded.site.plane.receive(recorded.there, monitor_p(1, there(9), here(43))).expect("accepted");
    recorded.site.world.kill(43, &Reason::KILLED);
    let opcodes: Vec<u8> = recorded.messages().iter().map(MonitorControlMessage::opcode).collect();
    assert_eq!(opcodes, [19, 20, 21], "MONITOR_P, DEMONITOR_P, MONITOR_P_EXIT");
}
