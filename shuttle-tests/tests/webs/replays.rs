//! A failure leaves a schedule that finds it again: of a faulty program, from the text and from a
//! file.

use std::fs;

use atropos_kernel::{BodyPoll, Cx, Received, SpawnOptions};
use atropos_shuttle::ground::{Ground, random};
use atropos_shuttle::notes::{Lives, Shared, body};
use atropos_shuttle::{Kind, quietly, replay, schedule_of, search};

/// Two hosts send to a process. A faulty program assumes that the first host's message comes first.
fn two_hosts(believes: bool) -> impl Fn() + Send + Sync + Clone + 'static {
    move || {
        let mut ground = Ground::new(2);
        let (got, lives) = (Shared::<Vec<(usize, usize)>>::default(), Lives::default());
        let reader = {
            let got = got.clone();
            body(lives.begin(), move |cx: &Cx<'_, (usize, usize)>| {
                while let Some(Received::Message(says)) = cx.receive() {
                    got.with(|got| got.push(says));
                }
                BodyPoll::Wait
            })
        };
        let reader = ground
            .guest()
            .with(|host| host.spawn(&SpawnOptions::new(), reader))
            .expect("the table has a free slot")
            .pid;
        ground.start();
        for who in 0..2_usize {
            ground.host(move |guest| {
                guest.with(|host| host.send(reader, (who, random(1000)))).expect("the reader lives");
            });
        }
        ground.settle();
        let got = got.with(|got| got.clone());
        assert!(!believes || got[0].0 == 0, "the second came first: {got:?}");
        ground.guest().kill(reader);
        ground.settle();
        ground.finish();
    }
}

#[test]
fn a_failure_replays_from_text_and_file() {
    for kind in [Kind::Random, Kind::Pct] {
        let (schedules, found) = quietly(|| search(kind, 1_000, two_hosts(true)));
        let found = found.expect("a schedule in which the second comes first");
        assert!(schedules < 1_000 && found.says.contains("the second came first"), "{}", found.says);

        let again = quietly(|| replay(&found.schedule, two_hosts(true))).expect("the replay fails again");
        // The random numbers in the messages are the same, too.
        assert_eq!(again.says, found.says);

        let file = std::env::temp_dir().join(format!("atropos-{}-{kind:?}.schedule", std::process::id()));
        fs::write(&file, &found.schedule).expect("the file can be written");
        let text = schedule_of(file.to_str().expect("a name that is text"));
        fs::remove_file(&file).expect("the file can be removed");
        assert_eq!(quietly(|| replay(&text, two_hosts(true))).expect("the replay fails again").says, found.says);

        assert!(replay(&found.schedule, two_hosts(false)).is_none(), "the correct program passes");
    }
}

#[test]
fn the_same_seed_gives_the_same_schedules() {
    let first = quietly(|| search(Kind::Random, 1_000, two_hosts(true))).1.expect("the faulty program fails");
    let second = quietly(|| search(Kind::Random, 1_000, two_hosts(true))).1.expect("the faulty program fails");
    assert_eq!((first.schedule, first.says), (second.schedule, second.says));
}
