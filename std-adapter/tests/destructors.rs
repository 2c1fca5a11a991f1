//! Issue 14, 5: values that the library keeps for its users have destructors that panic, several at
//! once among them. No other process dies, the program does not abort, and the requested operation
//! is carried out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use atropos::otp::event::{EventHandler, EventManager, HandlerNext};
use atropos::otp::registry::{Registry, RegistryRef};
use atropos::otp::server::MailboxPolicy;
use atropos::otp::statem::{Event, MachineCx, MachineMessage, StateMachine, Transition};
use atropos::otp::{RequestSet, Task};
use atropos::prelude::*;

const EVER: Duration = Duration::from_secs(60);

/// A value that panics when it is dropped.
#[derive(Clone, Debug)]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("bomb");
    }
}

fn quiet() {
    std::panic::set_hook(Box::new(|panic| {
        if panic.payload_as_str() != Some("bomb") && panic.payload_as_str() != Some("crash") {
            eprintln!("{panic}");
        }
    }));
}

/// A server whose state is a bomb, and which is told to keep another one from a message.
struct Fuse(#[allow(dead_code, reason = "dropped")] Bomb);

enum Ask {
    Crash,
    Births(Reply<usize>),
}

static BIRTHS: AtomicUsize = AtomicUsize::new(0);

impl Server for Fuse {
    type Message = Ask;

    async fn handle(&mut self, message: Ask, _: ServerCx<'_, Self>) -> Next<Ask> {
        match message {
            Ask::Crash => panic!("crash"),
            Ask::Births(reply) => reply.send(BIRTHS.load(Ordering::Relaxed)),
        }
        Next::Wait
    }
}

#[test]
fn n05_server_restarts_although_its_destructors_panic() {
    quiet();
    let runtime = Runtime::builder().cores(1).build().expect("a runtime");
    let make = || {
        BIRTHS.fetch_add(1, Ordering::Relaxed);
        Fuse(Bomb)
    };
    let start = Fuse(Bomb).start().restart_in_place(make, MailboxPolicy::SkipPoison, Intensity::within(9, EVER));
    let server = runtime.start_server(start).expect("it starts").expect("it is up");
    for births in 1..=3 {
        runtime.cast(server, Ask::Crash).map_err(|_| ()).expect("it lives");
        let seen = runtime.block_on(async move |cx: Context<()>| server.call_within(&cx, EVER, Ask::Births).await);
        assert_eq!(seen.expect("no crash"), Ok(births), "restarted in place although its destructors panic");
    }
    runtime.exit(server, Reason::KILL).expect("memory");
    assert_eq!(runtime.wait_blocking(server, EVER).expect("it ends").reason, Some(Reason::KILLED));
    assert_eq!(runtime.block_on(async |_: Context<()>| 7), Ok(7));
    runtime.shutdown(EVER).expect("all end");
}

struct Handler(#[allow(dead_code, reason = "dropped")] Bomb, Arc<AtomicUsize>);

impl EventHandler<u8> for Handler {
    fn event(&mut self, event: &u8) -> HandlerNext {
        self.1.fetch_add(1, Ordering::Relaxed);
        if *event == 1 { HandlerNext::Leave } else { HandlerNext::Stay }
    }
}

#[test]
fn n05_event_handlers_may_panic_when_dropped() {
    quiet();
    let runtime = Runtime::builder().cores(1).build().expect("a runtime");
    let heard: Arc<AtomicUsize> = Arc::default();
    let counts = heard.clone();
    let ended = runtime.block_on(async move |cx: Context<()>| {
        let events = EventManager::<u8>::new().start().start(&cx).await.expect("it starts");
        for id in ["a", "b", "c"] {
            events.add(&cx, id, Handler(Bomb, counts.clone())).await.expect("it is new");
        }
        events.add(&cx, "a", Handler(Bomb, counts.clone())).await.expect_err("it is taken");
        events.sync_notify(&cx, 0).await.expect("it lives");
        assert_eq!(events.delete(&cx, "a").await, Ok(true));
        events.sync_notify(&cx, 1).await.expect("it lives");
        assert_eq!(events.which(&cx).await.map(|ids| ids.len()), Ok(0), "all have left");
        for id in ["d", "e"] {
            events.add(&cx, id, Handler(Bomb, counts.clone())).await.expect("it is new");
        }
        cx.exit(events, Reason::KILL).expect("memory");
        events.pid()
    });
    let pid = ended.expect("no crash");
    assert_eq!(runtime.wait_blocking(pid, EVER).expect("it ends").reason, Some(Reason::KILLED));
    assert_eq!(heard.load(Ordering::Relaxed), 5);
    runtime.shutdown(EVER).expect("all end");
}

/// A value that panics when it is dropped, once it is armed. Lookups before that forget their
/// clones.
#[derive(Clone)]
struct Armed(Arc<AtomicBool>);

impl Drop for Armed {
    fn drop(&mut self) {
        assert!(!self.0.load(Ordering::Relaxed), "bomb");
    }
}

#[test]
fn n05_a_registry_outlives_its_values() {
    quiet();
    let runtime = Runtime::builder().cores(1).build().expect("a runtime");
    let armed: Arc<AtomicBool> = Arc::default();
    let arms = armed.clone();
    let left = runtime.block_on(async move |cx: Context<()>| {
        let registry: RegistryRef<u8, Armed> = Registry::duplicate().start().start(&cx).await.expect("it starts");
        let owner = cx.spawn(async |cx: Context<()>| drop(cx.recv().await)).expect("a process");
        for key in [1, 1, 2] {
            registry.register_other(&cx, owner.pid(), key, Armed(arms.clone())).await.expect("it lives");
        }
        registry.register(&cx, 3, Armed(arms.clone())).await.expect("it lives");
        registry.register(&cx, 4, Armed(arms.clone())).await.expect("it lives");
        arms.store(true, Ordering::Relaxed);
        cx.exit(owner, Reason::KILL).expect("memory");
        while registry.count(&cx).await.expect("it lives on") > 2 {
            cx.yield_now().await;
        }
        // The registry ends with two of them in it.
        cx.exit(registry, Reason::KILL).expect("memory");
        registry.pid()
    });
    let pid = left.expect("no crash");
    assert_eq!(runtime.wait_blocking(pid, EVER).expect("it ends").reason, Some(Reason::KILLED));
    armed.store(false, Ordering::Relaxed);
    assert_eq!(runtime.block_on(async |_: Context<()>| 7), Ok(7));
    runtime.shutdown(EVER).expect("all end");
}

/// Issue 14, 5: delayed messages are dropped one by one, when their runtime ends and when they are
/// cancelled. (Two of them aborted the program: the second panicked during the unwind of the
/// first.)
#[test]
fn n05_unsent_messages_may_panic_when_dropped() {
    quiet();
    let runtime = Runtime::builder().cores(1).build().expect("a runtime");
    let gets = runtime.spawn(async |cx: Context<Bomb>| cx.sleep(EVER).await).expect("a process");
    let late: Vec<_> = (0..5).map(|_| runtime.send_after(gets, EVER, Bomb).expect("a thread")).collect();
    assert!(late[..2].iter().all(|late| late.cancel().is_some() && late.cancel().is_none()));
    runtime.shutdown(EVER).expect("all end");
    assert!(late.iter().all(|late| late.left().is_none()));
}

/// A value that counts itself while it lives, and panics when it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(live: &Arc<AtomicUsize>) -> Self {
        live.fetch_add(1, Ordering::SeqCst);
        Self(live.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
        panic!("bomb");
    }
}

impl PartialEq for Counted {
    fn eq(&self, _: &Self) -> bool {
        false
    }
}

/// A server that answers with a bomb, and counts the live ones, and the answers that it has given.
struct Armoury {
    live: Arc<AtomicUsize>,
    given: Arc<AtomicUsize>,
}

impl Server for Armoury {
    type Message = Reply<Counted>;

    async fn handle(&mut self, reply: Reply<Counted>, _: ServerCx<'_, Self>) -> Next<Reply<Counted>> {
        reply.send(Counted::new(&self.live));
        self.given.fetch_add(1, Ordering::SeqCst);
        Next::Wait
    }
}

/// The end of five answers, or of the values of five tasks, that their owner does not take.
#[derive(Clone, Copy, Debug)]
enum Untaken {
    SetDropped,
    SetAbandoned,
    SetKilled,
    VecDropped,
    VecKilled,
    TasksDropped,
    JoinAllCancelled,
    TryJoinAllFails,
}

async fn leave_untaken(cx: &Context<()>, how: Untaken, server: ServerRef<Armoury>, armoury: Armoury) {
    let Armoury { live, given } = armoury;
    // All answers are there. (A value may live, and not have been sent yet.)
    let arrived = || async {
        while given.load(Ordering::SeqCst) < 5 {
            cx.sleep(Duration::from_millis(1)).await;
        }
    };
    // The same of the values of tasks, which end when they have sent them.
    let ended = |tasks: &[Task<Counted>]| {
        let pids: Vec<Pid> = tasks.iter().map(Task::pid).collect();
        async move {
            for pid in pids {
                while cx.is_alive(pid).await {
                    cx.sleep(Duration::from_millis(1)).await;
                }
            }
        }
    };
    let requests = || (0..5).map(|_| server.request(cx, |reply| reply).expect("the server lives"));
    let tasks = |crashes: bool| {
        let task = |n: u64| {
            let live = live.clone();
            Task::start(cx, async move |cx: Context<()>| {
                cx.sleep(Duration::from_millis(n)).await;
                if crashes && n == 4 {
                    cx.stop(Reason::SHUTDOWN).await;
                }
                Counted::new(&live)
            })
        };
        (0..5).map(task).collect::<Result<Vec<_>, _>>().expect("tasks")
    };
    let mut set = RequestSet::new();
    match how {
        Untaken::SetDropped | Untaken::SetAbandoned | Untaken::SetKilled => {
            requests().enumerate().for_each(|(label, request)| set.add(label, request));
            arrived().await;
            match how {
                Untaken::SetAbandoned => set.abandon(cx),
                Untaken::SetDropped => drop(set),
                _ => cx.sleep(EVER).await,
            }
        }
        Untaken::VecDropped | Untaken::VecKilled => {
            let requests: Vec<_> = requests().collect();
            arrived().await;
            if matches!(how, Untaken::VecKilled) {
                cx.sleep(EVER).await;
            }
            drop(requests);
        }
        Untaken::TasksDropped => {
            let tasks = tasks(false);
            ended(&tasks).await;
            drop(tasks);
        }
        Untaken::JoinAllCancelled => {
            let mut tasks = tasks(false);
            let ended = ended(&tasks);
            let never = Task::start(cx, async |cx: Context<()>| {
                cx.sleep(EVER).await;
                unreachable!("it is killed")
            });
            tasks.push(never.expect("a task"));
            tokio::select! {
                _ = Task::join_all(cx, tasks, None) => unreachable!("one never ends"),
                () = ended => {}
            }
        }
        Untaken::TryJoinAllFails => {
            assert!(Task::try_join_all(cx, tasks(true), None).await.is_err());
        }
    }
}

#[test]
fn n05_each_answer_that_is_not_taken_may_panic_when_dropped() {
    quiet();
    let reported = Arc::new(AtomicUsize::new(0));
    let count = reported.clone();
    let runtime = Runtime::builder().cores(2).on_unhandled_panic(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let runtime = runtime.build().expect("a runtime");
    for how in [
        Untaken::SetDropped,
        Untaken::SetAbandoned,
        Untaken::SetKilled,
        Untaken::VecDropped,
        Untaken::VecKilled,
        Untaken::TasksDropped,
        Untaken::JoinAllCancelled,
        Untaken::TryJoinAllFails,
    ] {
        reported.store(0, Ordering::SeqCst);
        let (live, given) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let armoury = || Armoury { live: live.clone(), given: given.clone() };
        let server = runtime.start_server(armoury()).expect("a server").expect("not ignored");
        let counts = armoury();
        let process = runtime.spawn(async move |cx: Context<()>| leave_untaken(&cx, how, server, counts).await);
        let process = process.expect("a process").pid();
        let killed = matches!(how, Untaken::SetKilled | Untaken::VecKilled);
        if killed {
            while given.load(Ordering::SeqCst) < 5 {
                std::thread::yield_now();
            }
            assert_eq!(runtime.exit(process, Reason::KILL), Ok(true));
        }
        let ended = runtime.wait_blocking(process, EVER).expect("it ends").reason;
        let expected = if killed { Reason::KILLED } else { Reason::NORMAL };
        assert_eq!(ended, Some(expected), "{how:?}: the panics are not the process's");
        // A task that was not waited for to its end drops its value itself.
        let patience = Instant::now() + EVER;
        while live.load(Ordering::SeqCst) > 0 {
            assert!(Instant::now() < patience, "{how:?}: each value is destroyed");
            std::thread::yield_now();
        }
        let of_answers = !matches!(how, Untaken::TasksDropped | Untaken::JoinAllCancelled | Untaken::TryJoinAllFails);
        assert_eq!(reported.load(Ordering::SeqCst), if of_answers { 5 } else { 0 }, "{how:?}: reports");
        assert!(runtime.is_alive(server), "{how:?}");
    }
    runtime.shutdown(EVER).expect("it ends");
}

/// A machine whose data, state, postponed and inserted events are bombs.
struct Explosive(#[allow(dead_code, reason = "dropped")] Counted, Arc<AtomicUsize>);

enum Push {
    Change,
    Postpone(#[allow(dead_code, reason = "dropped")] Counted),
    InsertAndStop,
    Inserted(#[allow(dead_code, reason = "dropped")] Counted),
    Crash,
    Stop,
    Settled(Reply<()>),
}

impl StateMachine for Explosive {
    type State = Counted;
    type Message = Push;

    async fn init(&mut self, _: MachineCx<'_, Self>) -> Result<Counted, InitError> {
        Ok(Counted::new(&self.1))
    }

    async fn handle(&mut self, _: &Counted, event: Event<Self>, _: MachineCx<'_, Self>) -> Transition<Self> {
        match event {
            Event::Message(Push::Change) => Transition::to(Counted::new(&self.1)),
            Event::Message(Push::Crash) => panic!("crash"),
            Event::Message(Push::Stop) => Transition::stop(Reason::NORMAL),
            Event::Message(Push::InsertAndStop) => {
                let inserted = || Push::Inserted(Counted::new(&self.1));
                Transition::stop(Reason::NORMAL).next(inserted()).next(inserted())
            }
            Event::Message(Push::Settled(reply)) => {
                reply.send(());
                Transition::keep()
            }
            event => Transition::keep().postpone(event),
        }
    }
}

#[test]
fn n05_all_that_a_machine_keeps_may_panic_when_dropped() {
    quiet();
    let runtime = Runtime::builder().cores(2).on_unhandled_panic(|_| {}).build().expect("a runtime");
    let live = Arc::new(AtomicUsize::new(0));
    for (name, last) in [
        ("kill", Err(Reason::KILL)),
        ("shutdown", Err(Reason::SHUTDOWN)),
        ("stop", Ok(Push::Stop)),
        ("crash", Ok(Push::Crash)),
        ("stop with events", Ok(Push::InsertAndStop)),
    ] {
        let machine = Explosive(Counted::new(&live), live.clone()).start();
        let machine = runtime.start_server(machine).expect("a machine").expect("not ignored");
        for push in [Push::Postpone(Counted::new(&live)), Push::Postpone(Counted::new(&live)), Push::Change] {
            runtime.cast(machine, MachineMessage::event(push)).expect("it lives");
        }
        // The old state's destructor has panicked, and the machine goes on.
        runtime.call(machine, EVER, |reply| MachineMessage::event(Push::Settled(reply))).expect("it lives");
        assert_eq!(live.load(Ordering::SeqCst), 4, "{name}: the machine, its state, two postponed events");
        match last {
            Err(reason) => _ = runtime.exit(machine, reason).expect("it lives"),
            Ok(push) => runtime.cast(machine, MachineMessage::event(push)).expect("it lives"),
        }
        runtime.wait_blocking(machine, EVER).expect("it ends");
        assert_eq!(live.load(Ordering::SeqCst), 0, "{name}: each value is destroyed");
    }
    runtime.shutdown(EVER).expect("it ends");
}
