//! Issue 14, 5: a keeper of several foreign values drops them one by one. Each row of the table
//! makes a keeper drop several values that all panic. A second panic during the unwinding of the
//! first would end the program, so each row runs in a program of its own.

use std::future::Future;
use std::pin::pin;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context as Task, Poll, RawWaker, RawWakerVTable, Waker};
use std::time::Duration;

use atropos::Handle;
use atropos::otp::application::{Application, Applications};
use atropos::otp::group::{GroupsRef, MembershipChange, ProcessGroups};
use atropos::otp::registry::{Registry, RegistryRef};
use atropos::otp::server::MailboxPolicy;
use atropos::otp::{DynamicSupervisor, ReportHook, RequestSet};
use atropos::prelude::*;

const EVER: Duration = Duration::from_secs(60);
const ROW: &str = "ATROPOS_DROPPED_TOGETHER";

/// Counts the bombs that exist.
type Live = Arc<AtomicUsize>;

/// A value that panics when it is dropped, and counts itself while it exists. It is a key, a label,
/// a value or a message, or is captured by a closure.
#[derive(Debug)]
struct Bomb(u8, Live);

impl Bomb {
    fn new(number: u8, live: &Live) -> Self {
        live.fetch_add(1, Ordering::SeqCst);
        Self(number, live.clone())
    }

    /// Ends a bomb that this test owns.
    fn defuse(self) {
        self.1.fetch_sub(1, Ordering::SeqCst);
        std::mem::forget(self);
    }

    fn is_there(&self) {
        assert!(self.1.load(Ordering::SeqCst) > 0);
    }
}

impl Clone for Bomb {
    fn clone(&self) -> Self {
        Self::new(self.0, &self.1)
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::SeqCst);
        panic!("bomb");
    }
}

