//! Tasks, registries, groups, event managers and applications.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atropos_kernel::{Context, Pid, Reason, Received};
use atropos_otp::application::{Application, ApplicationError, Applications, Kind};
use atropos_otp::event::{AddError, After, EventHandler, Events, Removed};
use atropos_otp::group::{Change, Groups};
use atropos_otp::registry::{Registry, RegistryError};
use atropos_otp::{
    CallError, ChildSpec, DynamicRef, Next, Refusal, Reply, Server, Serving, StartChildError, StartError, Starter,
    Supervisor, Task, TaskSupervisor,
};
use common::{Bed, Yard, boom, crash, lock};

const SECOND: Duration = Duration::from_secs(1);

async fn waits(mut cx: Context<()>) {
    cx.recv().await;
}

// Tasks.

#[test]
fn a_task_brings_its_value_or_why_there_is_none() {
    let mut bed = Bed::new(2, 1);
    bed.run(|mut cx: Context<()>| async move {
        let task = Task::link(&cx, |cx| async move {
            cx.sleep(SECOND).await;
            42
        });
        assert_eq!(task.expect("room").join(&cx, SECOND * 2).await, Ok(42));
        let task: Task<u8> = Task::alone(&cx, |_| async { crash("no") }).expect("room");
        assert_eq!(task.join(&cx, None).await, Err(CallError::Down(Reason::crash("no"))));
        let task = Task::alone(&cx, |cx| async move { cx.sleep(SECOND * 60).await }).expect("room");
        let pid = task.pid();
        let task = task.join_or_wait(&cx, SECOND).await.expect_err("not yet");
        assert_eq!(task.join(&cx, SECOND).await, Err(CallError::TimedOut));
        assert!(!cx.is_alive(pid).await, "it was killed");
        let task = Task::link(&cx, |cx| async move { cx.sleep(SECOND * 60).await }).expect("room");
        assert_eq!(task.shutdown(&cx, SECOND).await, Some(Reason::SHUTDOWN));
        assert!(cx.recv_timeout(SECOND).await.is_none(), "nothing is left of any");
    });
    bed.settle();
    assert_eq!(bed.processes(), 0);
}

#[test]
fn many_tasks_are_joined_in_their_places() {
    let mut bed = Bed::new(3, 5);
    let sums = bed.run(|cx: Context<()>| async move {
        let tasks = (0..1000_u64).map(|n| {
            Task::alone(&cx, move |cx| async move {
                cx.sleep(Duration::from_millis(1000 - n)).await;
                if n == 500 { crash("one of them") } else { n * n }
            })
        });
        let tasks = tasks.collect::<Result<Vec<_>, _>>().expect("room");
        Task::join_all(&cx, tasks, SECOND * 2).await
    });
    for (n, sum) in sums.into_iter().enumerate() {
        match n {
            500 => assert!(matches!(sum, Err(CallError::Down(_)))),
            _ => assert_eq!(sum, Ok((n * n) as u64)),
        }
    }
    assert_eq!(bed.processes(), 0);
}

#[test]
fn a_linked_task_dies_with_its_starter_and_takes_it_along() {
    let mut bed = Bed::new(2, 1);
    let starter = bed.spawn(false, |mut cx: Context<()>| async move {
        let _task = Task::link(&cx, waits).expect("room");
        cx.recv().await;
    });
    bed.settle();
    assert_eq!(bed.processes(), 2);
    bed.exit(starter, boom());
    bed.settle();
    assert_eq!(bed.processes(), 0);
    let starter = bed.spawn(false, |cx: Context<()>| async move {
        let task: Task<()> = Task::link(&cx, |_| async { crash("together") }).expect("room");
        task.join(&cx, None).await.expect("not reached");
    });
    bed.settle();
    assert_eq!(bed.died_of(starter), Reason::crash("together"));
}

#[test]
fn supervised_tasks_end_with_their_supervisor_and_are_not_started_again() {
    let mut bed = Bed::new(2, 1);
    let (_, supervisor) = bed.family(TaskSupervisor::builder().into());
    let tasks = TaskSupervisor::of(DynamicRef::new(supervisor));
    bed.run(move |cx: Context<()>| async move {
        let task = tasks.spawn(&cx, |_| async { 7 }).await.expect("started");
        assert_eq!(task.join(&cx, None).await, Ok(7));
        let task: Task<()> = tasks.spawn(&cx, |_| async { crash("once") }).await.expect("started");
        assert!(matches!(task.join(&cx, None).await, Err(CallError::Down(_))));
        assert_eq!(tasks.supervisor().count_children(&cx).await.expect("alive").active, 0);
        tasks.run(&cx, waits).await.expect("started");
        tasks.spawn(&cx, waits).await.expect("started").abandon(&cx);
        assert_eq!(tasks.supervisor().count_children(&cx).await.expect("alive").active, 2);
    });
    bed.exit(supervisor, Reason::SHUTDOWN);
    bed.settle();
    assert_eq!(bed.processes(), 1);
    let refused = bed.run(move |cx: Context<()>| async move { tasks.run(&cx, waits).await });
    assert!(matches!(refused, Err(StartChildError::Call(CallError::Down(_)))));
}

