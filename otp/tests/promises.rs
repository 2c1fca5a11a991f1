//! The guarantees of a supervisor, one test each, by the numbers of the requirements (1.4).

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atropos_kernel::{Context, Reason, Received};
use atropos_otp::{ChildSpec, ChildStarter, ChildState, Intensity, Strategy, Supervisor};
use common::{Bed, Told, Yard, boom, lock};

fn three(yard: &Yard, supervisor: Supervisor) -> Supervisor {
    supervisor.children(["a", "b", "c"].map(|id| yard.worker(id)))
}

#[test]
fn p01_strategies_are_plain_values() {
    fn plain<T: Copy + Eq + Send + Sync>(_: T) {}
    plain(Strategy::OneForOne);
    assert_ne!(Strategy::OneForAll, Strategy::RestForOne);
}

#[test]
fn p02_a_childs_panic_does_not_kill_its_supervisor() {
    let (mut bed, yard) = (Bed::new(2, 1), Yard::default());
    let (_, supervisor) = bed.family(three(&yard, Supervisor::one_for_one()));
    bed.tell(yard.pid("b"), Told::Panic);
    bed.settle();
    assert!(bed.is_alive(supervisor));
    assert_eq!((yard.starts("b"), yard.live()), (2, 3));
}

#[test]
fn p03_defaults_and_three_in_five_seconds() {
    let (mut bed, yard) = (Bed::new(1, 1), Yard::default());
    // OTP's default: one restart in 5 s.
    let (_, supervisor) = bed.family(three(&yard, Supervisor::one_for_one()));
    for alive in [true, false] {
        bed.tell(yard.pid("a"), Told::End(boom()));
        bed.settle();
        assert_eq!(bed.is_alive(supervisor), alive);
    }
    let (_, supervisor) = bed.family(three(&yard, Supervisor::one_for_one().intensity(Intensity::FORGIVING)));
    for alive in [true, true, true, false] {
        bed.sleep(Duration::from_secs(1));
        bed.tell(yard.pid("a"), Told::End(boom()));
        bed.settle();
        assert_eq!(bed.is_alive(supervisor), alive, "the 4th within 5 s ends it");
    }
}

#[test]
fn p04_children_start_in_order_from_factories_that_can_run_again() {
    let (mut bed, yard) = (Bed::new(2, 1), Yard::default());
    let (_, _) = bed.family(three(&yard, Supervisor::one_for_one()));
    assert_eq!(yard.events(), ["+a", "+b", "+c"]);
    bed.exit(yard.pid("a"), Reason::KILL);
    bed.settle();
    assert_eq!(yard.events(), ["-a", "+a"]);
}

#[test]
fn p05_no_restarts_means_none_and_unlimited_means_any() {
    let (mut bed, yard) = (Bed::new(1, 1), Yard::default());
    let none = Intensity::within(0, Duration::from_secs(5));
    let (_, supervisor) = bed.family(three(&yard, Supervisor::one_for_one().intensity(none)));
    bed.tell(yard.pid("a"), Told::End(boom()));
    bed.settle();
    assert_eq!((bed.is_alive(supervisor), yard.starts("a")), (false, 1));
    let (_, supervisor) = bed.family(three(&yard, Supervisor::one_for_one().intensity(Intensity::Unlimited)));
    for _ in 0..1000 {
        bed.tell(yard.pid("a"), Told::End(boom()));
        bed.settle();
    }
    assert_eq!((bed.is_alive(supervisor), yard.starts("a")), (true, 1002));
}

#[test]
fn p06_the_window_slides_and_a_lifetime_does_not() {
    let (mut bed, yard) = (Bed::new(1, 1), Yard::default());
    let sliding = Intensity::within(3, Duration::from_secs(5));
    let (_, supervisor) = bed.family(three(&yard, Supervisor::one_for_one().intensity(sliding)));
    for _ in 0..2 {
        for _ in 0..3 {
            bed.tell(yard.pid("a"), Told::End(boom()));
            bed.settle();
        }
        bed.sleep(Duration::from_secs(6));
    }
    assert!(bed.is_alive(supervisor));
    let (_, supervisor) = bed.family(three(&yard, Supervisor::one_for_one().intensity(Intensity::lifetime(3))));
    for alive in [true, true, true, false] {
        bed.sleep(Duration::from_secs(100_000));
        bed.tell(yard.pid("a"), Told::End(boom()));
        bed.settle();
        assert_eq!(bed.is_alive(supervisor), alive);
    }
}