impl PartialEq for Bomb {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Bomb {}

impl PartialOrd for Bomb {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bomb {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

/// Polls a future once, which is pending then, and drops it: what it has begun is undone before
/// another process of the one core runs.
fn begin_and_drop(future: impl Future) {
    let mut future = pin!(future);
    assert!(future.as_mut().poll(&mut Task::from_waker(Waker::noop())).is_pending());
}

/// Polls a future once, when the process has no reduction left, and drops it: what it does first is
/// all that it does.
fn begin_late_and_drop(cx: &Context<()>, future: impl Future) {
    while pin!(cx.checkpoint()).poll(&mut Task::from_waker(Waker::noop())).is_ready() {}
    begin_and_drop(future);
}

/// Waits until no bomb is left.
async fn all_gone(cx: &Context<()>, live: &Live) {
    while live.load(Ordering::SeqCst) > 0 {
        cx.sleep(Duration::from_millis(1)).await;
    }
}

/// Kills a process and waits until it is dead.
async fn kill(cx: &Context<()>, pid: impl Into<Pid>) {
    end(cx, pid, Reason::KILL, Reason::KILLED).await;
}

/// Sends a process an exit signal, and waits until it has ended with this reason.
async fn end(cx: &Context<()>, pid: impl Into<Pid>, signal: Reason, reason: Reason) {
    let pid = pid.into();
    let monitor = cx.monitor(pid).expect("memory");
    cx.exit(pid, signal).expect("memory");
    loop {
        match cx.recv().await {
            Received::Down(down) if down.reference == monitor => {
                assert_eq!(down.reason, reason);
                return;
            }
            _ => {}
        }
    }
}

fn applications(live: &Live) -> Applications {
    ["a", "b", "c"].into_iter().fold(Applications::new(), |applications, name| {
        let bomb = Bomb::new(0, live);
        applications.with(Application::new(name, move || {
            bomb.is_there();
            Supervisor::one_for_one()
        }))
    })
}

async fn application_manager(cx: Context<()>, live: Live) {
    begin_and_drop(applications(&live).manager().start(&cx));
    all_gone(&cx, &live).await;
    let manager = applications(&live).manager().start(&cx).await.expect("it starts");
    assert_eq!(manager.ensure_started(&cx, "b").await.expect("it starts").len(), 1);
    kill(&cx, manager).await;
    all_gone(&cx, &live).await;
    let manager = applications(&live).manager().start(&cx).await.expect("it starts");
    manager.stop(&cx, Reason::NORMAL, EVER).await.expect("it lives");
}

async fn registry_keys(cx: Context<()>, live: Live) {
    let bomb = |number| Bomb::new(number, &live);
    for registry in [Registry::<Bomb, Bomb>::unique(), Registry::duplicate()] {
        let registry: RegistryRef<Bomb, Bomb> = registry.unlinked().start().start(&cx).await.expect("it starts");
        let member = cx.spawn(async |cx: Context<()>| cx.sleep(EVER).await).expect("a process");
        for key in 1..=4 {
            registry.register(&cx, bomb(key), bomb(0)).await.expect("it is free");
            registry.register_other(&cx, member.pid(), bomb(10 + key), bomb(0)).await.expect("it is free");
        }
        let _ = registry.register_other(&cx, member.pid(), bomb(1), bomb(0)).await;
        assert_eq!(registry.unregister(&cx, cx.pid(), bomb(2)).await, Ok(true));
        assert_eq!(registry.whereis(&cx, bomb(3)).await, Ok(Some(cx.pid())));
        registry.lookup(&cx, bomb(4)).await.expect("it lives").into_iter().for_each(|(_, value)| value.defuse());
        registry.keys(&cx, cx.pid()).await.expect("it lives").into_iter().for_each(Bomb::defuse);
        for (key, _, value) in registry.all(&cx).await.expect("it lives") {
            key.defuse();
            value.defuse();
        }
        kill(&cx, member.pid()).await;
        while registry.count(&cx).await.expect("it lives") > 3 {
            cx.yield_now().await;
        }
        // Requests that it never reads.
        registry.suspend(&cx).await.expect("it lives");
        for _ in 0..3 {
            begin_and_drop(registry.register(&cx, bomb(1), bomb(0)));
            begin_and_drop(registry.lookup(&cx, bomb(1)));
        }
        kill(&cx, registry).await;
        all_gone(&cx, &live).await;
    }
}

/// Answers with several values that their requester does not take, or of which it takes none.
async fn registry_answers(cx: Context<()>, live: Live) {
    let registry: RegistryRef<u8, Bomb> = Registry::duplicate().start().start(&cx).await.expect("it starts");
    for _ in 0..5 {
        registry.register(&cx, 1, Bomb::new(0, &live)).await.expect("it lives");
    }
    assert_eq!(live.load(Ordering::SeqCst), 5);
    assert_eq!(registry.whereis(&cx, 1).await, Ok(Some(cx.pid())));
    assert_eq!(registry.dispatch(&cx, 1, ()).await, Ok(5));
    assert_eq!(live.load(Ordering::SeqCst), 5, "the library has dropped its copies");
    let asks = cx.spawn(async move |cx: Context<()>| {
        let mut lookup = pin!(registry.lookup(&cx, 1));
        let polled = std::future::poll_fn(|task| Poll::Ready(lookup.as_mut().poll(task).is_pending()));
        assert!(polled.await);
        cx.sleep(EVER).await;
    });
    while live.load(Ordering::SeqCst) < 10 {
        cx.sleep(Duration::from_millis(1)).await;
    }
    kill(&cx, asks.expect("a process").pid()).await;
    assert_eq!(live.load(Ordering::SeqCst), 5);
    let mut all = Box::pin(registry.all(&cx));
    assert!(all.as_mut().poll(&mut Task::from_waker(Waker::noop())).is_pending());
    while live.load(Ordering::SeqCst) < 10 {
        cx.sleep(Duration::from_millis(1)).await;
    }
    drop(all);
    assert_eq!(live.load(Ordering::SeqCst), 5);
    kill(&cx, registry).await;
}

/// The library's copies of a message that it dispatches.
async fn dispatched_messages(cx: Context<()>, live: Live) {
    let registry: RegistryRef<u8, ()> = Registry::duplicate().unlinked().start().start(&cx).await.expect("it starts");
    let full = SpawnOptions::new().mailbox_limit(1);
    let reads_nothing = cx.spawn_with(&full, async |cx: Context<Bomb>| cx.sleep(EVER).await).expect("a process").0;
    for _ in 0..4 {
        registry.register_other(&cx, reads_nothing.pid(), 1, ()).await.expect("it lives");
    }
    assert_eq!(registry.dispatch(&cx, 1, Bomb::new(0, &live)).await, Ok(1), "the rest is refused");
    assert_eq!(live.load(Ordering::SeqCst), 1);
    kill(&cx, reads_nothing.pid()).await;
}

async fn process_groups(cx: Context<()>, live: Live) {
    let bomb = |number| Bomb::new(number, &live);
    let groups: GroupsRef<Bomb> = ProcessGroups::new().unlinked().start().start(&cx).await.expect("it starts");
    let heard = Arc::new(AtomicUsize::new(0));
    let monitors: Vec<_> = (0..3)
        .map(|_| {
            let (captured, heard) = (bomb(0), heard.clone());
            move |change: MembershipChange<Bomb>| {
                captured.is_there();
                heard.fetch_add(1, Ordering::SeqCst);
                match change {
                    MembershipChange::Joined(group, _) | MembershipChange::Left(group, _) => group.defuse(),
                }
            }
        })
        .collect();
    let mut ends = None;
    for into in monitors {
        let (monitor, members) = groups.monitor_group(&cx, None, into).await.expect("it lives");
        assert!(members.is_empty());
        ends = Some(monitor);
    }
    let member = cx.spawn(async |cx: Context<()>| cx.sleep(EVER).await).expect("a process").pid();
    for group in 1..=4 {
        groups.join(&cx, bomb(group), [cx.pid(), member]).await.expect("it lives");
    }
    assert_eq!(groups.leave(&cx, bomb(1), [cx.pid()]).await, Ok(true));
    assert_eq!(groups.members(&cx, bomb(1)).await, Ok(vec![member]));
    groups.which_groups(&cx).await.expect("it lives").into_iter().for_each(Bomb::defuse);
    assert_eq!(groups.demonitor_group(&cx, ends.expect("a monitor")).await, Ok(true));
    kill(&cx, member).await;
    while !groups.members(&cx, bomb(1)).await.expect("it lives").is_empty() {
        cx.yield_now().await;
    }
    assert!(heard.load(Ordering::SeqCst) > 15);
    // An answer that is not taken, and requests that are not read.
    let mut which = Box::pin(groups.which_groups(&cx));
    assert!(which.as_mut().poll(&mut Task::from_waker(Waker::noop())).is_pending());
    let captured = bomb(0);
    let mut watch = Box::pin(groups.monitor_group(&cx, None, move |change| {
        captured.is_there();
        let (MembershipChange::Joined(group, _) | MembershipChange::Left(group, _)) = change;
        group.defuse();
    }));
    assert!(watch.as_mut().poll(&mut Task::from_waker(Waker::noop())).is_pending());
    groups.suspend(&cx).await.expect("it lives");
    drop(which);
    drop(watch);
    for _ in 0..3 {
        begin_and_drop(groups.join(&cx, bomb(1), [cx.pid()]));
        begin_and_drop(groups.monitor_group(&cx, Some(bomb(1)), |change| {
            let (MembershipChange::Joined(group, _) | MembershipChange::Left(group, _)) = change;
            group.defuse();
        }));
    }
    kill(&cx, groups).await;
}

struct Answers;

impl Server for Answers {
    type Message = (u8, Reply<u8>);

