//! Models of aliases. A message sent through an ended alias is not delivered. An alias that ends
//! with a reply lets one reply pass. A message that is not delivered is freed (`alias`).
#![cfg(loom)]

use std::sync::atomic::{AtomicUsize, Ordering as Plain};
use std::sync::{Arc, Mutex};

use atropos_kernel::{
    Alias, AliasMode, BodyPoll, Cx, Host, Kernel, Limits, Options, Pid, Reason, Received, SendTarget, SpawnOptions,
};
use atropos_loom::host::{Canary, Outcomes, body, core, member, spawn, with};
use atropos_loom::{model, mutant};
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

/// A message to the owner of the alias.
enum Letter {
    /// Ends the alias.
    End,
    /// A reply; `true` when its sender knew that the alias had ended.
    Reply(bool, Canary),
}

/// The owner's count of received signals.
#[derive(Default)]
struct Got {
    replies: AtomicUsize,
    late: AtomicUsize,
    downs: AtomicUsize,
    after_down: AtomicUsize,
}

impl Got {
    /// Reads all that waits. Returns `true` if a message asks to end the alias.
    fn read(&self, cx: &Cx<'_, Letter>) -> bool {
        let mut ends = false;
        while let Some(received) = cx.receive() {
            match received {
                Received::Message(Letter::End) => ends = true,
                Received::Message(Letter::Reply(late, canary)) => {
                    canary.sing();
                    self.replies.fetch_add(1, Plain::Relaxed);
                    self.late.fetch_add(usize::from(late), Plain::Relaxed);
                    self.after_down.fetch_add(self.downs.load(Plain::Relaxed), Plain::Relaxed);
                }
                Received::Down(_) => {
                    self.downs.fetch_add(1, Plain::Relaxed);
                }
                _ => unreachable!("the owner traps no exits and starts no timers"),
            }
        }
        ends
    }
}

fn limited() -> Arc<Kernel> {
    let limits = Limits { processes: 4, names: 1, timers: 1, nodes: 16, kept: 0 };
    with(Options { limits, ..Options::default() }).0
}

/// Starts a process with an alias that `make` makes in its first slice. It does `then` in every
/// later slice.
fn owner(
    kernel: &Arc<Kernel>,
    core: &mut atropos_kernel::Core,
    make: impl Fn(&Cx<'_, Letter>) -> Alias + Send + 'static,
    then: impl Fn(&Cx<'_, Letter>, Alias) + Send + 'static,
) -> (Pid, Alias) {
    let made = Arc::new(Mutex::new(None));
    let (place, mut alias) = (made.clone(), None);
    let pid = spawn(kernel, &member(kernel), 0, move |cx: &Cx<'_, Letter>| {
        match alias {
            None => {
                let new = make(cx);
                alias = Some(new);
                *place.lock().unwrap() = Some(new);
            }
            Some(alias) => then(cx, alias),
        }
        BodyPoll::Wait
    });
    let _ = core.run(1);
    let alias = made.lock().unwrap().take().expect("the owner has run");
    (pid, alias)
}

/// Checks the end of an execution: every message is freed, and so are the alias and its owner.
fn nothing_is_left(kernel: &Kernel, core: &mut atropos_kernel::Core, owner: Pid, ends: &[Arc<AtomicUsize>]) {
    let _ = core.run(4);
    for ends in ends {
        assert_eq!(ends.load(Plain::Relaxed), 1, "read, or dropped");
    }
    let _ = Host::new(kernel, &member(kernel)).exit(owner, Reason::KILL).unwrap();
    let _ = core.run(4);
    assert_eq!(kernel.nodes_used(), 0, "freed");
}

/// The fault of a mutant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// The reply is sent to the process and not through the alias.
    ByPid,
    /// The owner announces that the alias has ended, reads its mailbox, and only then ends it.
    SaidFirst,
}

/// A reply, while the owner ends its alias: a reply sent after that is not delivered.
fn reply_or_unalias(outcomes: &Outcomes, wrong: Wrong) {
    let kernel = limited();
    let mut core = core(&kernel, 0);
    let (got, ended) = (Arc::new(Got::default()), Arc::new(AtomicBool::new(false)));
    let (reads, says) = (got.clone(), ended.clone());
    let (pid, alias) = owner(
        &kernel,
        &mut core,
        |cx| cx.alias(false).unwrap(),
        move |cx, alias| {
            if !reads.read(cx) {
                return;
            }
            if wrong == Wrong::SaidFirst {
                says.store(true, Ordering::Release);
                reads.read(cx);
                cx.unalias(alias);
            } else {
                assert!(cx.unalias(alias));
                says.store(true, Ordering::Release);
            }
            reads.read(cx);
        },
    );
    let (canary, ends) = Canary::new();
    let sender = {
        let (kernel, theirs) = (kernel.clone(), member(&kernel));
        thread::spawn(move || {
            let host = Host::new(&kernel, &theirs);
            let reply = Letter::Reply(ended.load(Ordering::Acquire), canary);
            if wrong == Wrong::ByPid {
                assert!(host.send(pid, reply).is_ok());
            } else {
                assert!(host.send_alias(alias, reply).is_ok(), "an ended alias drops it silently");
            }
            drop(host);
            theirs
        })
    };
    let ours = member(&kernel);
    assert!(Host::new(&kernel, &ours).send(pid, Letter::End).is_ok());
    let _ = core.run(2);
    drop(sender.join().unwrap());
    let _ = core.run(2);
    assert_eq!(got.late.load(Plain::Relaxed), 0, "delivered after the alias has ended");
    outcomes.saw(got.replies.load(Plain::Relaxed));
    nothing_is_left(&kernel, &mut core, pid, &[ends]);
}