#[test]
fn p07_dropping_a_handle_kills_nothing() {
    let (mut bed, yard) = (Bed::new(1, 1), Yard::default());
    let (_, supervisor) = bed.family(Supervisor::one_for_one());
    let child = yard.worker("late");
    let pid = bed.run(move |cx| async move { supervisor.start_child(&cx, child).await }).expect("started");
    bed.settle();
    assert_eq!(pid, Some(yard.pid("late")));
    assert_eq!(yard.live(), 1);
}

#[test]
fn p08_one_for_one_restarts_only_the_child_that_died() {
    let (mut bed, yard) = (Bed::new(2, 3), Yard::default());
    let (_, _) = bed.family(three(&yard, Supervisor::one_for_one()));
    let before = ["a", "b", "c"].map(|id| yard.pid(id));
    bed.tell(before[1], Told::End(boom()));
    bed.settle();
    assert_eq!([yard.pid("a"), yard.pid("c")], [before[0], before[2]]);
    assert_ne!(yard.pid("b"), before[1]);
}

#[test]
fn p09_one_for_all_has_no_two_generations_and_frees_names() {
    let (mut bed, yard) = (Bed::new(2, 5), Yard::default());
    let registered = Arc::new(AtomicUsize::new(0));
    let count = registered.clone();
    let named = ChildSpec::worker("named", move |starter: &mut ChildStarter<'_>| {
        assert_eq!(starter.whereis("the name"), None, "free when a start function runs");
        count.fetch_add(1, Ordering::Relaxed);
        let options = atropos_kernel::SpawnOptions::new().name("the name");
        starter.spawn_with(&options, |cx: Context<()>| async move {
            cx.recv().await;
        })
    });
    let supervisor = three(&yard, Supervisor::one_for_all()).child(named);
    let (_, _) = bed.family(supervisor);
    yard.events();
    bed.tell(yard.pid("b"), Told::End(boom()));
    bed.settle();
    assert_eq!(yard.events(), ["-b", "-c", "-a", "+a", "+b", "+c"]);
    assert_eq!((yard.most_of_one(), registered.load(Ordering::Relaxed)), (1, 2));
}

#[test]
fn p10_rest_for_one_restarts_the_later_ones() {
    let (mut bed, yard) = (Bed::new(2, 5), Yard::default());
    let (_, _) = bed.family(three(&yard, Supervisor::rest_for_one()));
    let first = yard.pid("a");
    yard.events();
    bed.tell(yard.pid("b"), Told::End(boom()));
    bed.settle();
    assert_eq!(yard.events(), ["-b", "-c", "+b", "+c"]);
    assert_eq!(yard.pid("a"), first);
}

#[test]
fn p11_no_child_is_left_when_the_parent_sees_the_supervisor_shut_down() {
    let (mut bed, yard) = (Bed::new(2, 5), Yard::default());
    let seen = Arc::new(Mutex::new(None));
    let (slot, watched) = (seen.clone(), yard.clone());
    let supervisor = three(&yard, Supervisor::one_for_one().intensity(Intensity::FORGIVING));
    bed.spawn(true, move |cx: Context<()>| async move {
        let supervisor = supervisor.start_link(&cx).await.expect("up");
        cx.monitor(supervisor).expect("memory");
        loop {
            if let Received::Down(down) = cx.recv().await {
                *lock(&slot) = Some((down.reason, watched.live()));
                return;
            }
        }
    });
    bed.settle();
    for _ in 0..4 {
        bed.tell(yard.pid("a"), Told::End(boom()));
        bed.settle();
    }
    assert_eq!(*lock(&seen), Some((Reason::SHUTDOWN, 0)));
    assert_eq!(yard.starts("a"), 4);
}

