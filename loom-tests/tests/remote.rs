//! Models of remote monitors. Each monitor is answered once or was withdrawn, whatever ends at the
//! same time, and no peer waits for a monitor without a watcher (`atropos-dist`). The models run on
//! the real control plane. Each mutant breaks one of its rules, or one that its surroundings keep.
#![cfg(loom)]

use std::sync::{Arc, OnceLock, Weak};

use atropos_dist::model::{PlaneRules, Shipped};
use atropos_dist::{
    Connection, ControlPlane, LoopbackEnd, LoopbackPair, MonitorControlMessage, MonitorError, NoConnection, Node,
    Options, RemotePid, RemoteReference, RoutedMessage, RuntimeHooks, Sender,
};
use atropos_kernel::{NoMemory, Reason};
use atropos_loom::{model, mutant};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

const HERE: Node = Node::new(1);
const THERE: Node = Node::new(2);
const ELSEWHERE: Node = Node::new(3);
const WATCHER: u64 = 7;
const TARGET: u64 = 42;

const fn here(number: u64) -> RemotePid {
    RemotePid::new(HERE, number, 0, 1)
}

const fn there(number: u64) -> RemotePid {
    RemotePid::new(THERE, number, 0, 1)
}

// The states of a process.
const UNWATCHED: usize = 0;
const WATCHED: usize = 1;
const DEAD: usize = 2;

/// The surroundings of a control plane: one process that can die, a connection that can be lost,
/// and the peer's view.
struct Surroundings<R: PlaneRules> {
    plane: OnceLock<Weak<ControlPlane<R>>>,
    process: AtomicUsize,
    /// `true` if a watch of a dead process reports it.
    reports_the_dead: bool,
    /// DOWNs with the right reason, and with a wrong one.
    downs: AtomicUsize,
    false_downs: AtomicUsize,
    /// `true` while the connection takes messages.
    open: AtomicBool,
    /// Number of notices sent.
    notices: AtomicUsize,
    /// `true` while the peer waits for this node's monitor: set by a request, cleared by a
    /// withdrawal.
    asked: UnsafeCell<bool>,
}

// SAFETY: loom checks every access to the cell.
unsafe impl<R: PlaneRules> Send for Surroundings<R> {}
// SAFETY: loom checks every access to the cell, also through shared references.
unsafe impl<R: PlaneRules> Sync for Surroundings<R> {}

struct Way<R: PlaneRules>(Arc<Surroundings<R>>);

impl<R: PlaneRules> Sender for Way<R> {
    fn send(&self, message: RoutedMessage) -> Result<(), NoConnection> {
        let surroundings = &self.0;
        if !surroundings.open.load(Ordering::Acquire) {
            return Err(NoConnection);
        }
        match message.message {
            // SAFETY: loom checks that the write to the cell is exclusive.
            MonitorControlMessage::MonitorP { .. } => surroundings.asked.with_mut(|asked| unsafe { *asked = true }),
            // SAFETY: loom checks that the write to the cell is exclusive.
            MonitorControlMessage::DemonitorP { .. } => surroundings.asked.with_mut(|asked| unsafe { *asked = false }),
            MonitorControlMessage::MonitorPExit { .. } => drop(surroundings.notices.fetch_add(1, Ordering::Relaxed)),
        }
        Ok(())
    }
}

struct Locals<R: PlaneRules>(Arc<Surroundings<R>>);

impl<R: PlaneRules> RuntimeHooks for Locals<R> {
    fn deliver_down(&self, watcher: u64, _: RemoteReference, target: RemotePid, reason: Reason) {
        assert_eq!((watcher, target), (WATCHER, there(TARGET)));
        let right = reason == Reason::NOCONNECTION || reason == Reason::SHUTDOWN;
        let downs = if right { &self.0.downs } else { &self.0.false_downs };
        downs.fetch_add(1, Ordering::Relaxed);
    }

