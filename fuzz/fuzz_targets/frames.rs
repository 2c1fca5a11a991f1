//! Fuzzing of what a connected peer sends: frames, fragments, control messages. The receiver never
//! panics, reads the same however the bytes are cut, holds no more than its limit, and what it
//! reads can be written and read back.
#![no_main]

use atropos_dist::term::Limits;
use atropos_dist::wire::{Encoded, Event, Flags, Received, Receiver, WireError, WireLimits, encode};
use bytes::{BufMut as _, BytesMut};

const LIMITS: WireLimits = WireLimits { frame: 4096, message: 16_384, terms: Limits { depth: 100 } };

/// The forms of frames that peers agree on, by what the fuzzer chooses.
fn agreed(choice: u8) -> Flags {
    let mut flags = Flags::HIDDEN_NODE;
    for (bit, flag) in [(1, Flags::FRAGMENTS), (2, Flags::EXIT_PAYLOAD), (4, Flags::SEND_SENDER), (8, Flags::UNLINK_ID)]
    {
        if choice & bit == 0 {
            flags = flags.difference(flag);
        }
    }
    if choice & 16 == 0 { flags } else { flags.union(Flags::DIST_HDR_ATOM_CACHE) }
}

/// Returns the messages, ticks (`None`) and the error of a stream that comes in pieces.
fn receive(flags: Flags, stream: &[u8], piece: usize) -> (Vec<Option<Received>>, Option<WireError>) {
    let (mut receiver, mut events) = (Receiver::new(flags, LIMITS, BytesMut::new()), Vec::new());
    for bytes in stream.chunks(piece) {
        receiver.space().put_slice(bytes);
        loop {
            match receiver.next() {
                Ok(Some(Event::Message(message))) => events.push(Some(message)),
                Ok(Some(Event::Tick)) => events.push(None),
                Ok(Some(Event::Part)) => {}
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
            assert!(receiver.held() <= LIMITS.message);
        }
    }
    (events, None)
}

fn same(left: &[Option<Received>], right: &[Option<Received>]) -> bool {
    let key = |event: &Option<Received>| event.as_ref().map(|event| (event.control.clone(), event.payload.clone()));
    left.iter().map(key).eq(right.iter().map(key))
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&[choice, piece], rest)) = bytes.split_first_chunk() else { return };
    let flags = agreed(choice);
    // A frame of the fuzzer's is a length of one byte and as many bytes, so that lengths are right.
    let mut stream = Vec::new();
    if choice & 32 == 0 {
        let mut rest = rest;
        while let Some((&length, more)) = rest.split_first() {
            let (frame, after) = more.split_at(usize::from(length).min(more.len()));
            stream.put_u32(frame.len() as u32);
            stream.put_slice(frame);
            rest = after;
        }
    } else {
        stream.extend_from_slice(rest);
    }
    let (events, error) = receive(flags, &stream, stream.len().max(1));
    let (cut, cut_error) = receive(flags, &stream, usize::from(piece) + 1);
    assert!(same(&events, &cut) && error == cut_error);
    for message in events.iter().flatten() {
        let Ok(control) = message.read() else { continue };
        let mut written = BytesMut::new();
        match encode(&control, flags, &mut written) {
            Ok(Encoded::Whole) => {}
            Ok(Encoded::Large(_)) => unreachable!("frames are shorter than that"),
            Err(_) => {
                assert!(written.is_empty());
                continue;
            }
        }
        // Rewritten terms may be longer than they were.
        let limits = WireLimits::default();
        let mut receiver = Receiver::new(flags, limits, written);
        let Ok(Some(Event::Message(again))) = receiver.next() else { panic!("what was written is a message") };
        let again = again.read().expect("a control message");
        assert_eq!(again.name(), expected_name(control.name(), flags));
        if again.name() == control.name() && flags.contains(Flags::SEND_SENDER) {
            assert_eq!(again, control);
        }
    }
});

/// The message that takes the place of one that a peer does not know.
fn expected_name(name: &'static str, flags: Flags) -> &'static str {
    if name == "UNLINK_ID" && !flags.contains(Flags::UNLINK_ID) { "UNLINK" } else { name }
}