#[test]
fn p12_a_stale_down_is_ignored() {
    let (mut bed, yard) = (Bed::new(1, 1), Yard::default());
    let none = Intensity::within(0, Duration::from_secs(5));
    let (_, supervisor) = bed.family(three(&yard, Supervisor::one_for_one().intensity(none)));
    // The exit of a terminated child, and an exit signal in its name, are not restarts.
    let pid = yard.pid("b");
    bed.run(move |cx| async move {
        supervisor.terminate_child(&cx, "b").await.expect("a child");
        supervisor.restart_child(&cx, "b").await.expect("a child");
    });
    bed.exit_from_a_stranger(supervisor, boom());
    bed.settle();
    assert!(!bed.is_alive(pid));
    assert_eq!((bed.is_alive(supervisor), yard.live(), yard.starts("b")), (true, 3, 2));
}

#[test]
fn p13_no_orphan_when_the_owner_dies_in_any_state() {
    for state in ["idle", "restarting", "terminating"] {
        for reason in [Reason::KILL, Reason::NORMAL, boom()] {
            let (mut bed, yard) = (Bed::new(2, 7), Yard::default());
            let supervisor = Supervisor::one_for_all().intensity(Intensity::Unlimited);
            let supervisor = supervisor.children(["a", "b"].map(|id| yard.worker(id))).child(yard.trapping("slow"));
            let (parent, supervisor) = bed.family(supervisor);
            bed.tell(yard.pid("slow"), Told::Slow(Duration::from_secs(1)));
            bed.settle();
            match state {
                "restarting" => bed.tell(yard.pid("a"), Told::End(boom())),
                "terminating" => bed.exit(supervisor, Reason::SHUTDOWN),
                _ => {}
            }
            bed.settle();
            if reason != Reason::KILL {
                // The host's exit signal counts as the parent's.
                bed.exit(supervisor, reason);
            }
            bed.exit(parent, Reason::KILL);
            bed.sleep(Duration::from_secs(60));
            assert_eq!((bed.processes(), yard.live()), (0, 0), "{state}");
        }
    }
}

#[test]
fn p14_junk_changes_nothing() {
    let (mut bed, yard) = (Bed::new(1, 1), Yard::default());
    let (_, supervisor) = bed.family(three(&yard, Supervisor::one_for_all()));
    yard.events();
    bed.tell(yard.pid("a"), Told::End(boom()));
    let pid = supervisor.pid();
    bed.run(move |cx| async move {
        for n in 0..10_000_u32 {
            // A message of any other type is returned; exit signals of strangers are dropped.
            assert!(cx.send(pid, n).is_err());
            cx.exit(pid, Reason::value(n)).expect("memory");
        }
    });
    bed.settle();
    assert_eq!(yard.events(), ["-a", "-c", "-b", "+a", "+b", "+c"]);
    let children = bed.run(move |cx| async move { supervisor.which_children(&cx).await }).expect("alive");
    assert!(children.iter().all(|child| matches!(child.state, ChildState::Up(_))));
}

#[test]
fn p15_a_child_that_dies_at_once_is_seen() {
    let mut bed = Bed::new(2, 9);
    let starts = Arc::new(AtomicUsize::new(0));
    let count = starts.clone();
    const TIMES: usize = 100_000;
    let child = ChildSpec::worker("short", move |starter: &mut ChildStarter<'_>| {
        let last = count.fetch_add(1, Ordering::Relaxed) == TIMES;
        starter.spawn(move |cx: Context<()>| async move {
            if last {
                cx.recv().await;
            }
        })
    });
    let (_, supervisor) = bed.family(Supervisor::one_for_one().intensity(Intensity::Unlimited).child(child));
    bed.settle();
    assert_eq!(starts.load(Ordering::Relaxed), TIMES + 1);
    assert!(bed.is_alive(supervisor));
    assert_eq!(bed.processes(), 3);
}