    fn watch(&self, pid: u64) -> Result<(), NoMemory> {
        let process = &self.0.process;
        let watched = process.compare_exchange(UNWATCHED, WATCHED, Ordering::AcqRel, Ordering::Acquire);
        if watched == Err(DEAD) && self.0.reports_the_dead {
            self.0.plane().exited(pid, &Reason::NOPROC);
        }
        Ok(())
    }
}

impl<R: PlaneRules> Surroundings<R> {
    fn new(reports_the_dead: bool) -> (Arc<ControlPlane<R>>, Arc<Self>, Connection) {
        let surroundings = Arc::new(Self {
            plane: OnceLock::new(),
            process: AtomicUsize::new(UNWATCHED),
            reports_the_dead,
            downs: AtomicUsize::new(0),
            false_downs: AtomicUsize::new(0),
            open: AtomicBool::new(true),
            notices: AtomicUsize::new(0),
            asked: UnsafeCell::new(false),
        });
        let (way, locals) = (Arc::new(Way(surroundings.clone())), Arc::new(Locals(surroundings.clone())));
        let plane = Arc::new(ControlPlane::with_rules(Options::new(HERE, 1), way, locals));
        surroundings.plane.set(Arc::downgrade(&plane)).expect("set once");
        let connection = plane.connected(THERE, 1);
        (plane, surroundings, connection)
    }

    fn plane(&self) -> Arc<ControlPlane<R>> {
        self.plane.get().and_then(Weak::upgrade).expect("the control plane exists")
    }

    fn die(&self, pid: u64) {
        if self.process.swap(DEAD, Ordering::AcqRel) == WATCHED {
            self.plane().exited(pid, &Reason::SHUTDOWN);
        }
    }

    fn downs(&self) -> usize {
        assert_eq!(self.false_downs.load(Ordering::Relaxed), 0, "a DOWN with a forged reason");
        self.downs.load(Ordering::Relaxed)
    }

    fn is_asked(&self) -> bool {
        // SAFETY: loom checks that no write to the cell is concurrent.
        self.asked.with(|asked| unsafe { *asked })
    }
}

/// 2.1 a. The node is lost while it receives a request: the call returns an error and no DOWN
/// comes, or it succeeds and one DOWN comes. `refuses`: the lost connection refuses the request;
/// otherwise it takes the request and loses it.
fn ask_or_lose<R: PlaneRules>(refuses: bool) {
    let (plane, surroundings, connection) = Surroundings::<R>::new(true);
    let (losing, wire) = (plane.clone(), surroundings.clone());
    let loss = thread::spawn(move || {
        if refuses {
            wire.open.store(false, Ordering::Release);
        }
        assert!(losing.disconnected(connection));
    });
    let asked = plane.monitor_remote(WATCHER, there(TARGET));
    loss.join().unwrap();
    assert_eq!(surroundings.downs(), usize::from(asked.is_ok()), "{asked:?}");
    assert_eq!(plane.monitors_of(WATCHER), []);
}

/// A sender that uses the current connection, even if the message was meant for an earlier one.
struct Careless {
    end: Arc<LoopbackEnd>,
    plane: OnceLock<Weak<ControlPlane>>,
}

impl Sender for Careless {
    fn send(&self, message: RoutedMessage) -> Result<(), NoConnection> {
        let plane = self.plane.get().and_then(Weak::upgrade).expect("the control plane exists");
        let connection = plane.connection(THERE).ok_or(NoConnection)?;
        self.end.send(RoutedMessage { connection, ..message })
    }
}

struct Nobody;

impl RuntimeHooks for Nobody {
    fn deliver_down(&self, _: u64, _: RemoteReference, _: RemotePid, _: Reason) {}

    fn watch(&self, _: u64) -> Result<(), NoMemory> {
        Ok(())
    }
}

