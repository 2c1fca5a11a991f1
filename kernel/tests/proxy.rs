//! A process that stands for one elsewhere (`SpawnOptions::proxy`): what reaches it, and in which
//! order; and a process that takes messages of all types.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atropos_kernel::{AnyMessage, BodyPoll, Context, Cx, Options, Pid, Reason, Received, SendError, SpawnOptions};

use common::{Stage, does};

/// What a proxy has received, as text.
type Heard = Arc<Mutex<Vec<String>>>;

fn text(received: Received<AnyMessage>) -> String {
    match received {
        Received::Message(message) => match (message.downcast_ref::<u8>(), message.downcast_ref::<&str>()) {
            (Some(number), _) => format!("u8 {number}"),
            (_, Some(text)) => format!("str {text}"),
            _ => "unknown".to_owned(),
        },
        Received::Exit(exit) => format!("{:?} {} {}", exit.cause, exit.reason, exit.from.is_some()),
        Received::Down(down) => format!("down {}", down.reason),
        Received::Timer { message, .. } => format!("timer {}", message.is::<u8>()),
    }
}

fn spawn_proxy(stage: &Stage, options: &SpawnOptions<'_>) -> (Pid, Heard) {
    let heard = Heard::default();
    let noted = heard.clone();
    let listen = does(move |cx: &Cx<'_, AnyMessage>| {
        while let Some(received) = cx.receive() {
            noted.lock().unwrap().push(text(received));
        }
        BodyPoll::Wait
    });
    (stage.host().spawn(options, listen).unwrap().pid, heard)
}

fn proxy() -> SpawnOptions<'static> {
    SpawnOptions::new().proxy()
}

fn words(heard: &Heard) -> Vec<String> {
    std::mem::take(&mut *heard.lock().unwrap())
}

/// Runs `act` in a process that then waits until it is told to go.
fn acts(stage: &mut Stage, act: impl FnOnce(&Context<()>) + Send + 'static) -> Pid {
    let start = async move |cx: Context<()>| {
        act(&cx);
        cx.recv().await;
    };
    let pid = stage.host().spawn_async(&SpawnOptions::new(), start).unwrap().pid();
    stage.settle();
    pid
}

#[test]
fn a_proxy_is_told_of_links_in_order() {
    let mut stage = Stage::new(Options::default());
    let (proxy, heard) = spawn_proxy(&stage, &proxy());
    // The proxy sleeps, so that the links take the short way.
    stage.settle();
    let linker = acts(&mut stage, move |cx| {
        cx.send(proxy, 1_u8).unwrap();
        cx.link(proxy).unwrap();
        cx.link(proxy).unwrap();
        cx.send(proxy, "text").unwrap();
        cx.unlink(proxy);
        cx.unlink(proxy);
        cx.send(proxy, 2_u8).unwrap();
        cx.link(proxy).unwrap();
    });
    let told = ["u8 1", "Linked normal true", "str text", "Unlinked normal true", "u8 2", "Linked normal true"];
    assert_eq!(words(&heard), told);
    stage.host().send(linker, ()).unwrap();
    stage.settle();
    assert_eq!(words(&heard), ["Link normal true"], "the end of the linker comes last");
}

#[test]
fn a_link_on_behalf_of_a_sleeping_process_is_told() {
    let mut stage = Stage::new(Options::default());
    let (proxy, heard) = spawn_proxy(&stage, &proxy());
    let linker = acts(&mut stage, |_| ());
    stage.host().act_as(linker, |caller| caller.link(proxy, true)).unwrap();
    stage.settle();
    assert_eq!(words(&heard), ["Linked normal true"]);
    stage.host().act_as(linker, |caller| caller.unlink(proxy)).unwrap();
    stage.host().send(linker, ()).unwrap();
    stage.settle();
    assert_eq!(words(&heard), ["Unlinked normal true"]);
}

#[test]
fn a_kill_by_a_process_is_an_exit_and_one_by_the_host_kills() {
    let mut stage = Stage::new(Options::default());
    let (proxy, heard) = spawn_proxy(&stage, &proxy());
    stage.settle();
    acts(&mut stage, move |cx| {
        cx.exit(proxy, Reason::KILL).unwrap();
        cx.exit_inline(proxy, Reason::KILL).unwrap();
        cx.exit(proxy, Reason::SHUTDOWN).unwrap();
    });
    stage.host().exit_from(Pid::from_raw(proxy.to_raw()).unwrap(), proxy, Reason::NORMAL).unwrap();
    stage.settle();
    let told = ["Signal kill true", "Signal kill true", "Signal shutdown true", "Signal normal true"];
    assert_eq!(words(&heard), told);
    assert!(stage.host().is_alive(proxy));
    stage.host().exit(proxy, Reason::KILL).unwrap();
    stage.settle();
    assert!(!stage.host().is_alive(proxy));
}

#[test]
fn any_other_process_gets_none_of_it() {
    let mut stage = Stage::new(Options::default());
    let (plain, heard) = spawn_proxy(&stage, &SpawnOptions::new().trap_exit(true));
    stage.settle();
    acts(&mut stage, move |cx| {
        cx.link(plain).unwrap();
        cx.unlink(plain);
        cx.exit(plain, Reason::KILL).unwrap();
    });
    assert_eq!(words(&heard), [""; 0]);
    assert!(!stage.host().is_alive(plain));
}

#[test]
fn messages_of_all_types_come_in_boxes() {
    let mut stage = Stage::new(Options::default());
    let (all, heard) = spawn_proxy(&stage, &SpawnOptions::new());
    acts(&mut stage, move |cx| {
        cx.send(all, 7_u8).unwrap();
        let boxed: AnyMessage = Box::new("boxed by its sender");
        cx.send(all, boxed).unwrap();
        cx.start_timer(all, Duration::from_millis(1), 8_u8).unwrap();
        // A request is a message as well.
        drop(cx.with(|cx| cx.request(all, |reply: atropos_kernel::Reply<u8>| reply)).unwrap());
    });
    stage.pass(Duration::from_millis(2));
    assert_eq!(words(&heard), ["u8 7", "str boxed by its sender", "unknown", "timer true"]);
}

#[test]
fn a_box_that_is_refused_gives_its_message_back() {
    let mut stage = Stage::new(Options::default());
    let (all, heard) = spawn_proxy(&stage, &SpawnOptions::new().mailbox_limit(1));
    let host = stage.host();
    host.send(all, 1_u8).unwrap();
    assert_eq!(host.send(all, "second"), Err(SendError::Full("second")));
    drop(host);
    // The sender waits for a slot, and gets it.
    let start = async move |cx: Context<()>| cx.send_wait(all, "third", None).await.unwrap();
    let sender = stage.host().spawn_async(&SpawnOptions::new(), start).unwrap().pid();
    stage.settle();
    assert_eq!(words(&heard), ["u8 1", "str third"]);
    assert!(!stage.host().is_alive(sender));
    stage.host().exit(all, Reason::KILL).unwrap();
    stage.settle();
    assert_eq!(stage.host().send(all, "late"), Err(SendError::NoProc("late")));
}