// Registries.

#[test]
fn a_unique_key_has_one_process_and_goes_with_it() {
    let mut bed = Bed::new(2, 1);
    bed.run(|cx: Context<()>| async move {
        let registry = Registry::<String, u32>::unique().start().alone(&cx).await.expect("up");
        let a = cx.spawn(waits).expect("room").pid();
        let b = cx.spawn(waits).expect("room").pid();
        let key = || String::from("key");
        assert_eq!(registry.register_other(&cx, a, key(), 1).await, Ok(()));
        assert_eq!(registry.register_other(&cx, b, key(), 2).await, Err(RegistryError::Taken(a)));
        assert_eq!(registry.lookup(&cx, key()).await, Ok(vec![(a, 1)]));
        assert_eq!(registry.keys(&cx, a).await, Ok(vec![key()]));
        // Killed and looked up in one breath: never the dead.
        cx.exit(a, Reason::KILL).expect("a kill");
        assert_eq!(registry.lookup(&cx, key()).await, Ok(vec![]));
        assert_eq!(registry.register_other(&cx, a, key(), 1).await, Err(RegistryError::NoProc));
        assert_eq!(registry.register_other(&cx, b, key(), 2).await, Ok(()));
        cx.exit(b, Reason::KILL).expect("a kill");
        assert_eq!(registry.register(&cx, key(), 3).await, Ok(()), "the dead hold nothing");
        assert_eq!(registry.unregister(&cx, b, key()).await, Ok(false));
        assert_eq!(registry.unregister(&cx, cx.pid(), key()).await, Ok(true));
        assert_eq!(registry.count(&cx).await, Ok(0));
        assert_eq!(registry.all(&cx).await, Ok(vec![]));
        let watched = cx.info(registry).await.expect("memory").expect("alive").monitors;
        assert!(watched.is_empty(), "{watched:?}");
    });
}

#[test]
fn duplicate_keys_are_dispatched_to_all() {
    let mut bed = Bed::new(2, 1);
    bed.run_as(|mut cx: Context<u8>| async move {
        let registry = Registry::<&str, ()>::duplicate().start().alone(&cx).await.expect("up");
        for _ in 0..2 {
            registry.register(&cx, "topic", ()).await.expect("alive");
        }
        let other = cx.spawn(|mut cx: Context<u8>| async move {
            cx.recv().await;
        });
        registry.register_other(&cx, other.expect("room"), "topic", ()).await.expect("alive");
        assert_eq!(registry.dispatch(&cx, "topic", 7_u8).await, Ok(3));
        assert_eq!(registry.dispatch(&cx, "nobody's", 7_u8).await, Ok(0));
        for _ in 0..2 {
            assert!(matches!(cx.recv().await, Received::Message(7)));
        }
        cx.sleep(Duration::from_millis(1)).await;
        assert_eq!(registry.count(&cx).await, Ok(2), "the other has died of it");
        assert_eq!(registry.unregister(&cx, cx.pid(), "topic").await, Ok(true));
        assert_eq!(registry.count(&cx).await, Ok(0));
    });
}

/// A server that registers itself in its `init`.
struct Room(atropos_otp::registry::RegistryRef<u32, ()>, u32);

impl Server for Room {
    type Message = Reply<u32>;

    async fn init(&mut self, cx: Serving<'_, Self>) -> Result<Next<Reply<u32>>, Refusal> {
        match self.0.register(cx.context(), self.1, ()).await {
            Ok(()) => Ok(Next::Wait),
            Err(error) => Err(Refusal::Stop(Reason::value(error))),
        }
    }

    async fn handle(&mut self, reply: Reply<u32>, _: Serving<'_, Self>) -> Next<Reply<u32>> {
        reply.send(self.1);
        Next::Wait
    }
}