/// 2.1 a. The connection is lost and restored during a request: both sides know of the monitor, or
/// neither.
fn ask_or_rejoin(careless: bool) {
    let cable = LoopbackPair::new();
    let [left_end, right_end] = cable.ends();
    let sender = Arc::new(Careless { end: left_end.clone(), plane: OnceLock::new() });
    let way: Arc<dyn Sender> = if careless { sender.clone() } else { left_end };
    let left = Arc::new(ControlPlane::new(Options::new(HERE, 1), way, Arc::new(Nobody)));
    let right = Arc::new(ControlPlane::new(Options::new(THERE, 1), right_end, Arc::new(Nobody)));
    sender.plane.set(Arc::downgrade(&left)).expect("set once");
    cable.join(&left, &right);
    let asking = left.clone();
    let requester = thread::spawn(move || asking.monitor_remote(WATCHER, there(TARGET)).is_ok());
    cable.join(&left, &right);
    requester.join().unwrap();
    while cable.pump(&left, &right, 4) > 0 {}
    let (ours, theirs) = (left.monitors_with(THERE), right.monitors_with(HERE));
    assert_eq!(ours.0, theirs.1, "both nodes agree on the monitor");
}

/// 2.1 b. The target dies while it is registered: one notice.
fn register_or_die<R: PlaneRules>(reports_the_dead: bool) {
    let (plane, surroundings, connection) = Surroundings::<R>::new(reports_the_dead);
    let dying = surroundings.clone();
    let target = thread::spawn(move || dying.die(TARGET));
    let (reference, watcher, target_pid) = (RemoteReference::from_raw(5), there(WATCHER), here(TARGET));
    let request = MonitorControlMessage::MonitorP { reference, watcher, target: target_pid };
    assert_eq!(plane.receive(connection, request), Ok(()));
    target.join().unwrap();
    assert_eq!(surroundings.notices.load(Ordering::Relaxed), 1);
    assert_eq!((plane.monitors_with(THERE), plane.monitored_by(TARGET)), ((0, 0), Vec::new()));
}

/// 2.1 c. A request arrives while its connection is lost, and perhaps restored: no record of it
/// stays.
fn register_or_lose<R: PlaneRules>(again: bool) {
    let (plane, _surroundings, connection) = Surroundings::<R>::new(true);
    let losing = plane.clone();
    let loss = thread::spawn(move || {
        assert!(losing.disconnected(connection));
        if again {
            losing.connected(THERE, 1);
        }
    });
    let (reference, watcher, target) = (RemoteReference::from_raw(5), there(WATCHER), here(TARGET));
    let _ = plane.receive(connection, MonitorControlMessage::MonitorP { reference, watcher, target });
    loss.join().unwrap();
    assert_eq!((plane.monitors_with(THERE), plane.monitored_by(TARGET)), ((0, 0), Vec::new()));
}

/// 2.1 d. Another connection claims that the target has ended, while it does end, or while its node
/// is lost: one DOWN, and a true one.
fn end_or_forge<R: PlaneRules>(lost: bool) {
    let (plane, surroundings, connection) = Surroundings::<R>::new(true);
    let other = plane.connected(ELSEWHERE, 1);
    let reference = plane.monitor_remote(WATCHER, there(TARGET)).expect("connected");
    let notice =
        |target, reason| MonitorControlMessage::MonitorPExit { reference, watcher: here(WATCHER), target, reason };
    let (ending, end) = (plane.clone(), notice(there(TARGET), Reason::SHUTDOWN));
    let truth = thread::spawn(move || {
        if lost {
            assert!(ending.disconnected(connection));
        } else {
            assert_eq!(ending.receive(connection, end), Ok(()));
        }
    });
    let _ = plane.receive(other, notice(there(TARGET), Reason::KILLED));
    let _ = plane.receive(connection, notice(RemotePid { serial: 7, ..there(TARGET) }, Reason::KILLED));
    truth.join().unwrap();
    assert_eq!(surroundings.downs(), 1);
}

/// 2.1 g. The watcher dies during its request: a peer that received the request receives the
/// withdrawal afterwards.
fn ask_or_die<R: PlaneRules>() {
    let (plane, surroundings, _) = Surroundings::<R>::new(true);
    let dying = surroundings.clone();
    let watcher = thread::spawn(move || dying.die(WATCHER));
    let asked = plane.monitor_remote(WATCHER, there(TARGET));
    watcher.join().unwrap();
    assert!(!surroundings.is_asked(), "{asked:?}");
    assert!(matches!(asked, Ok(_) | Err(MonitorError::NoCaller)));
    assert_eq!((surroundings.downs(), plane.monitors_with(THERE)), (0, (0, 0)));
}

