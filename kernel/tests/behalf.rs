//! Acting for a process by its pid, from where it is neither idle nor simply running: from inside its own look at its mailbox,
//! from a destructor that the kernel runs for it, and while it dies.
#![cfg(feature = "epoch")]

mod common;

use std::sync::Arc;
use std::sync::Mutex;

use atropos_kernel::{
    BehalfError, Cx, Host, Kernel, Limits, Options, Pid, Reason, Received, Resumed, SpawnError, SpawnOptions, Standing,
};
use common::{Stage, does};

/// A host of its own, for code that runs inside a body.
fn as_host<R>(kernel: &Kernel, f: impl FnOnce(&Host<'_>) -> R) -> R {
    let participant = kernel.register();
    f(&Host::new(kernel, &participant))
}

type Seen = Arc<Mutex<Vec<(&'static str, Reason)>>>;

/// A process that notes its EXITs and DOWNs.
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
        Resumed::Wait
    });
    stage.host().spawn(&SpawnOptions::new().trap_exit(true), body).expect("a process").pid
}

fn waits(stage: &Stage) -> Pid {
    stage.host().spawn(&SpawnOptions::new(), does::<(), _>(|_| Resumed::Wait)).expect("a process").pid
}

#[test]
fn from_inside_its_own_look_at_its_mailbox() {
    let mut stage = Stage::new(Options::default());
    let (seen, target) = (Seen::default(), waits(&stage));
    let (kernel, notes, mut looked) = (stage.kernel.clone(), seen.clone(), false);
    let body = does::<u8, _>(move |cx: &Cx<'_, u8>| {
        if !looked {
            cx.for_each_waiting(|_| {
                looked = true;
                let made = as_host(&kernel, |host| {
                    host.behalf(cx.pid(), |behalf| {
                        assert_eq!(behalf.standing(), Standing::There, "its queue must not change under it");
                        assert_eq!(behalf.demonitor(behalf.monitor(cx.pid()).unwrap().reference, true), Ok(None));
                        behalf.monitor(target).unwrap()
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
        Resumed::Wait
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
    struct Acts(Arc<Kernel>, Pid, Arc<Mutex<Vec<Standing>>>);
    impl Drop for Acts {
        fn drop(&mut self) {
            let standing = as_host(&self.0, |host| host.behalf(self.1, |behalf| behalf.standing()));
            self.2.lock().unwrap().push(standing);
        }
    }
    let mut stage = Stage::new(Options::default());
    let stood = Arc::default();
    let receiver = stage.host().spawn(&SpawnOptions::new(), does::<Acts, _>(|_| Resumed::Wait)).expect("a process").pid;
    stage.settle();
    let acts = Acts(stage.kernel.clone(), receiver, Arc::clone(&stood));
    assert!(stage.host().send(receiver, acts).is_ok());
    assert_eq!(stage.host().exit(receiver, Reason::KILL), Ok(true));
    stage.settle();
    assert_eq!(*stood.lock().unwrap(), [Standing::Gone], "unread, it is dropped by the death");
}

#[test]
fn a_spawn_for_a_parent_that_has_been_killed_and_has_not_met_it() {
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
        Resumed::Wait
    });
    let options = SpawnOptions::new().link().monitor().trap_exit(true);
    let spawned = stage.host().behalf(parent, |behalf| behalf.spawn(&options, child)).expect("it is not dead yet");
    stage.settle();
    assert_eq!(*seen.lock().unwrap(), [("EXIT", Reason::KILLED)]);
    assert!(stage.host().is_alive(spawned.pid));
    let late = stage.host().behalf(parent, |behalf| behalf.spawn(&options, does::<(), _>(|_| Resumed::Wait)));
    assert_eq!(late, Err(SpawnError::Dying));
}

#[test]
fn what_a_death_has_not_met_is_kept_and_takes_no_node_along() {
    let limits = Limits { nodes: 1_000, ..Limits::default() };
    let mut stage = Stage::new(Options { limits, ..Options::default() });
    let (seen, unlinked) = (Seen::default(), Seen::default());
    let (other, former) = (notes(&stage, &seen), notes(&stage, &unlinked));
    let caller = waits(&stage);
    stage.host().behalf(caller, |behalf| behalf.link(former, false)).expect("both live");
    stage.settle();
    // A kill, and behind it what has been promised all the same.
    assert_eq!(stage.host().exit(caller, Reason::KILL), Ok(true));
    stage.host().behalf(caller, |behalf| {
        assert_eq!(behalf.standing(), Standing::There);
        for _ in 0..20 {
            assert_eq!(behalf.link(other, false), Ok(()));
            let made = behalf.monitor(other).expect("both live");
            assert_eq!(behalf.demonitor(made.reference, true), Ok(None));
            assert!(behalf.monitor(former).is_ok());
        }
        assert_eq!(behalf.unlink(former), Ok(()));
    });
    stage.settle();
    assert_eq!(*seen.lock().unwrap(), [("EXIT", Reason::KILLED)], "one link, however often");
    assert_eq!(*unlinked.lock().unwrap(), [], "unlinked");
    let behalf = stage.host().behalf(caller, |behalf| (behalf.link(other, false), behalf.set_trap_exit(true)));
    assert_eq!(behalf, (Err(BehalfError::NoCaller), Err(BehalfError::NoCaller)));
    for pid in [other, former] {
        assert_eq!(stage.host().exit(pid, Reason::KILL), Ok(true));
    }
    stage.settle();
    assert_eq!(stage.kernel.nodes_used(), 0);
}