#[test]
fn via_a_registry_many_find_or_start_one() {
    for seed in 0..20 {
        let mut bed = Bed::new(3, seed);
        let registry = bed
            .run(|cx: Context<()>| async move { Registry::<u32, ()>::unique().start().alone(&cx).await.expect("up") });
        let rooms: Arc<Mutex<Vec<Pid>>> = Arc::default();
        for _ in 0..8 {
            let rooms = rooms.clone();
            bed.spawn(false, move |cx: Context<()>| async move {
                let room = match Room(registry, 7).start().alone(&cx).await {
                    Ok(room) => room.pid(),
                    Err(StartError::Refused(reason)) => match reason.view() {
                        atropos_kernel::View::Value(value) => match value.downcast_ref::<RegistryError>() {
                            Some(RegistryError::Taken(pid)) => *pid,
                            other => panic!("{other:?}"),
                        },
                        _ => panic!("{reason}"),
                    },
                    Err(error) => panic!("{error}"),
                };
                lock(&rooms).push(room);
                assert_eq!(registry.via::<Room>(7).call(&cx, |reply| reply).await, Ok(7));
            });
        }
        bed.settle();
        let rooms = lock(&rooms).clone();
        assert_eq!(rooms.len(), 8);
        assert!(rooms.iter().all(|room| *room == rooms[0]));
        assert_eq!(bed.processes(), 2);
        let none =
            bed.run(move |cx: Context<()>| async move { registry.via::<Room>(8).call(&cx, |reply| reply).await });
        assert_eq!(none, Err(CallError::NoName));
    }
}

// Groups.

#[test]
fn joins_count_and_death_leaves_all_groups() {
    let mut bed = Bed::new(2, 1);
    bed.run(|cx: Context<()>| async move {
        let scope = Groups::new().start().alone(&cx).await.expect("up");
        let a = cx.spawn(waits).expect("room").pid();
        let b = cx.spawn(waits).expect("room").pid();
        scope.join(&cx, "x", [a, a, b]).await.expect("alive");
        scope.join(&cx, "y", [a]).await.expect("alive");
        assert_eq!(scope.members(&cx, "x").await, Ok(vec![a, a, b]));
        assert_eq!(scope.leave(&cx, "x", [a]).await, Ok(true));
        assert_eq!(scope.members(&cx, "x").await, Ok(vec![a, b]));
        assert_eq!(scope.leave(&cx, "y", [b]).await, Ok(false));
        assert_eq!(scope.which_groups(&cx).await, Ok(vec!["x", "y"]));
        cx.exit(a, Reason::KILL).expect("a kill");
        cx.sleep(Duration::from_millis(1)).await;
        assert_eq!(scope.members(&cx, "x").await, Ok(vec![b]));
        assert_eq!(scope.which_groups(&cx).await, Ok(vec!["x"]));
        // One that is dead already does not stay.
        scope.join(&cx, "z", [a]).await.expect("alive");
        cx.sleep(Duration::from_millis(1)).await;
        assert_eq!(scope.which_groups(&cx).await, Ok(vec!["x"]));
        assert_eq!(scope.leave(&cx, "x", [b]).await, Ok(true));
        assert!(cx.info(scope).await.expect("memory").expect("alive").monitors.is_empty());
    });
}

#[test]
fn a_monitor_of_a_scope_has_a_snapshot_and_misses_no_change() {
    for seed in 0..20 {
        let mut bed = Bed::new(3, seed);
        let scope = bed.run(|cx: Context<()>| async move { Groups::new().start().alone(&cx).await.expect("up") });
        // Members that come and go while a watcher counts.
        let seen = Arc::new(Mutex::new(None));
        let slot = seen.clone();
        for n in 0..10_u32 {
            bed.spawn(false, move |cx: Context<()>| async move {
                for _ in 0..5 {
                    scope.join(&cx, n % 3, [cx.pid()]).await.expect("alive");
                    cx.yield_now().await;
                    if n % 2 == 0 {
                        scope.leave(&cx, n % 3, [cx.pid()]).await.expect("alive");
                    }
                }
                waits(cx).await;
            });
        }
        bed.spawn(false, move |mut cx: Context<Change<u32>>| async move {
            cx.yield_now().await;
            let (watching, members) = scope.monitor_group(&cx, None, |change| change).await.expect("alive");
            let mut count: i64 = members.iter().map(|(_, pids)| pids.len() as i64).sum();
            while let Some(Received::Message(change)) = cx.recv_timeout(SECOND).await {
                count += match change {
                    Change::Joined(_, pids) => pids.len() as i64,
                    Change::Left(_, pids) => -(pids.len() as i64),
                };
            }
            assert_eq!(scope.demonitor_group(&cx, watching).await, Ok(true));
            assert_eq!(scope.demonitor_group(&cx, watching).await, Ok(false));
            *lock(&slot) = Some(count);
        });
        bed.sleep(SECOND * 10);
        assert_eq!(*lock(&seen), Some(25), "five stay, five times each");
        let (watchers, members) = bed.run(move |cx: Context<()>| async move {
            let mut members = 0;
            for group in 0..3 {
                members += scope.members(&cx, group).await.expect("alive").len();
            }
            (scope.with_state(&cx, |groups| format!("{groups:?}")).await, members)
        });
        assert!(watchers.is_ok());
        assert_eq!(members, 25);
    }
}

