//! State machines: the rules of their documentation (M1 to M5), and the door of OTP's manual.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atropos_kernel::{Context, Reason, Reply};
use atropos_otp::statem::{Driver, Functions, Signal, StateFn};
use atropos_otp::{CallError, EnterActions, Event, InitError, MachineCx, ServerRef, StateMachine, Transition};
use common::{Bed, boom, crash, lock};

type Log = Arc<Mutex<Vec<String>>>;

/// A machine that does what its events say, and records what happens.
struct Scripted {
    log: Log,
    at_init: Option<InitError>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    A,
    B,
    C,
}

enum Input {
    Go(State),
    Repeat,
    /// Postponed in `A`, recorded in other states.
    NotInA(u32),
    Insert(Vec<u32>, Option<State>),
    Note(u32),
    Silence(Duration),
    StateTimeout(Duration),
    Named(&'static str, Duration),
    Cancel(&'static str),
    Watch(atropos_kernel::Pid),
    Where(Reply<State>),
    Panic,
    Stop(Reason),
}

impl Scripted {
    fn note(&self, what: impl Into<String>) {
        lock(&self.log).push(what.into());
    }
}

impl StateMachine for Scripted {
    type State = State;
    type Message = Input;

    async fn init(&mut self, _: MachineCx<'_, Self>) -> Result<State, InitError> {
        self.at_init.take().map_or(Ok(State::A), Err)
    }

    async fn handle(&mut self, state: &State, happened: Event<Self>, cx: MachineCx<'_, Self>) -> Transition<Self> {
        let event = match happened {
            Event::Message(Input::NotInA(n)) | Event::Internal(Input::NotInA(n)) if *state == State::A => {
                return Transition::keep().postpone(Event::Message(Input::NotInA(n)));
            }
            Event::Message(event) | Event::Internal(event) => event,
            Event::Signal(Signal::Down(down)) => {
                self.note(format!("down {}", down.reason));
                return Transition::keep();
            }
            other => {
                self.note(format!("{other:?} in {state:?}"));
                return Transition::keep();
            }
        };
        match event {
            Input::Go(to) => return Transition::to(to),
            Input::Repeat => return Transition::repeat(),
            Input::NotInA(n) | Input::Note(n) => self.note(format!("{n} in {state:?}")),
            Input::Insert(numbers, to) => {
                let step = to.map_or_else(Transition::keep, Transition::to);
                return numbers.into_iter().fold(step, |step, n| step.next(Input::Note(n)));
            }
            Input::Silence(time) => return Transition::keep().event_timeout(time),
            Input::StateTimeout(time) => return Transition::keep().state_timeout(time),
            Input::Named(name, time) => return Transition::keep().timeout(name, time),
            Input::Cancel(name) => return Transition::keep().cancel_timeout(name),
            Input::Watch(pid) => drop(cx.monitor(pid)),
            Input::Where(reply) => reply.send(*state),
            Input::Panic => crash("in a state"),
            Input::Stop(reason) => return Transition::stop(reason),
        }
        Transition::keep()
    }

    async fn enter(&mut self, from: &State, state: &State, _: MachineCx<'_, Self>) -> EnterActions<Self> {
        self.note(format!("{from:?}>{state:?}"));
        if *state == State::C { EnterActions::new().state_timeout(Duration::from_secs(1)) } else { EnterActions::new() }
    }

    async fn terminate(&mut self, reason: &Reason, state: Option<&State>, _: MachineCx<'_, Self>) {
        self.note(format!("terminate {reason} in {state:?}"));
    }
}

/// Returns what a scripted machine records while `script` sends it events.
fn watch<S, F>(script: S) -> Vec<String>
where
    S: FnOnce(Context<()>, ServerRef<Driver<Scripted>>) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let mut bed = Bed::new(2, 3);
    let log = Log::default();
    let inner = log.clone();
    bed.run(move |cx: Context<()>| async move {
        let machine = Scripted { log: inner, at_init: None }.start().start(&cx).await.expect("up");
        script(cx, machine).await;
    });
    bed.settle();
    std::mem::take(&mut *lock(&log))
}

#[test]
fn m1_inserted_events_come_first_in_their_order() {
    let log = watch(|cx, machine| async move {
        machine.send(&cx, Input::Insert(vec![1, 2, 3], None)).expect("alive");
        machine.send(&cx, Input::Note(4)).expect("alive");
        machine.ask(&cx, Input::Where).await.expect("alive");
    });
    assert_eq!(log, ["A>A", "1 in A", "2 in A", "3 in A", "4 in A"]);
}

#[test]
fn m2_postponed_events_wait_for_a_state_change_and_keep_their_order() {
    let log = watch(|cx, machine| async move {
        for n in [1, 2] {
            machine.send(&cx, Input::NotInA(n)).expect("alive");
        }
        machine.send(&cx, Input::Repeat).expect("alive");
        machine.send(&cx, Input::Go(State::A)).expect("alive");
        machine.send(&cx, Input::NotInA(3)).expect("alive");
        machine.send(&cx, Input::Insert(vec![10, 11], Some(State::B))).expect("alive");
        machine.send(&cx, Input::NotInA(4)).expect("alive");
        assert_eq!(machine.ask(&cx, Input::Where).await, Ok(State::B));
    });
    let expected = ["A>A", "A>A", "A>B", "10 in B", "11 in B", "1 in B", "2 in B", "3 in B", "4 in B"];
    assert_eq!(log, expected);
}

#[test]
fn m3_a_state_is_entered_before_any_event_in_it() {
    let log = watch(|cx, machine| async move {
        machine.send(&cx, Input::NotInA(1)).expect("alive");
        machine.send(&cx, Input::Go(State::B)).expect("alive");
        machine.send(&cx, Input::Go(State::B)).expect("alive");
        machine.send(&cx, Input::Repeat).expect("alive");
        machine.ask(&cx, Input::Where).await.expect("alive");
    });
    assert_eq!(log, ["A>A", "A>B", "1 in B", "B>B"]);
}

#[test]
fn m4_timeouts_end_with_the_event_the_state_or_by_name() {
    let second = Duration::from_secs(1);
    let log = watch(move |cx, machine| async move {
        let send = |event| machine.send(&cx, event).expect("alive");
        send(Input::Silence(second));
        cx.sleep(second / 2).await;
        send(Input::Note(1));
        cx.sleep(second * 2).await;
        send(Input::Silence(second));
        cx.sleep(second * 2).await;

        send(Input::StateTimeout(second));
        cx.sleep(second / 2).await;
        send(Input::Note(2));
        cx.sleep(second).await;
        send(Input::StateTimeout(second));
        send(Input::Go(State::B));
        cx.sleep(second * 2).await;

        send(Input::Named("x", second));
        send(Input::Named("y", second));
        send(Input::Named("z", second));
        send(Input::Go(State::A));
        send(Input::Named("x", second * 2));
        send(Input::Cancel("z"));
        cx.sleep(second * 3 / 2).await;
        send(Input::Note(3));
        cx.sleep(second).await;
        send(Input::Go(State::C));
        cx.sleep(second * 2).await;
    });
    let expected = [
        "A>A",
        "1 in A",
        "EventTimeout in A",
        "2 in A",
        "StateTimeout in A",
        "A>B",
        "B>A",
        "Timeout(\"y\") in A",
        "3 in A",
        "Timeout(\"x\") in A",
        "A>C",
        "StateTimeout in C",
    ];
    assert_eq!(log, expected);
}

#[test]
fn m4_a_timeout_that_is_due_already_and_cancelled_never_comes() {
    // The timer's message is in the mailbox, behind the event that cancels it.
    let log = watch(|cx, machine| async move {
        machine.send(&cx, Input::Named("x", Duration::from_millis(10))).expect("alive");
        machine.ask(&cx, Input::Where).await.expect("alive");
        machine.suspend(&cx).await.expect("alive");
        machine.send(&cx, Input::Cancel("x")).expect("alive");
        machine.send(&cx, Input::Named("x", Duration::from_secs(1))).expect("alive");
        cx.sleep(Duration::from_millis(500)).await;
        machine.resume(&cx).await.expect("alive");
        machine.send(&cx, Input::Note(1)).expect("alive");
        cx.sleep(Duration::from_secs(2)).await;
    });
    assert_eq!(log, ["A>A", "1 in A", "Timeout(\"x\") in A"]);
}

#[test]
fn m5_zero_timeout_comes_before_external_events() {
    let log = watch(|cx, machine| async move {
        machine.suspend(&cx).await.expect("alive");
        machine.send(&cx, Input::Named("x", Duration::ZERO)).expect("alive");
        machine.send(&cx, Input::Note(1)).expect("alive");
        machine.resume(&cx).await.expect("alive");
        machine.ask(&cx, Input::Where).await.expect("alive");
    });
    assert_eq!(log, ["A>A", "Timeout(\"x\") in A", "1 in A"]);
}

#[test]
fn receives_downs_and_exits_as_a_server_does() {
    let log = watch(|cx, machine| async move {
        let short = cx.spawn(|_: Context<()>| async { boom() }).expect("space");
        machine.send(&cx, Input::Watch(short.pid())).expect("alive");
        cx.sleep(Duration::from_millis(1)).await;
        machine.send(&cx, Input::Go(State::B)).expect("alive");
        assert_eq!(machine.with_state(&cx, |driver| driver.state().copied()).await, Ok(Some(State::B)));
        machine.send(&cx, Input::Stop(boom())).expect("alive");
        assert_eq!(machine.ask(&cx, Input::Where).await, Err(CallError::Down(boom())));
    });
    // The child may have exited before it is monitored.
    assert!(log[1].starts_with("down "), "{log:?}");
    assert_eq!(log[2..], ["A>B", "terminate \"boom\" in Some(B)"]);
    let log = watch(|cx, machine| async move {
        machine.send(&cx, Input::Panic).expect("alive");
        let ended = machine.ask(&cx, Input::Where).await;
        assert_eq!(ended, Err(CallError::Down(Reason::crash("in a state"))));
    });
    assert_eq!(log, ["A>A", "terminate crash: in a state in Some(A)"]);
}

#[test]
fn a_machine_that_refuses_does_not_start() {
    let mut bed = Bed::new(1, 1);
    bed.run(|cx: Context<()>| async move {
        let machine = Scripted { log: Log::default(), at_init: Some(InitError::Stop(boom())) };
        let refused = machine.start().start_link(&cx).await.map(|_| ());
        assert_eq!(refused, Err(atropos_otp::StartError::Refused(boom())));
        let machine = Scripted { log: Log::default(), at_init: Some(InitError::Ignore) };
        assert_eq!(machine.start().start_link_optional(&cx).await, Ok(None));
    });
}

/// A door with a code lock, with state functions: the example of OTP's manual.
struct Door {
    code: Vec<u8>,
    left: Vec<u8>,
}

enum Press {
    Button(u8),
    IsOpen(Reply<bool>),
}

type DoorMachine = Functions<Door, Press>;
type DoorState = StateFn<Door, Press>;

const LOCKED: DoorState = StateFn::new("locked", locked);
const OPEN: DoorState = StateFn::new("open", open);

fn locked(door: &mut Door, happened: Event<DoorMachine>, _: MachineCx<'_, DoorMachine>) -> Transition<DoorMachine> {
    match happened {
        Event::Message(Press::Button(button)) if door.left.last() == Some(&button) => {
            door.left.pop();
            if door.left.is_empty() {
                return Transition::to(OPEN).state_timeout(Duration::from_secs(10));
            }
        }
        Event::Message(Press::Button(_)) => reset(door),
        Event::Message(Press::IsOpen(reply)) => reply.send(false),
        _ => {}
    }
    Transition::keep()
}

fn open(door: &mut Door, happened: Event<DoorMachine>, _: MachineCx<'_, DoorMachine>) -> Transition<DoorMachine> {
    match happened {
        Event::StateTimeout => {
            reset(door);
            Transition::to(LOCKED)
        }
        Event::Message(Press::IsOpen(reply)) => {
            reply.send(true);
            Transition::keep()
        }
        button => Transition::keep().postpone(button),
    }
}

fn reset(door: &mut Door) {
    door.left = door.code.iter().rev().copied().collect();
}

#[test]
fn door_with_state_functions() {
    let mut bed = Bed::new(1, 1);
    bed.run(|cx: Context<()>| async move {
        let mut door = Door { code: vec![1, 2, 3], left: Vec::new() };
        reset(&mut door);
        let door = Functions::new(door, LOCKED).start().start(&cx).await.expect("up");
        let press = |button| door.send(&cx, Press::Button(button)).expect("alive");
        [1, 2, 2].into_iter().for_each(press);
        assert_eq!(door.ask(&cx, Press::IsOpen).await, Ok(false));
        [1, 2, 3].into_iter().for_each(press);
        assert_eq!(door.ask(&cx, Press::IsOpen).await, Ok(true));
        // Buttons pressed while it is open are postponed, and count when it is locked again.
        [1, 2].into_iter().for_each(press);
        cx.sleep(Duration::from_secs(11)).await;
        assert_eq!(door.ask(&cx, Press::IsOpen).await, Ok(false));
        press(3);
        assert_eq!(door.ask(&cx, Press::IsOpen).await, Ok(true));
    });
}
