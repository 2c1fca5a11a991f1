//! Acting for a process by its pid when the process is neither idle nor simply running: from inside
//! its own scan of its mailbox, from a destructor that the kernel runs for it, and while it dies.
#![cfg(feature = "epoch")]

mod common;

use std::sync::Arc;
use std::sync::Mutex;

use std::time::Duration;

use atropos_kernel::{
    ActAsError, AliasMode, BodyPoll, CallerState, Cx, Host, Kernel, Limits, MonitorTarget, Options, Pid, Reason,
    Received, SendTarget, SpawnError, SpawnOptions, TimerError,
};
use common::{Stage, does};

/// Creates a host access of its own, for code that runs inside a body.
fn as_host<R>(kernel: &Kernel, f: impl FnOnce(&Host<'_>) -> R) -> R {
    let participant = kernel.register();
    f(&Host::new(kernel, &participant))
}

type Seen = Arc<Mutex<Vec<(&'static str, Reason)>>>;

/// Starts a process that records its EXITs and DOWNs.
fn notes(stage: &Stage, seen: &Seen) -> Pid {
    let seen = seen.clone();
    let body = does::<(), _>(move |cx: &Cx<'_, ()>| {
        while let Some(received) = cx.receive() {
            match received {
                Received::Exit(exit) => seen.lock().unwrap().push(("EXIT", exit.reason)),
                Received::Down(down) => seen.lock().unwrap().push(("DOWN", down.reason)),
                Received::Message(()) | Received::Timer { .. } => {}
            }
        }
        BodyPoll::Wait
    });
    stage.host().spawn(&SpawnOptions::new().trap_exit(true), body).expect("a process").pid
}

fn waits(stage: &Stage) -> Pid {
    stage.host().spawn(&SpawnOptions::new(), does::<(), _>(|_| BodyPoll::Wait)).expect("a process").pid
}

#[test]
fn from_inside_its_own_mailbox_scan() {
    let mut stage = Stage::new(Options::default());
    let (seen, target) = (Seen::default(), waits(&stage));
    let (kernel, notes, mut looked) = (stage.kernel.clone(), seen.clone(), false);
    let body = does::<u8, _>(move |cx: &Cx<'_, u8>| {
        if !looked {
            cx.for_each_waiting(|_| {
                looked = true;
                let made = as_host(&kernel, |host| {
                    host.act_as(cx.pid(), |acting| {
                        assert_eq!(acting.state(), CallerState::Elsewhere, "the queue must not change during the scan");
                        assert_eq!(acting.demonitor(acting.monitor(cx.pid()).unwrap().reference, true), Ok(None));
                        acting.monitor(target).unwrap()
                    })
                });
                assert!(!made.immediate_down);
            });
        }
        while let Some(received) = cx.receive() {
            if let Received::Down(down) = received {
                notes.lock().unwrap().push(("DOWN", down.reason));
            }
        }
        BodyPoll::Wait
    });
    let watcher = stage.host().spawn(&SpawnOptions::new(), body).expect("a process").pid;
    stage.settle();
    stage.host().send(watcher, 1_u8).expect("it lives");
    stage.settle();
    assert_eq!(stage.host().exit(target, Reason::SHUTDOWN), Ok(true));
    stage.settle();
    assert_eq!(*seen.lock().unwrap(), [("DOWN", Reason::SHUTDOWN)]);
}

#[test]
fn from_a_destructor_that_the_kernel_runs_for_it() {
    /// Acts for its receiver when it is dropped.
    struct Acts(Arc<Kernel>, Pid, Arc<Mutex<Vec<CallerState>>>);
    impl Drop for Acts {
        fn drop(&mut self) {
            let state = as_host(&self.0, |host| host.act_as(self.1, |acting| acting.state()));
            self.2.lock().unwrap().push(state);
        }
    }
    let mut stage = Stage::new(Options::default());
    let stood = Arc::default();
    let receiver =
        stage.host().spawn(&SpawnOptions::new(), does::<Acts, _>(|_| BodyPoll::Wait)).expect("a process").pid;
    stage.settle();
    let acts = Acts(stage.kernel.clone(), receiver, Arc::clone(&stood));
    assert!(stage.host().send(receiver, acts).is_ok());
    assert_eq!(stage.host().exit(receiver, Reason::KILL), Ok(true));
    stage.settle();
    assert_eq!(*stood.lock().unwrap(), [CallerState::Dead], "the exit drops the unread message");
}

