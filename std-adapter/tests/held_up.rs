//! What one process that does not let go of its core may hold up, on threads: nothing of its supervisor's, nor of its registry's
//! (issue 14, 11 and 12); and what a panic was thrown with (29).

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use atropos::otp::registry::Registry;
use atropos::otp::{CallError, ChildId, ReportHook, Report, Task};
use atropos::panic_value;
use atropos::prelude::*;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Those that wait here hold their core until it is opened.
#[derive(Clone, Default)]
struct KernelAccess(Arc<(Mutex<(usize, bool)>, Condvar)>);

impl KernelAccess {
    /// Blocks the thread.
    fn hold(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().expect("whole");
        state.0 += 1;
        changed.notify_all();
        while !state.1 {
            state = changed.wait(state).expect("whole");
        }
    }

    /// Waits until somebody waits there.
    fn is_held(&self) {
        let (state, changed) = &*self.0;
        let state = state.lock().expect("whole");
        let held = changed.wait_timeout_while(state, PATIENCE, |state| state.0 == 0).expect("whole");
        assert!(!held.1.timed_out(), "nobody comes here");
    }

    fn open(&self) {
        self.0.0.lock().expect("whole").1 = true;
        self.0.1.notify_all();
    }
}

/// Opens the gate also when a test fails: the runtime waits for its threads.
struct Opens(KernelAccess);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// Blocks when it is dropped.
struct Holds(KernelAccess);

impl Drop for Holds {
    fn drop(&mut self) {
        self.0.hold();
    }
}

/// How a child does not let go.
#[derive(Clone, Copy, PartialEq, Debug)]
enum How {
    /// It blocks before it is told anything.
    Before,
    /// It begins to block when it is told.
    WhenTold,
    /// It sleeps, and its body's destructor blocks.
    InItsDestructor,
    /// It sleeps, and so does the destructor of a message that it has not received.
    InAMessage,
}

fn child(how: How, gate: &KernelAccess, brutal: bool) -> ChildSpec {
    let gate = gate.clone();
    let shutdown = if brutal { Shutdown::Brutal } else { Shutdown::Within(Duration::from_millis(50)) };
    ChildSpec::worker("holds", move |starter: &mut ChildStarter<'_>| {
        let gate = gate.clone();
        starter.spawn(async move |cx: Context<Holds>| match how {
            How::Before => gate.hold(),
            How::WhenTold => {
                cx.trap_exit(true);
                if let Received::Exit(_) = cx.recv().await {
                    gate.hold();
                }
            }
            How::InItsDestructor => {
                let _holds = Holds(gate);
                std::future::pending::<()>().await;
            }
            How::InAMessage => {
                assert!(cx.send(cx.pid(), Holds(gate)).is_ok());
                std::future::pending::<()>().await;
            }
        })
    })
    .shutdown(shutdown)
}

fn ends_in_time(how: How, cores: usize, brutal: bool) {
    let gate = KernelAccess::default();
    let seen: Arc<Mutex<Vec<ChildId>>> = Arc::default();
    let reports = seen.clone();
    let runtime = Runtime::builder().cores(cores).build().expect("threads");
    // Before the runtime goes.
    let opens = Opens(gate.clone());
    let hook = ReportHook::new(move |report| {
        if let Report::Stuck { child, .. } = report {
            reports.lock().expect("whole").extend(child.id.clone());
        }
    });
    let good = ChildSpec::of("good", async |cx: Context<()>| _ = cx.recv().await);
    let tree = Supervisor::one_for_one().on_report(hook).child(good).child(child(how, &gate, brutal));
    let supervisor = runtime.start_supervisor(tree).expect("up");
    if how == How::Before {
        gate.is_held();
    } else {
        std::thread::sleep(Duration::from_millis(50));
    }
    let asks = runtime.spawn(async move |cx: Context<()>| {
        assert_eq!(supervisor.terminate_child(&cx, "holds").await, Ok(()));
        let counts = supervisor.count_children(&cx).await.expect("alive");
        assert_eq!((counts.active, counts.workers), (1, 2));
    });
    let ended = runtime.wait_blocking(asks.expect("room"), PATIENCE).expect("the supervisor answers");
    assert_eq!(ended.reason, Some(Reason::NORMAL), "{how:?} on {cores}");
    assert_eq!(*seen.lock().expect("whole"), [ChildId::from("holds")], "{how:?} on {cores}: reported once");
    drop(opens);
}

/// Issue 14, 11: a supervisor ends a child in time, whatever that does: it is killed, waited for, reported and left behind, and the
/// supervisor answers while the child still holds its core.
#[test]
fn n11_a_child_is_ended_in_time_whatever_it_does() {
    let cases = [How::Before, How::WhenTold, How::InItsDestructor, How::InAMessage].into_iter();
    let cases = cases.flat_map(|how| [(how, 2, false), (how, 4, false), (how, 2, true)]);
    // Told brutally, a child does not block: it dies.
    let cases = cases.filter(|(how, _, brutal)| !(*brutal && *how == How::WhenTold));
    let all: Vec<_> =
        cases.map(|(how, cores, brutal)| std::thread::spawn(move || ends_in_time(how, cores, brutal))).collect();
    for one in all {
        one.join().expect("it has ended the child");
    }
}

/// Issue 14, 12: a registry answers while a member holds its core and has signals waiting, whatever it is asked.
#[test]
fn n12_a_registry_answers_while_a_member_is_busy() {
    let gate = KernelAccess::default();
    let runtime = Runtime::builder().cores(4).build().expect("threads");
    let opens = Opens(gate.clone());
    let registry = runtime.start_server(Registry::<&'static str, u8>::unique()).expect("up").expect("up");
    let (holds, registered) = (gate.clone(), KernelAccess::default());
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
    // Something waits at it.
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

/// Issue 14, 29: what a panic was thrown with reaches whoever joins, where it is more than a text.
#[test]
fn n29_a_panics_value_reaches_whoever_joins() {
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
        // Nobody takes it: its destructor's panic is contained.
        let task = Task::<()>::start(&cx, async |_: Context<()>| std::panic::resume_unwind(Box::new(Bomb)));
        assert!(task.expect("room").join(&cx, None).await.is_err());
        assert_eq!(panic_value(&Reason::KILLED).map(|_| ()), None);
    });
    assert_eq!(joined, Ok(()));
}