    async fn handle(&mut self, (number, reply): Self::Message, _: ServerCx<'_, Self>) -> Next<Self::Message> {
        // It keeps the requests of an even number open.
        if number % 2 == 1 {
            reply.send(number);
        } else {
            std::mem::forget(reply);
        }
        Next::Wait
    }
}

/// Creates a waker of which each copy panics when it is dropped.
fn bomb_waker() -> Waker {
    static VTABLE: RawWakerVTable =
        RawWakerVTable::new(|_| RawWaker::new(std::ptr::null(), &VTABLE), |_| {}, |_| {}, |_| panic!("bomb"));
    // SAFETY: the functions use no data, so any thread may call them, in any order.
    unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &VTABLE)) }
}

async fn labels(cx: Context<()>, live: Live) {
    let server = Answers.start().start(&cx).await.expect("it starts");
    let bomb = |number| Bomb::new(number, &live);
    let set = || {
        let mut set = RequestSet::new();
        (0..6).for_each(|n| set.add(bomb(n), server.request(&cx, |reply| (n, reply)).expect("it lives")));
        set
    };
    drop(set());
    assert_eq!(live.load(Ordering::SeqCst), 0);
    let mut abandoned = set();
    abandoned.abandon(&cx);
    assert_eq!(live.load(Ordering::SeqCst), 0);
    let mut set = set();
    let (label, answer) = set.next(&cx, EVER).await.expect("one has come");
    assert_eq!(answer, Ok(1));
    label.expect("it has a label").defuse();
    // Each request has a copy of the waker of the task that polls.
    let waker = std::mem::ManuallyDrop::new(bomb_waker());
    while let Poll::Ready(next) = pin!(set.next(&cx, None)).poll(&mut Task::from_waker(&waker)) {
        next.and_then(|(label, _)| label).expect("it has a label").defuse();
    }
    assert!(set.len() >= 3, "some are never answered");
    drop(set);
    assert_eq!(live.load(Ordering::SeqCst), 0);
    let there = live.clone();
    let holder = cx.spawn(async move |cx: Context<()>| {
        let mut set = RequestSet::new();
        (0..6).for_each(|n| {
            let request = server.request(&cx, |reply| (n, reply)).expect("it lives");
            set.add(Bomb::new(n, &there), request);
        });
        cx.sleep(EVER).await;
        drop(set);
    });
    while live.load(Ordering::SeqCst) < 6 {
        cx.sleep(Duration::from_millis(1)).await;
    }
    kill(&cx, holder.expect("a process").pid()).await;
}

