//! Few slots, and many processes that are spawned into them and die.
//!
//! A parent and hosts start processes in a kernel with four slots. Others send to, kill and query
//! every pid that there has ever been. No pid is allocated twice. A message to a pid is read by
//! that process or is returned. No process dies of a kill that was for an earlier process. Never
//! more than four processes live. A slot's tombstone is true of the pid in the query. A spawn is
//! refused only when all slots are taken, and at rest exactly as many spawns succeed as there are
//! free slots.

use atropos_kernel::{BodyPoll, Cx, MonitorTarget, Pid, Reason, Received, SpawnError, SpawnOptions, Tombstone};
use atropos_shuttle::ground::{Ground, Guest, chance, random};
use atropos_shuttle::notes::{Cargo, Cause, Lives, Shared, body};
use atropos_shuttle::{mutant, web};

/// The fault of a mutant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wrong {
    Nothing,
    /// Sends to the current process in the slot.
    ByPlace,
    /// Expects four free slots while some processes are still dying.
    FillsTooEarly,
}

const ROOM: usize = 4;
/// Slices of a child that waits for its kill.
const FOR_EVER: usize = usize::MAX;

type Mail = Cargo<Pid>;

#[derive(Default, Debug)]
struct Facts {
    pids: Vec<Pid>,
    /// Processes that are killed, or about to be.
    struck: Vec<Pid>,
    living: usize,
}

impl Facts {
    fn born(&mut self, pid: Pid) {
        assert!(!self.pids.contains(&pid), "{pid} is allocated twice");
        self.pids.push(pid);
    }

    fn any(&self) -> Option<Pid> {
        (!self.pids.is_empty()).then(|| self.pids[random(self.pids.len())])
    }

    /// Returns the last process that was spawned into the slot of `pid`.
    fn in_the_place_of(&self, pid: Pid) -> Pid {
        *self.pids.iter().rfind(|other| other.index() == pid.index()).expect("the slot has had this process")
    }
}

/// A guard that counts a running process.
struct Living(Shared<Facts>);

impl Drop for Living {
    fn drop(&mut self) {
        self.0.with(|facts| facts.living -= 1);
    }
}

/// Returns a body that lives for a few slices, or until a message arrives, and reads its messages.
fn child(facts: Shared<Facts>, mut slices: usize) -> impl FnMut(&Cx<'_, Mail>) -> BodyPoll + Send {
    let mut living = None;
    move |cx| {
        if living.is_none() {
            facts.with(|facts| {
                facts.living += 1;
                assert!(facts.living <= ROOM, "{} live, with {ROOM} slots", facts.living);
            });
            living = Some(Living(facts.clone()));
        }
        while let Some(received) = cx.receive() {
            let Received::Message(mail) = received else { panic!("unexpected: {received:?}") };
            assert_eq!(*mail.open(), cx.pid(), "a message for another process");
            slices = 0;
        }
        if slices == FOR_EVER {
            return BodyPoll::Wait;
        }
        slices = slices.saturating_sub(1);
        if slices == 0 { BodyPoll::Exit(Reason::NORMAL) } else { BodyPoll::Yield }
    }
}

/// Returns a body that starts children, again and again, and monitors them.
fn parent(facts: Shared<Facts>, lives: Lives) -> impl FnMut(&Cx<'_, Mail>) -> BodyPoll + Send {
    let mut left = 5 + random(8);
    move |cx| {
        while let Some(received) = cx.receive() {
            match received {
                Received::Down(down) => {
                    let MonitorTarget::Pid(pid) = down.target else { panic!("monitored by pid") };
                    let struck = facts.with(|facts| facts.struck.contains(&pid));
                    match Cause::of(&down.reason) {
                        Cause::Normal => {}
                        Cause::Killed => assert!(struck, "{pid} died of a kill for another process"),
                        other => panic!("{pid} died of {other:?}"),
                    }
                }
                Received::Message(mail) => assert_eq!(*mail.open(), cx.pid(), "a message for another process"),
                other => panic!("unexpected: {other:?}"),
            }
        }
        if left == 0 {
            return BodyPoll::Wait;
        }
        left -= 1;
        let child = body(lives.begin(), child(facts.clone(), 1 + random(3)));
        match cx.spawn(&SpawnOptions::new().monitor(), child) {
            Ok(spawned) => facts.with(|facts| facts.born(spawned.pid)),
            Err(SpawnError::TooMany) => {}
            Err(error) => panic!("{error}"),
        }
        BodyPoll::Yield
    }
}

