//! Senders, some of them hosts, that number their messages, send them directly and through relays,
//! and then die.
//!
//! The messages from one sender to one receiver by one route arrive in order, each number once, and
//! none is missing: a live receiver gets all of them, and gets them before the sender's DOWN.
//! Messages through a relay that is killed may stop early, but have no gap. A message that is
//! returned to its sender is as intact as one that arrives.

use std::collections::BTreeMap;

use atropos_kernel::{BodyPoll, Cursor, Cx, MonitorTarget, Peek, Pid, Reason, Received, SendError, SpawnOptions};
use atropos_shuttle::ground::{Ground, chance, random};
use atropos_shuttle::notes::{Cargo, Lives, Shared, body};
use atropos_shuttle::{mutant, web};

/// The fault in a sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wrong {
    Nothing,
    /// Sends every third number directly that should go through the relay.
    TwoWays,
    /// Dies before it has sent its last number, and records that number as sent.
    LosesTheLast,
}

/// One route of a sender.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Way {
    from: usize,
    relayed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Number {
    way: Way,
    number: usize,
    to: usize,
}

type Mail = Cargo<Number>;

#[derive(Default, Debug)]
struct Facts {
    receivers: Vec<Pid>,
    relay: Option<Pid>,
    senders: Vec<Pid>,
    /// The messages that were sent and not returned.
    sent: BTreeMap<(Way, usize), usize>,
    /// The messages that have arrived.
    got: BTreeMap<(Way, usize), usize>,
    relay_was_killed: bool,
}

/// A process or a host that sends.
struct Sender {
    from: usize,
    left: usize,
    facts: Shared<Facts>,
    lives: Lives,
    wrong: Wrong,
}

impl Sender {
    /// Sends the next number by `send`, which returns a message that was not accepted.
    fn send(&mut self, send: impl FnOnce(Pid, Mail) -> Result<(), Mail>) {
        let (way, to) = (Way { from: self.from, relayed: chance(2) }, random(2));
        let (pid, number) = self.facts.with(|facts| {
            let straight = facts.receivers[to];
            let pid = if way.relayed { facts.relay.expect("the relay has been started") } else { straight };
            (pid, facts.sent.get(&(way, to)).copied().unwrap_or_default())
        });
        let aside = self.wrong == Wrong::TwoWays && number % 3 == 2;
        let pid = if aside { self.facts.with(|facts| facts.receivers[to]) } else { pid };
        self.left -= 1;
        let lost = self.wrong == Wrong::LosesTheLast && self.left == 0 && self.from == 0;
        let mail = Cargo::new(Number { way, number, to }, &self.lives);
        let sent = if lost { Ok(()) } else { send(pid, mail) };
        match sent {
            Ok(()) => self.facts.with(|facts| *facts.sent.entry((way, to)).or_default() = number + 1),
            Err(mail) => assert_eq!(mail.open().number, number, "a different message was returned"),
        }
    }
}

/// Returns a body that passes on every message.
fn relay(facts: Shared<Facts>) -> impl FnMut(&Cx<'_, Mail>) -> BodyPoll + Send {
    move |cx| {
        while let Some(received) = cx.receive() {
            let Received::Message(mail) = received else { panic!("unexpected: {received:?}") };
            let to = mail.open().to;
            let to = facts.with(|facts| facts.receivers[to]);
            cx.send(to, mail).expect("no process kills a receiver");
            if chance(4) {
                return BodyPoll::Yield;
            }
        }
        BodyPoll::Wait
    }
}

struct Receiver {
    who: usize,
    begun: bool,
    facts: Shared<Facts>,
    picky: bool,
}

impl Receiver {
    fn receive(&self, cx: &Cx<'_, Mail>) -> Option<Received<Mail>> {
        if self.picky && chance(3) {
            // Receives from the second sender first, wherever its message is.
            let wanted = |peek: Peek<'_, Mail>| matches!(peek, Peek::Message(mail) if mail.open().way.from == 1);
            let picked = cx.receive_match(&mut Cursor::new(), wanted);
            if picked.is_some() {
                return picked;
            }
        }
        cx.receive()
    }