/// The futures of a body that another executor's wakers are registered with.
async fn waits(cx: Context<()>, _: Live) {
    let waker = std::mem::ManuallyDrop::new(bomb_waker());
    let mut waits: Vec<_> = (0..3).map(|_| Box::pin(cx.sleep(EVER))).collect();
    waits.iter_mut().for_each(|wait| assert!(wait.as_mut().poll(&mut Task::from_waker(&waker)).is_pending()));
    drop(waits);
    let server = Answers.start().start(&cx).await.expect("it starts");
    let mut calls: Vec<_> = (0..3).map(|_| Box::pin(server.call(&cx, |reply| (0, reply)))).collect();
    calls.iter_mut().for_each(|call| assert!(call.as_mut().poll(&mut Task::from_waker(&waker)).is_pending()));
    drop(calls);
}

fn hook(live: &Live) -> ReportHook {
    let bomb = Bomb::new(0, live);
    ReportHook::new(move |_| bomb.is_there())
}

fn child(id: &'static str, live: &Live) -> ChildSpec {
    let bomb = Bomb::new(0, live);
    ChildSpec::worker(id, move |starter: &mut ChildStarter<'_>| {
        bomb.is_there();
        starter.spawn(async |cx: Context<()>| cx.sleep(EVER).await)
    })
}