#[test]
fn spawn_for_a_parent_with_an_unhandled_kill() {
    let mut stage = Stage::new(Options::default());
    let seen = Seen::default();
    let parent = waits(&stage);
    stage.settle();
    assert_eq!(stage.host().exit(parent, Reason::KILL), Ok(true));
    let witness = seen.clone();
    let child = does::<(), _>(move |cx: &Cx<'_, ()>| {
        while let Some(Received::Exit(exit)) = cx.receive() {
            assert_eq!(exit.from, Some(parent));
            witness.lock().unwrap().push(("EXIT", exit.reason));
        }
        BodyPoll::Wait
    });
    let options = SpawnOptions::new().link().monitor().trap_exit(true);
    let spawned =
        stage.host().act_as(parent, |acting| acting.spawn(&options, child)).expect("the parent is not dead yet");
    stage.settle();
    assert_eq!(*seen.lock().unwrap(), [("EXIT", Reason::KILLED)]);
    assert!(stage.host().is_alive(spawned.pid));
    let late = stage.host().act_as(parent, |acting| acting.spawn(&options, does::<(), _>(|_| BodyPoll::Wait)));
    assert_eq!(late, Err(SpawnError::Dying));
}

#[test]
fn operations_behind_an_unhandled_kill_complete_and_free_their_nodes() {
    let limits = Limits { nodes: 1_000, ..Limits::default() };
    let mut stage = Stage::new(Options { limits, ..Options::default() });
    let (seen, unlinked) = (Seen::default(), Seen::default());
    let (other, former) = (notes(&stage, &seen), notes(&stage, &unlinked));
    let caller = waits(&stage);
    stage.host().act_as(caller, |acting| acting.link(former, false)).expect("both live");
    stage.settle();
    // A kill, and behind it operations that were accepted nevertheless.
    assert_eq!(stage.host().exit(caller, Reason::KILL), Ok(true));
    stage.host().act_as(caller, |acting| {
        assert_eq!(acting.state(), CallerState::Elsewhere);
        for _ in 0..20 {
            assert_eq!(acting.link(other, false), Ok(()));
            let made = acting.monitor(other).expect("both live");
            assert_eq!(acting.demonitor(made.reference, true), Ok(None));
            assert!(acting.monitor(former).is_ok());
        }
        assert_eq!(acting.unlink(former), Ok(()));
    });
    stage.settle();
    assert_eq!(*seen.lock().unwrap(), [("EXIT", Reason::KILLED)], "one EXIT for several calls of link");
    assert_eq!(*unlinked.lock().unwrap(), [], "the unlinked process receives no EXIT");
    let acting = stage.host().act_as(caller, |acting| (acting.link(other, false), acting.set_trap_exit(true)));
    assert_eq!(acting, (Err(ActAsError::NoCaller), Err(ActAsError::NoCaller)));
    for pid in [other, former] {
        assert_eq!(stage.host().exit(pid, Reason::KILL), Ok(true));
    }
    stage.settle();
    assert_eq!(stage.kernel.nodes_used(), 0);
}

/// Starts a process that records the messages it receives, and ends with the first 0.
fn hears(stage: &Stage, heard: &Arc<Mutex<Vec<u8>>>) -> Pid {
    let heard = heard.clone();
    let body = does::<u8, _>(move |cx: &Cx<'_, u8>| {
        while let Some(received) = cx.receive() {
            let Received::Message(message) = received else { continue };
            heard.lock().unwrap().push(message);
            if message == 0 {
                return BodyPoll::Exit(Reason::NORMAL);
            }
        }
        BodyPoll::Wait
    });
    stage.host().spawn(&SpawnOptions::new(), body).expect("a process").pid
}