/// Two replies through an alias that ends with the first: one is delivered. `request`: `true` if
/// the alias ends with a reply.
fn two_replies(reply: bool) {
    let kernel = limited();
    let mut core = core(&kernel, 0);
    let got = Arc::new(Got::default());
    let reads = got.clone();
    let (pid, alias) = owner(
        &kernel,
        &mut core,
        move |cx| cx.alias(reply).unwrap(),
        move |cx, _| {
            reads.read(cx);
        },
    );
    let (first, second) = (Canary::new(), Canary::new());
    let senders: Vec<_> = [first.0, second.0]
        .into_iter()
        .map(|canary| {
            let (kernel, theirs) = (kernel.clone(), member(&kernel));
            thread::spawn(move || {
                assert!(Host::new(&kernel, &theirs).send_alias(alias, Letter::Reply(false, canary)).is_ok());
                theirs
            })
        })
        .collect();
    let _ = core.run(2);
    for sender in senders {
        drop(sender.join().unwrap());
    }
    let _ = core.run(2);
    assert_eq!(got.replies.load(Plain::Relaxed), 1, "the first ends the alias");
    nothing_is_left(&kernel, &mut core, pid, &[first.1, second.1]);
}

/// A reply through the alias of a monitor, while its target dies. No reply arrives after the DOWN,
/// and no DOWN arrives after a reply that ends the monitor. Exactly one of the two ends the owner's
/// call.
fn reply_or_down(outcomes: &Outcomes) {
    let kernel = limited();
    let mut core = core(&kernel, 0);
    let ours = member(&kernel);
    let target = {
        let waits = body(
            |cx: &Cx<'_, ()>| if cx.receive().is_some() { BodyPoll::Exit(Reason::NORMAL) } else { BodyPoll::Wait },
        );
        Host::new(&kernel, &ours).spawn(&SpawnOptions::new(), waits).unwrap().pid
    };
    let _ = core.run(1);
    let got = Arc::new(Got::default());
    let reads = got.clone();
    let (pid, alias) = owner(
        &kernel,
        &mut core,
        move |cx| {
            let monitor = cx.monitor_with(SendTarget::Pid(target), Some(AliasMode::ReplyDemonitor)).unwrap();
            Alias::new(cx.pid(), monitor)
        },
        move |cx, _| {
            reads.read(cx);
        },
    );
    let (canary, ends) = Canary::new();
    let sender = {
        let (kernel, theirs) = (kernel.clone(), member(&kernel));
        thread::spawn(move || {
            assert!(Host::new(&kernel, &theirs).send_alias(alias, Letter::Reply(false, canary)).is_ok());
            theirs
        })
    };
    Host::new(&kernel, &ours).send(target, ()).unwrap();
    let _ = core.run(4);
    drop(sender.join().unwrap());
    let _ = core.run(4);
    let (replies, downs) = (got.replies.load(Plain::Relaxed), got.downs.load(Plain::Relaxed));
    assert_eq!((replies + downs, got.after_down.load(Plain::Relaxed)), (1, 0), "a reply or a DOWN");
    outcomes.saw(replies);
    nothing_is_left(&kernel, &mut core, pid, &[ends]);
}

#[test]
fn protocol() {
    Outcomes::model("alias: reply, unalias", Some(2), 2, |outcomes| reply_or_unalias(outcomes, Wrong::Nothing));
    model("alias: reply, reply", Some(2), || two_replies(true));
    Outcomes::model("alias: reply, DOWN", Some(2), 2, reply_or_down);
}

#[test]
fn mutants() {
    mutant("alias, the reply goes to the pid", Some(2), || reply_or_unalias(&Outcomes::default(), Wrong::ByPid));
    mutant("alias, announced as ended before it is", Some(2), || {
        reply_or_unalias(&Outcomes::default(), Wrong::SaidFirst);
    });
    mutant("alias, one that does not end with the reply", Some(2), || two_replies(false));
}
