//! Processes that compete for the same names, send to the current holders, and die.
//!
//! A holder records that it holds the name after `register` has succeeded. It removes the record
//! before it unregisters the name, or in its body's destructor, which runs before its death
//! releases the name. So by the records there is never more than one holder. A process that
//! receives the DOWN of a holder finds the name released by it, and can register the name if no
//! other process competes. A message by name reaches a process that has held the name, or is
//! returned.

use atropos_kernel::{BodyPoll, Cx, MonitorTarget, Pid, Reason, Received, RegisterError, SpawnOptions};
use atropos_shuttle::ground::{Ground, chance, random};
use atropos_shuttle::notes::{Cargo, Lives, Shared, body};
use atropos_shuttle::{mutant, web};

/// The fault in a claimant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wrong {
    Nothing,
    /// The heir takes a farewell for a DOWN.
    TakesAFarewell,
    /// Unregisters the name of its current holder.
    Deposes,
}

/// A name for which many processes compete.
const THRONE: &str = "throne";
/// A name that one process takes over from another.
const ESTATE: &str = "estate";

#[derive(Debug)]
enum Says {
    /// A message that was sent by name.
    Petition,
    Farewell,
    Die,
}

type Mail = Cargo<Says>;

#[derive(Default, Debug)]
struct Facts {
    holder: Option<Pid>,
    has_held: Vec<Pid>,
    petitions: usize,
    inherited: bool,
}

/// A guard that removes its process from the records before the kernel does.
struct Reign {
    who: Option<Pid>,
    facts: Shared<Facts>,
}

impl Reign {
    fn begin(&mut self, who: Pid) {
        self.who = Some(who);
        self.facts.with(|facts| {
            assert_eq!(facts.holder.replace(who), None, "{who} is a second holder");
            facts.has_held.push(who);
        });
    }

    fn end(&mut self) {
        if let Some(who) = self.who.take() {
            self.facts.with(|facts| {
                if facts.holder == Some(who) {
                    facts.holder = None;
                }
            });
        }
    }
}

impl Drop for Reign {
    fn drop(&mut self) {
        self.end();
    }
}

struct Claimant {
    left: usize,
    reign: Reign,
    lives: Lives,
    wrong: Wrong,
}