fn spawn(guest: &Guest, facts: &Shared<Facts>, lives: &Lives, slices: usize) -> bool {
    let child = body(lives.begin(), child(facts.clone(), slices));
    match guest.with(|host| host.spawn(&SpawnOptions::new(), child)) {
        Ok(spawned) => {
            facts.with(|facts| facts.born(spawned.pid));
            true
        }
        Err(SpawnError::TooMany) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Checks that a slot's tombstone is true of `pid`.
fn remembers(guest: &Guest, facts: &Shared<Facts>, pid: Pid) {
    match guest.with(|host| host.tombstone(pid)) {
        Tombstone::Recycled => {}
        Tombstone::NeverAllocated => panic!("{pid} was allocated"),
        Tombstone::Known(reason) => {
            let cause = Cause::of(&reason);
            let struck = facts.with(|facts| facts.struck.contains(&pid));
            assert!(cause == Cause::Normal || cause == Cause::Killed && struck, "{pid} did not die of {cause:?}");
        }
    }
}

fn meddle(guest: &Guest, facts: &Shared<Facts>, lives: &Lives, wrong: Wrong) {
    let Some(pid) = facts.with(|facts| facts.any()) else { return };
    match random(4) {
        0 => {
            facts.with(|facts| facts.struck.push(pid));
            guest.kill(pid);
        }
        1 => remembers(guest, facts, pid),
        _ => {
            let by_place = facts.with(|facts| facts.in_the_place_of(pid));
            let to = if wrong == Wrong::ByPlace { by_place } else { pid };
            if let Err(error) = guest.with(|host| host.send(to, Cargo::new(pid, lives))) {
                assert_eq!(*error.into_message().open(), pid, "a different message was returned");
            }
        }
    }
}

fn play(wrong: Wrong) {
    let mut ground = Ground::with_processes(2, ROOM as u32);
    let (facts, lives) = (Shared::<Facts>::default(), Lives::default());
    let parent = body(lives.begin(), parent(facts.clone(), lives.clone()));
    let parent =
        ground.guest().with(|host| host.spawn(&SpawnOptions::new(), parent)).expect("the table has a free slot").pid;
    facts.with(|facts| facts.living = 1);
    ground.start();
    for _host in 0..2 {
        let (facts, lives) = (facts.clone(), lives.clone());
        ground.host(move |guest| {
            for _round in 0..3 + random(5) {
                if chance(2) {
                    spawn(guest, &facts, &lives, 1 + random(2));
                } else {
                    meddle(guest, &facts, &lives, wrong);
                }
            }
        });
    }
    if wrong != Wrong::FillsTooEarly {
        ground.settle();
        assert_eq!(ground.alive(), [parent], "the children live for a few slices");
    }
    // As many spawns as there are slots, and then one more for each process that ends.
    for _round in 0..2 {
        for place in 1..ROOM {
            assert!(spawn(ground.guest(), &facts, &lives, FOR_EVER), "{} slots are free", ROOM - place);
        }
        assert!(!spawn(ground.guest(), &facts, &lives, FOR_EVER), "no slot is free");
        let rest: Vec<Pid> = ground.alive().into_iter().filter(|pid| *pid != parent).collect();
        for pid in rest {
            facts.with(|facts| facts.struck.push(pid));
            assert!(ground.guest().kill(pid), "the child was alive");
        }
        ground.settle();
    }
    for pid in facts.with(|facts| facts.pids.clone()) {
        remembers(ground.guest(), &facts, pid);
    }
    ground.guest().kill(parent);
    ground.settle();
    ground.finish();
    assert_eq!(lives.count(), 0, "bodies or messages have leaked");
}

#[test]
fn churn() {
    web("churn", || play(Wrong::Nothing));
}

#[test]
fn churn_mutant_by_place() {
    mutant("churn: sends to the slot's current process", || play(Wrong::ByPlace));
}

#[test]
fn churn_mutant_fills_too_early() {
    mutant("churn: expects free slots while some still die", || play(Wrong::FillsTooEarly));
}