fn supervisor(ids: [&'static str; 3], live: &Live) -> Supervisor {
    Supervisor::one_for_one().children(ids.map(|id| child(id, live))).on_report(hook(live))
}

fn dynamic(live: &Live) -> DynamicSupervisor<Bomb> {
    let bomb = Bomb::new(0, live);
    let start = move |starter: &mut ChildStarter<'_>, argument: &mut Bomb| {
        bomb.is_there();
        argument.is_there();
        starter.spawn(async |cx: Context<()>| cx.sleep(EVER).await)
    };
    DynamicSupervisor::new(start).restart(Restart::Permanent).on_report(hook(live))
}

async fn supervisors(cx: Context<()>, live: Live) {
    let ids = ["a", "b", "c"];
    begin_and_drop(supervisor(ids, &live).start(&cx));
    all_gone(&cx, &live).await;
    begin_late_and_drop(&cx, supervisor(ids, &live).start(&cx));
    all_gone(&cx, &live).await;
    supervisor(["a", "b", "a"], &live).start(&cx).await.expect_err("an id twice");
    all_gone(&cx, &live).await;
    cx.register("taken", cx.pid()).expect("it is free");
    supervisor(ids, &live).name("taken").start(&cx).await.expect_err("a name twice");
    all_gone(&cx, &live).await;
    let killed = supervisor(ids, &live).start(&cx).await.expect("it starts");
    killed.start_child(&cx, child("a", &live)).await.expect_err("an id twice");
    killed.start_child(&cx, child("d", &live)).await.expect("it starts");
    assert_eq!(live.load(Ordering::SeqCst), 5);
    kill(&cx, killed).await;
    all_gone(&cx, &live).await;
    let stopped = supervisor(ids, &live).start(&cx).await.expect("it starts");
    end(&cx, stopped, Reason::SHUTDOWN, Reason::SHUTDOWN).await;
    all_gone(&cx, &live).await;
    for (signal, reason) in [(Reason::SHUTDOWN, Reason::SHUTDOWN), (Reason::KILL, Reason::KILLED)] {
        let template = dynamic(&live).start_link(&cx).await.expect("it starts");
        for n in 0..3 {
            template.start(&cx, Bomb::new(n, &live)).await.expect("it starts");
        }
        assert_eq!(live.load(Ordering::SeqCst), 5);
        cx.unlink(template.pid());
        end(&cx, template.pid(), signal, reason).await;
        all_gone(&cx, &live).await;
    }
}

/// A server whose state is a bomb.
struct Fuse(Bomb);

impl Server for Fuse {
    type Message = ();

    async fn handle(&mut self, (): (), _: ServerCx<'_, Self>) -> Next<()> {
        self.0.is_there();
        panic!("crash");
    }
}

fn fuse(live: &Live) -> atropos::otp::server::Start<'static, Fuse> {
    let bomb = Bomb::new(0, live);
    let make = move || Fuse(bomb.clone());
    let intensity = Intensity::within(1, EVER);
    Fuse(Bomb::new(0, live)).start().restart_in_place(make, MailboxPolicy::SkipPoison, intensity).on_report(hook(live))
}

async fn servers(cx: Context<()>, live: Live) {
    begin_and_drop(fuse(&live).start(&cx));
    all_gone(&cx, &live).await;
    begin_late_and_drop(&cx, fuse(&live).start(&cx));
    all_gone(&cx, &live).await;
    cx.register("taken", cx.pid()).expect("it is free");
    fuse(&live).name("taken").start(&cx).await.expect_err("a name twice");
    all_gone(&cx, &live).await;
    let server = fuse(&live).start(&cx).await.expect("it starts");
    assert_eq!(live.load(Ordering::SeqCst), 3);
    kill(&cx, server).await;
    all_gone(&cx, &live).await;
    let server = fuse(&live).start(&cx).await.expect("it starts");
    for _ in 0..2 {
        server.cast(&cx, ()).map_err(|_| ()).expect("it lives");
        cx.sleep(Duration::from_millis(1)).await;
    }
}