    fn resume(&mut self, cx: &Cx<'_, Mail>) -> BodyPoll {
        if !std::mem::replace(&mut self.begun, true) {
            for sender in self.facts.with(|facts| facts.senders.clone()) {
                cx.monitor(sender).expect("the kernel has memory");
            }
        }
        while let Some(received) = self.receive(cx) {
            match received {
                Received::Message(mail) => {
                    let Number { way, number, to } = *mail.open();
                    assert_eq!(to, self.who, "a message for another receiver");
                    let due = self.facts.with(|facts| {
                        let got = facts.got.entry((way, to)).or_default();
                        *got += 1;
                        *got - 1
                    });
                    assert_eq!(number, due, "{way:?} to {to}");
                }
                Received::Down(down) => self.facts.with(|facts| {
                    let from = facts.senders.iter().position(|pid| down.target == MonitorTarget::Pid(*pid));
                    let way = (Way { from: from.expect("a sender"), relayed: false }, self.who);
                    assert_eq!(
                        facts.got.get(&way),
                        facts.sent.get(&way),
                        "a DOWN before all messages of {way:?} have arrived"
                    );
                }),
                other => panic!("unexpected: {other:?}"),
            }
            if chance(5) {
                return BodyPoll::Yield;
            }
        }
        BodyPoll::Wait
    }
}

fn play(wrong: Wrong) {
    let mut ground = Ground::new(2 + random(2));
    let (facts, lives) = (Shared::<Facts>::default(), Lives::default());
    let options = SpawnOptions::new();
    let mut senders = Vec::new();
    for from in 0..2 + random(2) {
        let mut sender = Sender { from, left: 3 + random(5), facts: facts.clone(), lives: lives.clone(), wrong };
        let sender = body(lives.begin(), move |cx: &Cx<'_, Mail>| {
            loop {
                if sender.left == 0 {
                    return BodyPoll::Exit(Reason::NORMAL);
                }
                sender.send(|to, mail| cx.send(to, mail).map_err(SendError::into_message));
                if chance(3) {
                    return BodyPoll::Yield;
                }
            }
        });
        senders.push(ground.guest().with(|host| host.spawn(&options, sender)).expect("the table has a free slot").pid);
    }
    let hosts = senders.len();
    facts.with(|facts| facts.senders = senders);
    for who in 0..2 {
        let mut receiver = Receiver { who, begun: false, facts: facts.clone(), picky: chance(2) };
        let receiver = body(lives.begin(), move |cx| receiver.resume(cx));
        let pid = ground.guest().with(|host| host.spawn(&options, receiver)).expect("the table has a free slot").pid;
        facts.with(|facts| facts.receivers.push(pid));
    }
    let relay = body(lives.begin(), relay(facts.clone()));
    let relay = ground.guest().with(|host| host.spawn(&options, relay)).expect("the table has a free slot").pid;
    facts.with(|facts| facts.relay = Some(relay));
    ground.start();
    let (killed, kills) = (random(4), chance(2));
    for from in hosts..hosts + 1 + random(2) {
        let mut sender = Sender { from, left: 2 + random(4), facts: facts.clone(), lives: lives.clone(), wrong };
        ground.host(move |guest| {
            while sender.left > 0 {
                sender.send(|to, mail| guest.with(|host| host.send(to, mail).map_err(SendError::into_message)));
                if from == hosts && kills && sender.left == killed {
                    let relay = sender.facts.with(|facts| {
                        facts.relay_was_killed = true;
                        facts.relay.expect("the relay has been started")
                    });
                    guest.kill(relay);
                }
            }
        });
    }
    ground.settle();
    facts.with(|facts| {
        for (way, sent) in &facts.sent {
            let got = facts.got.get(way).copied().unwrap_or_default();
            let may_end_early = way.0.relayed && facts.relay_was_killed;
            assert!(got == *sent || may_end_early && got < *sent, "{got} of {sent} have arrived by {way:?}");
        }
    });
    for pid in facts.with(|facts| facts.receivers.clone()) {
        assert!(ground.guest().kill(pid), "the process was alive");
    }
    ground.guest().kill(relay);
    ground.settle();
    ground.finish();
    assert_eq!(lives.count(), 0, "bodies or messages have leaked");
}

#[test]
fn order() {
    web("order", || play(Wrong::Nothing));
}

#[test]
fn order_mutant_two_ways() {
    mutant("order: two routes where one is due", || play(Wrong::TwoWays));
}

#[test]
fn order_mutant_loses_the_last() {
    mutant("order: dies before its last message", || play(Wrong::LosesTheLast));
}
