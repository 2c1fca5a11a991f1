//! What a process that occupies its core may delay, on threads: no operation of its supervisor, nor
//! of its registry (issue 14, 11 and 12). Also the value of a panic (29).

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use atropos::otp::registry::Registry;
use atropos::otp::{CallError, ChildId, Report, ReportHook, Task};
use atropos::panic_value;
use atropos::prelude::*;

/// A timeout longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A gate: a thread that waits at it occupies its core until the gate is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<(usize, bool)>, Condvar)>);

impl Gate {
    /// Blocks the thread.
    fn hold(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().expect("not poisoned");
        state.0 += 1;
        changed.notify_all();
        while !state.1 {
            state = changed.wait(state).expect("not poisoned");
        }
    }

    /// Counts as a thread at the gate, and does not block.
    fn pass(&self) {
        self.0.0.lock().expect("not poisoned").0 += 1;
        self.0.1.notify_all();
    }

    /// Waits until a thread is, or has been, at the gate.
    fn is_held(&self) {
        let (state, changed) = &*self.0;
        let state = state.lock().expect("not poisoned");
        let held = changed.wait_timeout_while(state, PATIENCE, |state| state.0 == 0).expect("not poisoned");
        assert!(!held.1.timed_out(), "no thread arrives at the gate");
    }

    fn open(&self) {
        self.0.0.lock().expect("not poisoned").1 = true;
        self.0.1.notify_all();
    }
}

/// A guard that opens the gate even when a test fails, since the runtime waits for its threads.
struct Opens(Gate);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// A value that blocks when it is dropped.
struct Holds(Gate);

impl Drop for Holds {
    fn drop(&mut self) {
        self.0.hold();
    }
}

/// The way in which a child occupies its core.
#[derive(Clone, Copy, PartialEq, Debug)]
enum How {
    /// It blocks before it gets any signal.
    Before,
    /// It starts to block when it gets the exit signal.
    WhenTold,
    /// It sleeps, and its body's destructor blocks.
    InItsDestructor,
    /// It sleeps, and the destructor of a message that it has not received blocks.
    InAMessage,
}

/// Specifies the child. It stands at `ready` once it is as `how` says; before that, an exit signal
/// ends it at once.
fn child(how: How, gate: &Gate, ready: &Gate, brutal: bool) -> ChildSpec {
    let (gate, ready) = (gate.clone(), ready.clone());
    let shutdown = if brutal { Shutdown::Brutal } else { Shutdown::Within(Duration::from_millis(50)) };
    ChildSpec::worker("holds", move |starter: &mut ChildStarter<'_>| {
        let (gate, ready) = (gate.clone(), ready.clone());
        starter.spawn(async move |cx: Context<Holds>| match how {
            How::Before => gate.hold(),
            How::WhenTold => {
                cx.trap_exit(true);
                ready.pass();
                if let Received::Exit(_) = cx.recv().await {
                    gate.hold();
                }
            }
            How::InItsDestructor => {
                let _holds = Holds(gate);
                ready.pass();
                std::future::pending::<()>().await;
            }
            How::InAMessage => {
                assert!(cx.send(cx.pid(), Holds(gate)).is_ok());
                ready.pass();
                std::future::pending::<()>().await;
            }
        })
    })
    .shutdown(shutdown)
}

fn ends_in_time(how: How, cores: usize, brutal: bool) {
    let (gate, ready) = (Gate::default(), Gate::default());
    let seen: Arc<Mutex<Vec<ChildId>>> = Arc::default();
    let reports = seen.clone();
    let runtime = Runtime::builder().cores(cores).build().expect("threads");
    // Dropped before the runtime.
    let opens = Opens(gate.clone());
    let hook = ReportHook::new(move |report| {
        if let Report::Stuck { child, .. } = report {
            reports.lock().expect("not poisoned").extend(child.id.clone());
        }
    });
    let good = ChildSpec::of("good", async |cx: Context<()>| _ = cx.recv().await);
    let tree = Supervisor::one_for_one().on_report(hook).child(good).child(child(how, &gate, &ready, brutal));
    let supervisor = runtime.start_supervisor(tree).expect("up");
    if how == How::Before {
        gate.is_held()
    } else {
        ready.is_held()
    }
    let asks = runtime.spawn(async move |cx: Context<()>| {
        assert_eq!(supervisor.terminate_child(&cx, "holds").await, Ok(()));
        let counts = supervisor.count_children(&cx).await.expect("alive");
        assert_eq!((counts.active, counts.workers), (1, 2));
    });
    let ended = runtime.wait_blocking(asks.expect("room"), PATIENCE).expect("the supervisor answers");
    assert_eq!(ended.reason, Some(Reason::NORMAL), "{how:?} on {cores}");
    assert_eq!(*seen.lock().expect("not poisoned"), [ChildId::from("holds")], "{how:?} on {cores}: reported once");
    drop(opens);
}