impl Claimant {
    fn claim(&mut self, cx: &Cx<'_, Mail>) {
        match cx.register(THRONE, cx.pid()) {
            Ok(()) => self.reign.begin(cx.pid()),
            Err(RegisterError::InUse) => drop(cx.monitor_name(THRONE).expect("the kernel has memory")),
            Err(RegisterError::NoProc) if cx.is_dying() => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn receive(&mut self, cx: &Cx<'_, Mail>) -> Option<BodyPoll> {
        while let Some(received) = cx.receive() {
            match received {
                Received::Message(mail) => match mail.open() {
                    Says::Petition => self.reign.facts.with(|facts| {
                        assert!(
                            facts.has_held.contains(&cx.pid()),
                            "a petition to a process that has never held the name"
                        );
                        facts.petitions -= 1;
                    }),
                    Says::Die => return Some(BodyPoll::Exit(Reason::NORMAL)),
                    Says::Farewell => panic!("no farewell is due here"),
                },
                Received::Down(down) => {
                    assert!(matches!(&down.target, MonitorTarget::Name(name) if name.as_str() == THRONE));
                    if self.reign.who.is_none() {
                        self.claim(cx);
                    }
                }
                other => panic!("unexpected: {other:?}"),
            }
        }
        None
    }

    fn resume(&mut self, cx: &Cx<'_, Mail>) -> BodyPoll {
        loop {
            if let Some(ended) = self.receive(cx) {
                return ended;
            }
            if cx.is_dying() || self.left == 0 {
                return BodyPoll::Wait;
            }
            self.left -= 1;
            match random(4) {
                0 => {
                    self.reign.facts.with(|facts| facts.petitions += 1);
                    if cx.send_name(THRONE, Cargo::new(Says::Petition, &self.lives)).is_err() {
                        self.reign.facts.with(|facts| facts.petitions -= 1);
                    }
                }
                1 if self.reign.who.is_some() || self.wrong == Wrong::Deposes => {
                    self.reign.end();
                    let had = cx.unregister(THRONE);
                    assert!(had || self.wrong == Wrong::Deposes, "the name was the process's own");
                }
                _ if self.reign.who.is_none() => self.claim(cx),
                _ => assert_eq!(cx.whereis(THRONE), Some(cx.pid()), "the process has the name"),
            }
            if chance(3) {
                return BodyPoll::Yield;
            }
        }
    }
}

/// Returns a body that holds the estate from its spawn, and sends its heir a farewell before it
/// dies.
fn owner(lives: Lives, heir: Pid) -> impl FnMut(&Cx<'_, Mail>) -> BodyPoll + Send {
    move |cx| match cx.receive() {
        Some(Received::Message(mail)) => {
            assert!(matches!(mail.open(), Says::Die), "no other message is sent to this process");
            cx.send(heir, Cargo::new(Says::Farewell, &lives)).expect("the heir lives");
            BodyPoll::Exit(Reason::NORMAL)
        }
        None => BodyPoll::Wait,
        Some(other) => panic!("unexpected: {other:?}"),
    }
}

/// Returns a body that takes the estate as soon as its owner is dead.
fn heir(facts: Shared<Facts>, wrong: Wrong) -> impl FnMut(&Cx<'_, Mail>) -> BodyPoll + Send {
    let mut monitored = false;
    move |cx| {
        if !std::mem::replace(&mut monitored, true) {
            cx.monitor_name(ESTATE).expect("the kernel has memory");
        }
        while let Some(received) = cx.receive() {
            let due = match received {
                Received::Down(_) => wrong != Wrong::TakesAFarewell,
                Received::Message(mail) => {
                    assert!(matches!(mail.open(), Says::Farewell), "no other message is sent to this process");
                    wrong == Wrong::TakesAFarewell
                }
                other => panic!("unexpected: {other:?}"),
            };
            if due && cx.whereis(ESTATE) != Some(cx.pid()) {
                cx.register(ESTATE, cx.pid()).expect("the name's holder is dead");
                facts.with(|facts| facts.inherited = true);
            }
        }
        BodyPoll::Wait
    }
}

fn play(wrong: Wrong) {
    let mut ground = Ground::new(2 + random(2));
    let (facts, lives) = (Shared::<Facts>::default(), Lives::default());
    let options = SpawnOptions::new();
    let heir = body(lives.begin(), heir(facts.clone(), wrong));
    let heir = ground.guest().with(|host| host.spawn(&options, heir)).expect("the table has a free slot").pid;
    let owner = body(lives.begin(), owner(lives.clone(), heir));
    let owner =
        ground.guest().with(|host| host.spawn(&options.clone().name(ESTATE), owner)).expect("the name is free").pid;
    let mut claimants = Vec::new();
    for _claimant in 0..3 + random(2) {
        let reign = Reign { who: None, facts: facts.clone() };
        let mut claimant = Claimant { left: 3 + random(4), reign, lives: lives.clone(), wrong };
        let claimant = body(lives.begin(), move |cx| claimant.resume(cx));
        claimants
            .push(ground.guest().with(|host| host.spawn(&options, claimant)).expect("the table has a free slot").pid);
    }
    ground.start();
    {
        let (claimants, facts, lives) = (claimants.clone(), facts.clone(), lives.clone());
        ground.host(move |guest| {
            for _round in 0..3 {
                let whom = claimants[random(claimants.len())];
                match random(4) {
                    0 => drop(guest.kill(whom)),
                    1 => drop(guest.with(|host| host.send(whom, Cargo::new(Says::Die, &lives)))),
                    _ => {
                        facts.with(|facts| facts.petitions += 1);
                        let petition = Cargo::new(Says::Petition, &lives);
                        if guest.with(|host| host.send_name(THRONE, petition)).is_err() {
                            facts.with(|facts| facts.petitions -= 1);
                        }
                    }
                }
            }
        });
    }
    {
        let lives = lives.clone();
        let killed = chance(2) && wrong != Wrong::TakesAFarewell;
        ground.host(move |guest| {
            if killed {
                assert!(guest.kill(owner), "the owner was alive");
            } else {
                guest.with(|host| host.send(owner, Cargo::new(Says::Die, &lives))).expect("the owner lives");
            }
        });
    }
    ground.settle();
    let alive = ground.alive();
    let holder = ground.guest().with(|host| host.whereis(THRONE));
    facts.with(|facts| {
        assert_eq!(facts.holder, holder, "the holder of the name");
        assert!(holder.is_none_or(|pid| alive.contains(&pid)), "a dead process has the name");
        assert!(facts.inherited, "the heir has not inherited");
        // A message to a process that died before it read the message is lost with the process.
        let all_live = claimants.iter().all(|pid| alive.contains(pid));
        assert!(!all_live || facts.petitions == 0, "{} petitions are lost", facts.petitions);
    });
    assert_eq!(ground.guest().with(|host| host.whereis(ESTATE)), Some(heir), "the holder of the estate");
    for pid in claimants.into_iter().chain([heir]) {
        ground.guest().kill(pid);
    }
    ground.settle();
    assert_eq!(ground.guest().with(|host| host.whereis(THRONE)), None, "all are dead");
    ground.finish();
    assert_eq!(lives.count(), 0, "bodies or messages have leaked");
}

/// An owner is killed while its heir begins: with any DOWN, the name is free.
pub(crate) fn play_heir() {
    let mut ground = Ground::new(2);
    let (facts, lives) = (Shared::<Facts>::default(), Lives::default());
    let named = SpawnOptions::new().name(ESTATE);
    let heir = body(lives.begin(), heir(facts.clone(), Wrong::Nothing));
    let heir =
        ground.guest().with(|host| host.spawn(&SpawnOptions::new(), heir)).expect("the table has a free slot").pid;
    let owner = body(lives.begin(), owner(lives.clone(), heir));
    let owner = ground.guest().with(|host| host.spawn(&named, owner)).expect("the name is free").pid;
    ground.start();
    ground.host(move |guest| assert!(guest.kill(owner), "the owner was alive"));
    ground.settle();
    assert!(facts.with(|facts| facts.inherited), "the heir has not inherited");
    assert_eq!(ground.guest().with(|host| host.whereis(ESTATE)), Some(heir), "the holder of the estate");
    assert!(ground.guest().kill(heir), "the heir was alive");
    ground.settle();
    ground.finish();
    assert_eq!(lives.count(), 0, "bodies or messages have leaked");
}

#[test]
fn names() {
    web("names", || play(Wrong::Nothing));
}

#[test]
fn names_mutant_takes_a_farewell() {
    mutant("names: registers at a farewell, before the DOWN", || play(Wrong::TakesAFarewell));
}

#[test]
fn names_mutant_deposes() {
    mutant("names: unregisters the name of another", || play(Wrong::Deposes));
}