/// 2.1 h. A monitor is withdrawn while the connection is lost: it is withdrawn or answered, and
/// once.
fn withdraw_or_lose<R: PlaneRules>() {
    let (plane, surroundings, connection) = Surroundings::<R>::new(true);
    let reference = plane.monitor_remote(WATCHER, there(TARGET)).expect("connected");
    let (losing, wire) = (plane.clone(), surroundings.clone());
    let loss = thread::spawn(move || {
        wire.open.store(false, Ordering::Release);
        assert!(losing.disconnected(connection));
    });
    let withdrawn = plane.demonitor_remote(WATCHER, reference);
    loss.join().unwrap();
    assert_eq!(surroundings.downs(), usize::from(!withdrawn));
    assert!(!plane.demonitor_remote(WATCHER, reference));
}

/// The three events that can end a monitor, at the same time.
fn withdraw_or_end_or_lose<R: PlaneRules>() {
    let (plane, surroundings, connection) = Surroundings::<R>::new(true);
    let reference = plane.monitor_remote(WATCHER, there(TARGET)).expect("connected");
    let (losing, ending) = (plane.clone(), plane.clone());
    let loss = thread::spawn(move || assert!(losing.disconnected(connection)));
    let end = thread::spawn(move || {
        let (watcher, target, reason) = (here(WATCHER), there(TARGET), Reason::SHUTDOWN);
        let _ = ending.receive(connection, MonitorControlMessage::MonitorPExit { reference, watcher, target, reason });
    });
    let withdrawn = plane.demonitor_remote(WATCHER, reference);
    loss.join().unwrap();
    end.join().unwrap();
    assert_eq!(surroundings.downs(), usize::from(!withdrawn));
    assert_eq!(plane.monitors_of(WATCHER), []);
}

/// Issue 14, 25: two threads register for one peer, whose quota has one place. One is refused, and
/// no record of it is kept.
fn register_two<R: PlaneRules>() {
    let nobody = Arc::new(Nobody);
    let options = Options::new(HERE, 1).inbound_limit(1);
    let plane = Arc::new(ControlPlane::<R>::with_rules(options, Arc::new(LosesAll), nobody));
    let connection = plane.connected(THERE, 1);
    let request = |number| {
        let (reference, watcher, target) = (RemoteReference::from_raw(number), there(WATCHER), here(number));
        MonitorControlMessage::MonitorP { reference, watcher, target }
    };
    let (other, second) = (plane.clone(), request(2));
    let thread = thread::spawn(move || other.receive(connection, second).is_ok());
    let first = plane.receive(connection, request(1)).is_ok();
    let second = thread.join().unwrap();
    assert!(first != second, "exactly one registration succeeds: {first}, {second}");
    assert_eq!((plane.watched(), plane.quota_used(THERE)), (1, 1));
}

/// A sender that takes every message and loses it.
struct LosesAll;

impl Sender for LosesAll {
    fn send(&self, _: RoutedMessage) -> Result<(), NoConnection> {
        Ok(())
    }
}

/// Issue 14, 25: the runtime withdraws an idle watch while a peer registers again: a registered
/// process is watched.
fn release_or_register<R: PlaneRules>() {
    #[derive(Default)]
    struct Counts(std::sync::atomic::AtomicIsize);
    impl RuntimeHooks for Counts {
        fn deliver_down(&self, _: u64, _: RemoteReference, _: RemotePid, _: Reason) {}

        fn watch(&self, _: u64) -> Result<(), NoMemory> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }
    let counts = Arc::new(Counts::default());
    let plane = Arc::new(ControlPlane::<R>::with_rules(Options::new(HERE, 1), Arc::new(LosesAll), counts.clone()));
    let connection = plane.connected(THERE, 1);
    let (reference, watcher, target) = (RemoteReference::from_raw(5), there(WATCHER), here(TARGET));
    let request = MonitorControlMessage::MonitorP { reference, watcher, target };
    let withdrawal = MonitorControlMessage::DemonitorP { reference, watcher, target };
    plane.receive(connection, request.clone()).unwrap();
    plane.receive(connection, withdrawal).unwrap();
    let (releasing, watches) = (plane.clone(), counts.clone());
    let runtime = thread::spawn(move || {
        if releasing.release(TARGET) {
            watches.0.fetch_sub(1, Ordering::Relaxed);
        }
    });
    plane.receive(connection, request).unwrap();
    runtime.join().unwrap();
    assert!(counts.0.load(Ordering::Relaxed) > 0, "the registered process is watched");
    assert_eq!(plane.monitored_by(TARGET).len(), 1);
    assert_eq!((plane.watched(), plane.quota_used(THERE)), (1, 1));
}

