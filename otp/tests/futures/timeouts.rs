//! A timeout of zero that is cancelled.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{Bed, lock};
use atropos_kernel::{Context, Reason};
use atropos_otp::{Event, InitError, MachineCx, StateMachine, Transition};

use crate::ms;

type Log = Arc<Mutex<Vec<String>>>;
type On = fn(char, &str) -> Transition<Zero>;

/// A machine that records its events, and does what its function returns.
struct Zero(On, Log);

impl StateMachine for Zero {
    type State = char;
    type Message = u8;

    async fn init(&mut self, _: MachineCx<'_, Self>) -> Result<char, InitError> {
        Ok('a')
    }

    async fn handle(&mut self, state: &char, happened: Event<Self>, _: MachineCx<'_, Self>) -> Transition<Self> {
        let what = match &happened {
            Event::Message(9) if *state == 'a' => return Transition::keep().postpone(happened),
            Event::Message(n) => format!("{n}"),
            Event::Internal(n) => format!("in{n}"),
            Event::EventTimeout => "event".into(),
            Event::StateTimeout => "state".into(),
            Event::Timeout(name) => (*name).into(),
            Event::Signal(_) => "signal".into(),
        };
        lock(&self.1).push(format!("{state}:{what}"));
        (self.0)(*state, &what)
    }
}

/// Issue 14, 18: the behaviour of OTP's `gen_statem` in the same scenes. All events are queued
/// before the first is handled.
#[test]
fn n18_cancelled_zero_timeout_never_fires() {
    const ZERO: Duration = Duration::ZERO;
    let scenes: [(&[u8], On, &str); 15] = [
        (
            &[0],
            |s, e| match (s, e) {
                ('a', "0") => Transition::to('b').state_timeout(ZERO).next(1),
                ('b', "in1") => Transition::to('c'),
                _ => Transition::keep(),
            },
            "a:0 b:in1",
        ),
        (
            &[0],
            |_, e| match e {
                "0" => Transition::keep().event_timeout(ZERO).next(1),
                _ => Transition::keep(),
            },
            "a:0 a:in1",
        ),
        (
            &[0],
            |_, e| match e {
                "0" => Transition::keep().timeout("n", ZERO).next(1),
                "in1" => Transition::keep().cancel_timeout("n"),
                _ => Transition::keep(),
            },
            "a:0 a:in1",
        ),
        (
            &[0],
            |_, e| match e {
                "0" => Transition::keep().timeout("n", ZERO).next(1),
                "in1" => Transition::keep().timeout("n", Duration::from_millis(5)),
                _ => Transition::keep(),
            },
            "a:0 a:in1 a:n",
        ),
        (
            &[0],
            |_, e| match e {
                "0" => Transition::keep().timeout("n", ZERO).next(1),
                "in1" => Transition::keep().timeout("n", Duration::from_secs(3600)),
                _ => Transition::keep(),
            },
            "a:0 a:in1",
        ),
        (
            &[0],
            |_, e| match e {
                "0" => Transition::to('b').state_timeout(ZERO).cancel_state_timeout(),
                _ => Transition::keep(),
            },
            "a:0",
        ),
        (
            &[0],
            |_, e| match e {
                "0" => Transition::to('b').state_timeout(ZERO).state_timeout(ZERO),
                _ => Transition::keep(),
            },
            "a:0 b:state",
        ),
        (
            &[9, 0],
            |_, e| match e {
                "0" => Transition::to('b').state_timeout(ZERO),
                "9" => Transition::to('c'),
                _ => Transition::keep(),
            },
            "a:0 b:9",
        ),
        (
            &[0],
            |_, e| match e {
                "0" => Transition::keep().event_timeout(ZERO),
                _ => Transition::keep(),
            },
            "a:0 a:event",
        ),
        (
            &[0, 1],
            |_, e| match e {
                "0" => Transition::keep().event_timeout(ZERO),
                _ => Transition::keep(),
            },
            "a:0 a:event a:1",
        ),
        (
            &[0],
            |_, e| match e {
                "0" => Transition::to('b').timeout("n", ZERO).timeout("m", ZERO).cancel_timeout("n"),
                _ => Transition::keep(),
            },
            "a:0 b:m",
        ),
        (
            &[0],
            |_, e| match e {
                "0" => Transition::keep().state_timeout(ZERO).event_timeout(ZERO),
                _ => Transition::keep(),
            },
            "a:0 a:state",
        ),
        (
            &[0],
            |_, e| match e {
                "0" => Transition::keep().timeout("n", ZERO).timeout("m", ZERO),
                "n" => Transition::keep().cancel_timeout("m"),
                _ => Transition::keep(),
            },
            "a:0 a:n",
        ),
        (
            &[0],
            |s, e| match (s, e) {
                ('a', "0") => Transition::keep().state_timeout(ZERO).timeout("n", ZERO),
                ('a', "state") => Transition::to('b'),
                _ => Transition::keep(),
            },
            "a:0 a:state b:n",
        ),
        // A restarted timeout goes behind those that were started in between.
        (
            &[0],
            |_, e| match e {
                "0" => Transition::keep().timeout("n", ZERO).timeout("m", ZERO).timeout("n", ZERO),
                _ => Transition::keep(),
            },
            "a:0 a:m a:n",
        ),
    ];
    for (events, on, expected) in scenes {
        let log = Log::default();
        let noted = log.clone();
        let mut bed = Bed::new(1, 1);
        bed.run(async move |cx: Context<()>| {
            let machine = Zero(on, noted).start().start(&cx).await.unwrap();
            machine.suspend(&cx).await.unwrap();
            for event in events {
                machine.send(&cx, *event).unwrap();
            }
            machine.resume(&cx).await.unwrap();
            cx.sleep(ms(50)).await;
            machine.stop(&cx, Reason::NORMAL, None).await.unwrap();
        });
        assert_eq!(lock(&log).join(" "), expected);
    }
}