/// Requests from a host thread: answers that have come and are not taken, and arguments of a
/// request whose process is killed before its first slice.
fn host_requests(runtime: &Runtime, live: &Live) {
    let values: RegistryRef<u8, Bomb> = runtime.start_server(Registry::duplicate()).expect("memory").expect("it is up");
    let keys: RegistryRef<Bomb, ()> = runtime.start_server(Registry::unique()).expect("memory").expect("it is up");
    let groups: GroupsRef<Bomb> = runtime.start_server(ProcessGroups::new()).expect("memory").expect("it is up");
    let sleeps = runtime.spawn(async |cx: Context<()>| cx.sleep(EVER).await).expect("a process").pid();
    for n in 0..4 {
        runtime.register_in_blocking(values, sleeps, 1, Bomb::new(n, live)).expect("it lives");
        runtime.register_in_blocking(keys, sleeps, Bomb::new(n, live), ()).expect("it lives");
        runtime.join_group_blocking(groups, Bomb::new(n, live), vec![sleeps]).expect("it lives");
    }
    let kept = live.load(Ordering::SeqCst);
    let come = || {
        while live.load(Ordering::SeqCst) < kept + 4 || !runtime.is_quiescent() {
            std::thread::yield_now();
        }
    };
    let lookup = runtime.lookup_in(values, 1);
    come();
    drop(lookup);
    assert_eq!(live.load(Ordering::SeqCst), kept);
    let listed = runtime.keys_in(keys, sleeps);
    come();
    drop(listed);
    assert_eq!(live.load(Ordering::SeqCst), kept);
    let which = runtime.which_groups(groups);
    come();
    drop(which);
    assert_eq!(live.load(Ordering::SeqCst), kept);
    for (_, value) in runtime.lookup_in_blocking(values, 1).expect("it lives") {
        value.defuse();
    }
    runtime.exit(sleeps, Reason::KILL).expect("memory");
    let registry: RegistryRef<Bomb, Bomb> =
        runtime.start_server(Registry::unique()).expect("memory").expect("it is up");
    let (busy, go): (Arc<AtomicBool>, Arc<AtomicBool>) = Default::default();
    let (is_busy, goes) = (busy.clone(), go.clone());
    let process = runtime.spawn(async move |_: Context<()>| {
        is_busy.store(true, Ordering::SeqCst);
        while !goes.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
    });
    let process = process.expect("a process").pid();
    while !busy.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    let request = runtime.register_in(registry, process, Bomb::new(1, live), Bomb::new(2, live));
    drop(request);
    go.store(true, Ordering::SeqCst);
}

/// Results that no caller takes, and a job that never runs, whose caller's waker panics as well.
fn blocking_work(runtime: &Runtime, live: &Live) {
    struct Rings;
    impl std::task::Wake for Rings {
        fn wake(self: Arc<Self>) {
            panic!("bomb");
        }
    }
    let one = Runtime::builder().cores(1).blocking_threads(1).build().expect("a runtime");
    let (busy, go) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (is_busy, goes) = (busy.clone(), go.clone());
    let runs = one.blocking(move || {
        is_busy.store(true, Ordering::SeqCst);
        while !goes.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
    });
    while !busy.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    let bomb = Bomb::new(0, live);
    let mut queued = one.blocking(move || bomb.is_there());
    let waker = Waker::from(Arc::new(Rings));
    assert!(pin!(&mut queued).poll(&mut Task::from_waker(&waker)).is_pending());
    one.shutdown(Duration::from_millis(1)).expect_err("a job is still running");
    go.store(true, Ordering::SeqCst);
    assert_eq!(atropos::block_on::wait(queued), Err(atropos::blocking::BlockingError::Closed));
    assert_eq!(atropos::block_on::wait(runs), Ok(()));
    assert_eq!(live.load(Ordering::SeqCst), 0);

    let results: Vec<_> = (0..4)
        .map(|n| {
            let live = live.clone();
            runtime.blocking(move || Bomb::new(n, &live))
        })
        .collect();
    while live.load(Ordering::SeqCst) < 4 {
        std::thread::yield_now();
    }
    // Each job holds its result until it returns.
    std::thread::sleep(Duration::from_millis(20));
    drop(results);
}

