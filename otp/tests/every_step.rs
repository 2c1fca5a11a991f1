//! A fault-injection test over every scheduling step. In a small working supervision tree, the
//! owner, each supervisor and each child is killed (or sent another exit signal) at each scheduling
//! step in turn. Afterwards no orphan is left, no child is missing, and no process waits for a
//! signal that was lost. No threads, virtual time: a step is one slice of one simulated core.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atropos_kernel::{Context, Pid, Reason};
use atropos_otp::{
    ChildSpec, ChildStarter, InitError, Intensity, Next, Server, ServerCx, Shutdown, Supervisor, SupervisorRef,
};
use common::{Bed, Told, Yard, boom, lock};

/// A server whose `init` takes several steps.
struct Slow;

impl Server for Slow {
    type Message = ();

    async fn init(&mut self, cx: ServerCx<'_, Self>) -> Result<Next<()>, InitError> {
        for _ in 0..3 {
            cx.yield_now().await;
        }
        Ok(Next::Wait)
    }

    async fn handle(&mut self, (): (), _: ServerCx<'_, Self>) -> Next<()> {
        Next::Wait
    }
}

#[derive(Default)]
struct People {
    owner: Option<Pid>,
    top: Option<Pid>,
    below: Option<Pid>,
    server: Option<Pid>,
    done: bool,
}

const VICTIMS: [&str; 8] = ["owner", "top", "below", "server", "a", "x", "y", "late"];

struct Scene {
    bed: Bed,
    yard: Yard,
    people: Arc<Mutex<People>>,
}

impl Scene {
    /// Creates a tree that is not built yet, and the work that will happen in it.
    fn new(seed: u64) -> Self {
        let (bed, yard) = (Bed::new(1 + seed as usize % 3, seed), Yard::default());
        let people = Arc::new(Mutex::new(People::default()));
        let (inner, known) = (yard.clone(), people.clone());
        let below = ChildSpec::supervisor("below", move |starter: &mut ChildStarter<'_>| {
            let tree = Supervisor::rest_for_one().intensity(Intensity::Unlimited);
            let known_server = known.clone();
            let server = ChildSpec::worker("server", move |starter: &mut ChildStarter<'_>| {
                let started = starter.server(Slow.start().trap_exit(true))?;
                lock(&known_server).server = started.pid();
                Ok(started)
            });
            let tree = tree.child(inner.worker("x")).child(server).child(inner.trapping("y"));
            let started = starter.supervisor(tree)?;
            lock(&known).below = started.pid();
            Ok(started)
        });
        let brutal = yard.worker("b").shutdown(Shutdown::Brutal);
        let top = Supervisor::one_for_one().intensity(Intensity::Unlimited);
        let top = top.child(yard.worker("a")).child(below).child(brutal);
        let (known, late) = (people.clone(), yard.worker("late"));
        let owner = bed.spawn(true, move |cx: Context<()>| async move {
            let Ok(supervisor) = top.start_link(&cx).await else { return };
            lock(&known).top = Some(supervisor.pid());
            let shared = known.clone();
            let worked = cx.spawn(move |cx: Context<()>| async move {
                work(&cx, supervisor, late).await;
                lock(&shared).done = true;
            });
            worked.expect("space");
            loop {
                cx.recv().await;
            }
        });
        lock(&people).owner = Some(owner);
        Self { bed, yard, people }
    }

    fn victim(&self, name: &str) -> Option<Pid> {
        let people = lock(&self.people);
        match name {
            "owner" => people.owner,
            "top" => people.top,
            "below" => people.below,
            "server" => people.server,
            worker => (self.yard.starts(worker) > 0).then(|| self.yard.pid(worker)),
        }
    }
}

/// The work that happens in the tree during the test.
async fn work(cx: &Context<()>, top: SupervisorRef, late: ChildSpec) {
    // The supervisor may die at any time; then there is nothing left to do.
    let _ = top.start_child(cx, late).await;
    let _ = top.terminate_child(cx, "a").await;
    let _ = top.restart_child(cx, "a").await;
    let Ok(children) = top.which_children(cx).await else { return };
    for child in children {
        if let atropos_otp::ChildState::Up(pid) = child.state
            && child.kind == atropos_otp::ChildKind::Worker
        {
            // Makes a worker crash.
            let _ = cx.send(pid, Told::End(boom()));
            break;
        }
    }
    let _ = top.count_children(cx).await;
}

/// Runs the scene with an exit signal to `victim` at step `at`; returns `false` if the scene was
/// over before.
fn play(seed: u64, victim: &str, reason: &Reason, at: usize) -> bool {
    let mut scene = Scene::new(seed);
    for _ in 0..at {
        if !scene.bed.step() {
            return false;
        }
    }
    let Some(pid) = scene.victim(victim) else {
        // The victim is not spawned yet.
        return true;
    };
    let hit = scene.bed.is_alive(pid);
    scene.bed.exit(pid, reason.clone());
    scene.bed.sleep(Duration::from_secs(60));
    let what = format!("seed {seed}, {victim} hit by {reason} at step {at}");
    let Scene { bed, yard, people } = &scene;
    let people = lock(people);
    let ends_all = hit && (victim == "owner" && *reason == Reason::KILL || victim == "top");
    if ends_all {
        let owner = usize::from(victim != "owner");
        assert_eq!((bed.processes(), yard.live()), (owner, 0), "{what}: an orphan");
        return true;
    }
    if people.top.is_none() {
        // The first start has failed, as it must: its starter gets an error, and nothing of it is
        // left.
        assert!(["below", "server"].contains(&victim), "{what}");
        assert_eq!((bed.processes(), yard.live()), (0, 0), "{what}: an orphan");
        return true;
    }
    assert!(people.done, "{what}: a process waits for ever");
    let live = ["a", "b", "x", "y", "late"].map(|id| yard.live_of(id));
    assert_eq!(live, [1; 5], "{what}: a child is missing or duplicated");
    // The children of a killed supervisor die of the link, each when it next runs, as in OTP; their
    // successors may start before that.
    let most = if victim == "below" && *reason == Reason::KILL { 2 } else { 1 };
    assert!(yard.most_of_one() <= most, "{what}: two generations at a time");
    assert_eq!(bed.processes(), 9, "{what}: an orphan");
    true
}