/// Issue 14, 11: a supervisor stops a child in time, whatever the child does. The child is killed,
/// waited for, reported and abandoned, and the supervisor answers while the child still occupies
/// its core.
#[test]
fn n11_a_child_is_stopped_in_time_whatever_it_does() {
    let cases = [How::Before, How::WhenTold, How::InItsDestructor, How::InAMessage].into_iter();
    let cases = cases.flat_map(|how| [(how, 2, false), (how, 4, false), (how, 2, true)]);
    // With a brutal kill, this child does not block: it dies.
    let cases = cases.filter(|(how, _, brutal)| !(*brutal && *how == How::WhenTold));
    let all: Vec<_> =
        cases.map(|(how, cores, brutal)| std::thread::spawn(move || ends_in_time(how, cores, brutal))).collect();
    for one in all {
        one.join().expect("it has ended the child");
    }
}

/// Issue 14, 12: a registry answers every request while a member occupies its core and has signals
/// waiting.
#[test]
fn n12_a_registry_answers_while_a_member_is_busy() {
    let gate = Gate::default();
    let runtime = Runtime::builder().cores(4).build().expect("threads");
    let opens = Opens(gate.clone());
    let registry = runtime.start_server(Registry::<&'static str, u8>::unique()).expect("up").expect("up");
    let (holds, registered) = (gate.clone(), Gate::default());
    let ready = registered.clone();
    let busy = runtime.spawn(async move |cx: Context<u8>| {
        registry.register(&cx, "busy", 1).await.expect("free");
        std::thread::spawn(move || ready.hold());
        cx.recv().await;
        holds.hold();
    });
    let busy = busy.expect("room");
    registered.is_held();
    registered.open();
    runtime.send(busy, 1).expect("alive");
    gate.is_held();
    // A signal waits at the busy process.
    runtime.send(busy, 2).expect("alive");
    let asks = runtime.block_on(async move |cx: Context<()>| {
        registry.register(&cx, "mine", 2).await.expect("free");
        for _ in 0..3 {
            assert_eq!(registry.whereis(&cx, "busy").await, Ok(Some(busy.pid())));
            assert_eq!(registry.whereis(&cx, "mine").await, Ok(Some(cx.pid())));
        }
        assert_eq!(registry.keys(&cx, busy.pid()).await, Ok(vec!["busy"]));
        assert_eq!(registry.all(&cx).await.map(|all| all.len()), Ok(2));
        assert!(registry.register(&cx, "busy", 3).await.is_err(), "it is taken");
        assert_eq!(registry.register_other(&cx, busy.pid(), "another", 3).await, Ok(()));
        assert_eq!(registry.unregister(&cx, busy.pid(), "busy").await, Ok(true));
        assert_eq!(registry.count(&cx).await, Ok(2));
    });
    assert_eq!(asks, Ok(()));
    drop(opens);
}

/// Issue 14, 29: the value of a panic, where it is more than a text, reaches the joining process.
#[test]
fn n29_a_panics_value_reaches_the_joiner() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("a bomb"));
        }
    }
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    let joined = runtime.block_on(async |cx: Context<()>| {
        let task = Task::<()>::start(&cx, async |_: Context<()>| std::panic::resume_unwind(Box::new(42_u64)));
        let Err(CallError::Down(reason)) = task.expect("room").join(&cx, None).await else { panic!("a panic") };
        let value = panic_value(&reason).and_then(|value| value.downcast::<u64>().ok());
        assert_eq!((value.as_deref(), panic_value(&reason).is_none()), (Some(&42), true), "once");
        let task = Task::<()>::start(&cx, async |_: Context<()>| std::panic::resume_unwind(Box::new("a text")));
        let Err(CallError::Down(reason)) = task.expect("room").join(&cx, None).await else { panic!("a panic") };
        assert_eq!(reason, Reason::crash("a text"));
        let value = panic_value(&reason).and_then(|value| value.downcast::<String>().ok());
        assert_eq!(value.as_deref().map(String::as_str), Some("a text"));
        // No process takes the value: its destructor's panic is caught.
        let task = Task::<()>::start(&cx, async |_: Context<()>| std::panic::resume_unwind(Box::new(Bomb)));
        assert!(task.expect("room").join(&cx, None).await.is_err());
        assert_eq!(panic_value(&Reason::KILLED).map(|_| ()), None);
    });
    assert_eq!(joined, Ok(()));
}