// Event managers.

struct Counting(&'static str, Arc<Mutex<Vec<String>>>, u32);

impl EventHandler<u32> for Counting {
    fn event(&mut self, event: &u32) -> After {
        lock(&self.1).push(format!("{} {event}", self.0));
        self.2 += event;
        match event {
            99 if self.0 == "leaves" => After::Leave,
            99 if self.0 == "panics" => crash("in a handler"),
            _ => After::Stay,
        }
    }

    fn terminate(&mut self, why: &Removed) {
        lock(&self.1).push(format!("{} goes: {why:?}", self.0));
    }
}

#[test]
fn handlers_come_and_go_and_their_faults_are_their_own() {
    let mut bed = Bed::new(2, 1);
    let log: Arc<Mutex<Vec<String>>> = Arc::default();
    let inner = log.clone();
    bed.run(move |cx: Context<()>| async move {
        let handler = |name| Counting(name, inner.clone(), 0);
        let events = Events::<u32>::new().start().trap_exit(true).alone(&cx).await.expect("up");
        events.add(&cx, "stays", handler("stays")).await.expect("new");
        events.add(&cx, "leaves", handler("leaves")).await.expect("new");
        let removed = events.add_supervised(&cx, "panics", handler("panics")).await.expect("new");
        assert_eq!(events.add(&cx, "stays", handler("twin")).await, Err(AddError::Taken));
        assert_eq!(events.which(&cx).await.expect("alive"), ["panics", "leaves", "stays"]);
        events.notify(&cx, 1).expect("alive");
        events.sync_notify(&cx, 99).await.expect("alive");
        assert_eq!(events.which(&cx).await.expect("alive"), ["stays"]);
        assert_eq!(removed.await, Ok(Removed::Crashed(Reason::crash("in a handler"))));
        let sum = events.with_handler(&cx, "stays", |counting: &mut Counting| counting.2).await;
        assert_eq!(sum, Ok(Some(100)));
        let wrong = events.with_handler(&cx, "stays", |_: &mut Other| ()).await;
        assert_eq!(wrong, Ok(None));
        assert_eq!(events.swap(&cx, "stays", "new", handler("new")).await, Ok(true));
        assert_eq!(events.swap(&cx, "stays", "newer", handler("newer")).await, Ok(false));
        // Whoever supervises a handler takes it along.
        let shared = inner.clone();
        let task = Task::alone(&cx, move |cx| async move {
            let added = events.add_supervised(&cx, "orphan", Counting("orphan", shared, 0)).await;
            added.map(drop).expect("new");
        });
        task.expect("room").join(&cx, None).await.expect("added");
        cx.sleep(Duration::from_millis(1)).await;
        assert_eq!(events.which(&cx).await.expect("alive"), ["new"]);
        assert_eq!(events.delete(&cx, "new").await, Ok(true));
        assert_eq!(events.delete(&cx, "new").await, Ok(false));
        events.add(&cx, "last", handler("last")).await.expect("new");
        cx.exit(events, Reason::SHUTDOWN).expect("memory");
    });
    bed.settle();
    let log = lock(&log).clone();
    let expected = [
        "panics 1",
        "leaves 1",
        "stays 1",
        "panics 99",
        "panics goes: Crashed(crash: in a handler)",
        "leaves 99",
        "leaves goes: Left",
        "stays 99",
        "stays goes: Swapped",
        "orphan goes: Orphaned(normal)",
        "new goes: Deleted",
        "last goes: Stopped(shutdown)",
    ];
    assert_eq!(log, expected);
}

struct Other;

impl EventHandler<u32> for Other {
    fn event(&mut self, _: &u32) -> After {
        After::Stay
    }
}

// Applications.

fn tree(yard: &Yard, name: &'static str) -> impl FnMut() -> Supervisor + Send + use<> {
    let yard = yard.clone();
    move || {
        let inner = yard.clone();
        let child = ChildSpec::worker(name, move |starter: &mut Starter<'_>| inner.start(starter, name, false));
        Supervisor::one_for_one().child(child)
    }
}

#[test]
fn applications_start_what_they_need_first_and_stop_in_reverse() {
    let (mut bed, yard) = (Bed::new(2, 1), Yard::default());
    let applications = Applications::new()
        .with(Application::new("web", tree(&yard, "web")).needs("store").needs("log"))
        .with(Application::new("store", tree(&yard, "store")).needs("log"))
        .with(Application::new("log", tree(&yard, "log")))
        .with(Application::new("snake", tree(&yard, "snake")).needs("tail"))
        .with(Application::new("tail", tree(&yard, "tail")).needs("snake"))
        .with(Application::new("lost", tree(&yard, "lost")).needs("nowhere"));
    let manager = bed.run(move |cx: Context<()>| async move {
        let manager = applications.manager().alone(&cx).await.expect("up");
        assert_eq!(manager.ensure_started(&cx, "store").await.expect("it starts"), ["log", "store"]);
        assert_eq!(manager.ensure_started(&cx, "web").await.expect("it starts"), ["web"]);
        assert_eq!(manager.ensure_started(&cx, "web").await.expect("it is up"), [""; 0]);
        let circular = manager.ensure_started(&cx, "snake").await;
        assert_eq!(circular, Err(ApplicationError::Circular("snake".into())));
        let unknown = manager.ensure_started(&cx, "lost").await;
        assert_eq!(unknown, Err(ApplicationError::Unknown("nowhere".into())));
        let needed = manager.stop_application(&cx, "log").await;
        assert_eq!(needed, Err(ApplicationError::Needed("web".into())));
        manager.stop_application(&cx, "web").await.expect("nobody needs it");
        assert_eq!(manager.ensure_started(&cx, "web").await.expect("it starts again"), ["web"]);
        let up = manager.which_applications(&cx).await.expect("alive");
        assert_eq!(up.iter().map(|(name, _)| name.as_ref()).collect::<Vec<_>>(), ["log", "store", "web"]);
        manager
    });
    assert_eq!(yard.events(), ["+log", "+store", "+web", "-web", "+web"]);
    bed.exit(manager, Reason::SHUTDOWN);
    bed.settle();
    assert_eq!(yard.events(), ["-web", "-store", "-log"]);
    assert_eq!(bed.processes(), 0);
}

#[test]
fn the_end_of_an_application_means_what_its_kind_says() {
    for (kind, reason, all_end) in [
        (Kind::Temporary, boom(), false),
        (Kind::Transient, Reason::NORMAL, false),
        (Kind::Transient, boom(), true),
        (Kind::Permanent, Reason::NORMAL, true),
    ] {
        let (mut bed, yard) = (Bed::new(2, 1), Yard::default());
        let applications = Applications::new()
            .with(Application::new("base", tree(&yard, "base")))
            .with(Application::new("judged", tree(&yard, "judged")).needs("base").kind(kind))
            .and_start("judged");
        let (manager, top) = bed.run(move |cx: Context<()>| async move {
            let manager = applications.manager().alone(&cx).await.expect("up");
            let up = manager.which_applications(&cx).await.expect("alive");
            (manager, up[1].1)
        });
        // The host's exit signals count as a parent's.
        bed.exit(top, reason);
        bed.settle();
        assert_eq!(bed.is_alive(manager), !all_end, "{kind:?}");
        assert_eq!(yard.live(), usize::from(!all_end));
    }
}

#[test]
fn a_manager_whose_first_application_fails_does_not_start_and_leaves_nothing() {
    let (mut bed, yard) = (Bed::new(2, 1), Yard::default());
    yard.fail("b", 1);
    let applications = Applications::new()
        .with(Application::new("a", tree(&yard, "a")))
        .with(Application::new("b", tree(&yard, "b")).needs("a"))
        .and_start("b");
    let failed = bed.run(move |cx: Context<()>| async move { applications.manager().alone(&cx).await.map(|_| ()) });
    let Err(StartError::Refused(reason)) = failed else { panic!("{failed:?}") };
    let atropos_kernel::View::Value(value) = reason.view() else { panic!("{reason}") };
    let error = value.downcast_ref::<ApplicationError>();
    assert!(matches!(error, Some(ApplicationError::Start(name, _)) if name == "b"), "{error:?}");
    bed.settle();
    assert_eq!((bed.processes(), yard.live()), (0, 0));
}