/// The hooks of a runtime, which is dropped when the last handle is.
fn hooks(_: &Runtime, live: &Live) {
    let bombs = [0, 1, 2, 3].map(|n| Bomb::new(n, live));
    let [first, second, third, fourth] = bombs;
    let runtime = Runtime::builder()
        .cores(1)
        .on_unhandled_panic(move |_| first.is_there())
        .on_callback_panic(move |_| second.is_there())
        .on_long_slice(EVER, move |_| third.is_there())
        .on_stalled_shutdown(move |_| fourth.is_there());
    let runtime = runtime.build().expect("a runtime");
    let handle: Handle = runtime.handle();
    runtime.shutdown(EVER).expect("all end");
    drop(handle);
}

/// Runs a process on a runtime of one core.
fn process<F: Future<Output = ()> + Send>(run: fn(Context<()>, Live) -> F) -> impl Fn(&Runtime, &Live) {
    move |runtime, live| {
        let live = live.clone();
        runtime.block_on(async move |cx: Context<()>| run(cx, live).await).expect("no crash");
    }
}

type Row = Box<dyn Fn(&Runtime, &Live)>;

fn rows() -> Vec<(&'static str, Row)> {
    vec![
        ("an application manager", Box::new(process(application_manager))),
        ("the keys of a registry", Box::new(process(registry_keys))),
        ("the answers of a registry", Box::new(process(registry_answers))),
        ("messages that a registry dispatches", Box::new(process(dispatched_messages))),
        ("process groups and their watchers", Box::new(process(process_groups))),
        ("the labels of requests", Box::new(process(labels))),
        ("waits with foreign wakers", Box::new(process(waits))),
        ("supervisors", Box::new(process(supervisors))),
        ("servers", Box::new(process(servers))),
        ("requests of a host thread", Box::new(host_requests)),
        ("blocking work", Box::new(blocking_work)),
        ("the hooks of a runtime", Box::new(hooks)),
    ]
}

/// Runs one row, as a program of its own.
fn run(row: &Row) {
    std::panic::set_hook(Box::new(|panic| {
        if panic.payload_as_str() != Some("bomb") && panic.payload_as_str() != Some("crash") {
            eprintln!("{panic}");
        }
    }));
    let live = Live::default();
    let runtime = Runtime::builder().cores(1).on_unhandled_panic(|_| {}).build().expect("a runtime");
    row(&runtime, &live);
    assert_eq!(runtime.block_on(async |_: Context<()>| 7), Ok(7), "the runtime goes on");
    runtime.shutdown(EVER).expect("all end");
    assert_eq!(live.load(Ordering::SeqCst), 0, "each value is destroyed");
}

#[test]
fn n05_keepers_drop_foreign_values_one_by_one() {
    let rows = rows();
    if let Ok(row) = std::env::var(ROW) {
        return run(&rows[row.parse::<usize>().expect("a number")].1);
    }
    let mut failed = Vec::new();
    for (row, (name, _)) in rows.iter().enumerate() {
        let mut program = Command::new(std::env::current_exe().expect("this program"));
        program.args(["--exact", "n05_keepers_drop_foreign_values_one_by_one", "--nocapture"]);
        let output = program.env(ROW, row.to_string()).output().expect("it runs");
        if !output.status.success() {
            failed.push(format!("{name}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