macro_rules! broken {
    ($($name:ident: $rule:ident: $kind:ty = $value:expr;)*) => {$(
        struct $name;
        impl PlaneRules for $name {
            const $rule: $kind = $value;
        }
    )*};
}

broken! {
    ManyWinners: ONE_WINNER: bool = false;
    ArmRelaxed: ARM: Ordering = Ordering::Relaxed;
    ErrorAnyway: HEED_ANSWER: bool = false;
    WithdrawAtOnce: WITHDRAW_AFTER_REQUEST: bool = false;
    TakeGone: REFUSE_GONE: bool = false;
    TakeLost: REFUSE_LOST: bool = false;
    TakeOld: REFUSE_OLD: bool = false;
    MatchReference: MATCH_WHOLE: bool = false;
    LookThenClaim: CLAIM_AT_ONCE: bool = false;
    LeaveOpen: CLOSE_IDLE: bool = false;
}

#[test]
fn protocol() {
    model("remote a: request, lose and refuse", None, || ask_or_lose::<Shipped>(true));
    model("remote a: request, lose and take", None, || ask_or_lose::<Shipped>(false));
    model("remote a: request, rejoin", None, || ask_or_rejoin(false));
    model("remote b: register, die", None, || register_or_die::<Shipped>(true));
    model("remote c: register, lose", None, || register_or_lose::<Shipped>(false));
    model("remote c: register, lose and connect", None, || register_or_lose::<Shipped>(true));
    model("remote d: forge, end", None, || end_or_forge::<Shipped>(false));
    model("remote d: forge, lose", None, || end_or_forge::<Shipped>(true));
    model("remote g: request, die", None, ask_or_die::<Shipped>);
    model("remote h: withdraw, lose", None, withdraw_or_lose::<Shipped>);
    model("remote: withdraw, end, lose", None, withdraw_or_end_or_lose::<Shipped>);
    model("remote quota: register twice", None, register_two::<Shipped>);
    model("remote quota: release, register", None, release_or_register::<Shipped>);
}

#[test]
fn mutants() {
    mutant("remote a, an error although it was answered", Some(2), || ask_or_lose::<ErrorAnyway>(true));
    mutant("remote a, a lost session takes", Some(2), || ask_or_lose::<TakeLost>(false));
    mutant("remote a, a request on the next connection", Some(2), || ask_or_rejoin(true));
    mutant("remote b, a dead process takes", Some(2), || register_or_die::<TakeGone>(true));
    mutant("remote b, liveness seen from outside", Some(2), || register_or_die::<Shipped>(false));
    mutant("remote c, an old connection's message", Some(2), || register_or_lose::<TakeOld>(true));
    mutant("remote d, matched by the reference alone", Some(2), || end_or_forge::<MatchReference>(false));
    mutant("remote g, a withdrawal at once", Some(2), ask_or_die::<WithdrawAtOnce>);
    mutant("remote g, arm Relaxed", Some(2), ask_or_die::<ArmRelaxed>);
    mutant("remote h, two winners", Some(2), withdraw_or_lose::<ManyWinners>);
    mutant("remote quota, look and then claim", Some(2), register_two::<LookThenClaim>);
    mutant("remote quota, an idle watch is left open", Some(2), release_or_register::<LeaveOpen>);
}