/// Returns the remaining time of a timer, which is known without running a process.
fn told(asked: Result<Option<Duration>, ActAsError>) -> Option<Duration> {
    asked.expect("the caller lives")
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn timer_for_a_sleeping_caller_counts_from_the_call() {
    let mut stage = Stage::new(Options { cores: 2, ..Options::default() });
    let heard = Arc::default();
    let (caller, target) = (hears(&stage, &heard), hears(&stage, &heard));
    stage.settle();
    let start = |stage: &Stage, to, after, message: u8| {
        stage.host().act_as(caller, |acting| acting.send_after(to, after, message)).expect("both live")
    };
    let (own, other) = (start(&stage, caller, SECOND, 1), start(&stage, target, SECOND * 2, 2));
    // No process has run since, but the time of the timer counts from the call.
    stage.world.advance(500_000_000);
    let asked = stage.host().act_as(caller, |acting| acting.read_timer(own));
    assert_eq!(told(asked), Some(SECOND / 2));
    stage.settle();
    stage.pass(SECOND);
    assert_eq!(*heard.lock().unwrap(), [1]);
    let asked = stage.host().act_as(caller, |acting| acting.cancel_timer(own));
    assert_eq!(told(asked), None, "the timer has fired");
    // Any process that has the reference may cancel the timer.
    let asked = stage.host().act_as(target, |acting| acting.cancel_timer(other));
    assert_eq!(told(asked), Some(SECOND / 2));
    let asked = stage.host().act_as(caller, |acting| acting.cancel_timer(other));
    assert_eq!(told(asked), None, "a timer is cancelled only once");
    stage.pass(SECOND * 9);
    assert_eq!(*heard.lock().unwrap(), [1]);
}

#[test]
fn overdue_timer_fires_on_first_turn() {
    let mut stage = Stage::new(Options::default());
    let heard = Arc::default();
    let caller = hears(&stage, &heard);
    stage.host().act_as(caller, |acting| acting.send_after(caller, SECOND, 7_u8)).expect("it lives");
    // The process has not run at all, and its first turn comes after the deadline. Its core reports
    // that it must be run again at once.
    stage.pass(SECOND * 2);
    stage.settle();
    assert_eq!(*heard.lock().unwrap(), [7]);
}

#[test]
fn timers_of_a_dying_process_fire_only_for_other_targets() {
    let limits = Limits { nodes: 1_000, ..Limits::default() };
    let mut stage = Stage::new(Options { limits, ..Options::default() });
    let heard = Arc::default();
    let (caller, target) = (hears(&stage, &heard), hears(&stage, &heard));
    stage.settle();
    assert_eq!(stage.host().exit(caller, Reason::KILL), Ok(true));
    // Behind the kill, which the process has not handled.
    for (to, message) in [(caller, 1_u8), (target, 2)] {
        assert!(stage.host().act_as(caller, |acting| acting.send_after(to, SECOND, message)).is_ok());
    }
    stage.settle();
    let late = stage.host().act_as(caller, |acting| acting.send_after(target, SECOND, 3_u8));
    assert_eq!(late, Err(TimerError::Dying));
    stage.pass(SECOND * 2);
    assert_eq!(*heard.lock().unwrap(), [2]);
    // A timer never fires for a target that dies before the timer is started.
    let other = hears(&stage, &heard);
    assert_eq!(stage.host().exit(target, Reason::KILL), Ok(true));
    assert!(stage.host().act_as(other, |acting| acting.send_after(target, SECOND, 4_u8)).is_ok());
    stage.pass(SECOND * 2);
    assert_eq!(*heard.lock().unwrap(), [2]);
    assert_eq!(stage.host().exit(other, Reason::KILL), Ok(true));
    stage.settle();
    assert_eq!(stage.kernel.nodes_used(), 0);
}

#[test]
fn timer_limit_is_exact_and_slots_are_returned() {
    let limits = Limits { timers: 3, ..Limits::default() };
    let mut stage = Stage::new(Options { limits, ..Options::default() });
    let heard = Arc::default();
    let caller = hears(&stage, &heard);
    stage.settle();
    for round in 0..3 {
        for _ in 0..3 {
            stage.host().act_as(caller, |acting| acting.send_after(caller, SECOND, 1_u8)).expect("there is room");
        }
        let more = stage.host().act_as(caller, |acting| acting.send_after(caller, SECOND, 2_u8));
        assert_eq!(more, Err(TimerError::TooMany));
        stage.settle();
        stage.pass(SECOND * 2);
        assert_eq!(heard.lock().unwrap().len(), 3 * (round + 1));
    }
    let wrong = stage.host().act_as(caller, |acting| acting.send_after(caller, SECOND, "no number"));
    assert_eq!(wrong, Err(TimerError::WrongType));
}

#[test]
fn unstarted_timer_drops_its_message_once() {
    struct Counts(Arc<std::sync::atomic::AtomicUsize>);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let dropped = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let stage = Stage::new(Options::default());
    let caller =
        stage.host().spawn(&SpawnOptions::new(), does::<Counts, _>(|_| BodyPoll::Wait)).expect("a process").pid;
    for _ in 0..2 {
        let message = Counts(dropped.clone());
        assert!(stage.host().act_as(caller, |acting| acting.send_after(caller, SECOND, message)).is_ok());
    }
    // The kernel ends before the process has handled its mailbox.
    drop(stage);
    assert_eq!(dropped.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[test]
fn monitor_by_name_and_with_alias_for_a_sleeping_caller() {
    let mut stage = Stage::new(Options::default());
    let (seen, heard) = (Arc::<Mutex<Vec<(MonitorTarget, Reason)>>>::default(), Arc::<Mutex<Vec<u8>>>::default());
    let (downs, messages) = (seen.clone(), heard.clone());
    let body = does::<u8, _>(move |cx: &Cx<'_, u8>| {
        while let Some(received) = cx.receive() {
            match received {
                Received::Down(down) => downs.lock().unwrap().push((down.target, down.reason)),
                Received::Message(message) => messages.lock().unwrap().push(message),
                _ => {}
            }
        }
        BodyPoll::Wait
    });
    let watcher = stage.host().spawn(&SpawnOptions::new(), body).expect("a process").pid;
    let (target, heir) = (waits(&stage), waits(&stage));
    stage.settle();
    let host = stage.host();
    host.act_as(watcher, |acting| {
        acting.register("shell", target).expect("the name is free");
        let made = acting.monitor_name("shell").expect("memory");
        assert!(!made.immediate_down);
        // A later holder of the name is not monitored.
        assert!(acting.unregister("shell") && !acting.unregister("shell"));
        acting.register("shell", heir).expect("the name is free again");
        assert!(acting.monitor_name("nobody's").expect("memory").immediate_down);
        let itself = acting.register("me", watcher).map(|()| acting.monitor_name("me"));
        assert!(
            itself.is_ok_and(|made| made.is_ok_and(|made| !made.immediate_down)),
            "a monitor of oneself never fires"
        );
    });
    let with_alias = host.act_as(watcher, |acting| {
        acting.monitor_with(SendTarget::Pid(target), Some(AliasMode::Demonitor)).expect("both live").reference
    });
    let alias = host.act_as(watcher, |acting| acting.alias(true)).expect("it lives");
    let taken_back = host.act_as(watcher, |acting| acting.alias(false)).expect("it lives");
    let by_monitor = atropos_kernel::Alias::new(watcher, with_alias);
    assert_eq!(host.act_as(watcher, |acting| acting.unalias(taken_back.reference())), Ok(None));
    for (alias, message) in [(alias, 1_u8), (alias, 2), (taken_back, 3), (by_monitor, 4)] {
        assert!(host.send_alias(alias, message).is_ok());
    }
    assert_eq!(host.exit(heir, Reason::KILL), Ok(true));
    drop(host);
    stage.settle();
    assert_eq!(*heard.lock().unwrap(), [1, 4]);
    let name = |text: &str| {
        seen.lock()
            .unwrap()
            .iter()
            .filter(|(object, _)| matches!(object, MonitorTarget::Name(name) if name.as_str() == text))
            .count()
    };
    assert_eq!((name("nobody's"), name("shell"), seen.lock().unwrap().len()), (1, 0, 1));
    assert_eq!(stage.host().exit(target, Reason::SHUTDOWN), Ok(true));
    stage.settle();
    assert_eq!((name("shell"), seen.lock().unwrap().len()), (1, 3));
    assert!(seen.lock().unwrap()[1..].iter().all(|(_, reason)| *reason == Reason::SHUTDOWN));
    assert!(stage.host().send_alias(by_monitor, 5_u8).is_ok());
    stage.settle();
    assert_eq!(*heard.lock().unwrap(), [1, 4], "the alias ended with its monitor");
}