fn every_step(seeds: core::ops::Range<u64>, reason: &Reason) {
    let mut played = 0;
    for seed in seeds {
        for victim in VICTIMS {
            let mut at = 0;
            while play(seed, victim, reason, at) {
                at += 1;
                played += 1;
            }
        }
    }
    assert!(played > 1000, "{played}");
}

#[test]
fn each_process_is_killed_at_each_step() {
    every_step(0..12, &Reason::KILL);
}

#[test]
fn each_process_is_shut_down_at_each_step() {
    every_step(12..18, &Reason::SHUTDOWN);
}

#[test]
fn each_process_gets_an_error_signal_at_each_step() {
    every_step(18..24, &boom());
}

mod dynamic {
    //! The same test for a dynamic supervisor whose children are added and removed, and whose tasks
    //! are joined.

    use super::*;
    use atropos_otp::{CallError, DynamicRef, DynamicSupervisor, Restart, Task, TaskSupervisor};

    const CHILDREN: usize = 4;

    #[derive(Default)]
    struct Seen {
        owner: Option<Pid>,
        top: Option<Pid>,
        tasks: Option<Pid>,
        asked: usize,
        answered: usize,
    }

    /// Runs the scene with a kill of `victim` at step `at`; returns `false` if the scene was over
    /// before.
    fn play(seed: u64, victim: &str, at: usize) -> bool {
        let (mut bed, yard) = (Bed::new(1 + seed as usize % 3, seed), Yard::default());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (inner, known) = (yard.clone(), seen.clone());
        let template = move |starter: &mut ChildStarter<'_>, name: &mut String| inner.start(starter, name, false);
        let dynamic = DynamicSupervisor::new(template).restart(Restart::Permanent).intensity(Intensity::Unlimited);
        let owner = bed.spawn(true, move |cx: Context<()>| async move {
            let Ok(top) = dynamic.start_link(&cx).await else { return };
            let Ok(tasks) = TaskSupervisor::builder().start_link(&cx).await else { return };
            {
                let mut known = lock(&known);
                (known.top, known.tasks) = (Some(top.pid()), Some(tasks.pid()));
            }
            let tasks = TaskSupervisor::of(tasks);
            let shared = known.clone();
            let worked = cx.spawn(move |cx: Context<()>| async move { work(&cx, top, tasks, &shared).await });
            worked.expect("space");
            loop {
                cx.recv().await;
            }
        });
        lock(&seen).owner = Some(owner);
        for _ in 0..at {
            if !bed.step() {
                return false;
            }
        }
        let pid = match victim {
            "owner" => lock(&seen).owner,
            "top" => lock(&seen).top,
            "tasks" => lock(&seen).tasks,
            worker => (yard.starts(worker) > 0).then(|| yard.pid(worker)),
        };
        let Some(pid) = pid else { return true };
        let hit = bed.is_alive(pid);
        bed.exit(pid, Reason::KILL);
        bed.sleep(Duration::from_secs(60));
        let what = format!("seed {seed}, {victim} killed at step {at}");
        let seen = lock(&seen);
        assert_eq!(seen.answered, seen.asked, "{what}: a process waits for ever");
        match victim {
            "owner" if hit => assert_eq!((bed.processes(), yard.live()), (0, 0), "{what}: an orphan"),
            "top" if hit => assert_eq!((bed.processes(), yard.live()), (2, 0), "{what}: an orphan"),
            "tasks" if hit => assert_eq!((bed.processes(), yard.live()), (2 + CHILDREN, CHILDREN), "{what}"),
            _ => assert_eq!((bed.processes(), yard.live()), (3 + CHILDREN, CHILDREN), "{what}"),
        }
        true
    }

    async fn work(cx: &Context<()>, top: DynamicRef<String>, tasks: TaskSupervisor, seen: &Arc<Mutex<Seen>>) {
        for n in 0..CHILDREN {
            lock(seen).asked += 1;
            let _ = top.start(cx, format!("w{n}")).await;
            lock(seen).answered += 1;
            lock(seen).asked += 1;
            let task = tasks.spawn(cx, move |cx: Context<()>| async move {
                cx.yield_now().await;
                n
            });
            if let Ok(task) = task.await {
                let value: Result<usize, CallError> = Task::join(task, cx, None).await;
                assert!(matches!(value, Ok(_) | Err(CallError::Down(_))), "{value:?}");
            }
            lock(seen).answered += 1;
        }
        lock(seen).asked += 1;
        let _ = top.count_children(cx).await;
        lock(seen).answered += 1;
    }

    #[test]
    fn each_process_is_killed_at_each_step() {
        let mut played = 0;
        for seed in 0..12 {
            for victim in ["owner", "top", "tasks", "w0", "w3"] {
                let mut at = 0;
                while play(seed, victim, at) {
                    at += 1;
                    played += 1;
                }
            }
        }
        assert!(played > 1000, "{played}");
    }
}
