//! Messages there and back, in each form that peers agree on.

use alloc::string::ToString as _;
use alloc::vec;
use alloc::vec::Vec;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::*;
use crate::term::{DecodeErrorKind, Limits, PidRef, ReferenceRef, ReferenceWords, Term, TermBuilder};

const PLAIN: Flags = Flags::HIDDEN_NODE.difference(Flags::FRAGMENTS);
const FULL: Flags = Flags::HIDDEN_NODE;
/// The flags of a peer that has only what it must have.
const LEAST: Flags = Flags::MANDATORY;

fn pid(node: &str, id: u32) -> PidRef<'_> {
    PidRef { node, id, serial: 2, creation: 3 }
}

fn reference(node: &str) -> ReferenceRef<'_> {
    ReferenceRef { node, creation: 3, words: ReferenceWords::new(&[4, 5, 6]).unwrap() }
}

fn all_messages(message: &Term) -> Vec<Control<'static>> {
    let (from, to, reference) = (pid("a@x", 1), pid("b@y", 9), reference("a@x"));
    let (id, message) = (u64::MAX, message.clone());
    vec![
        Control::Link { from, to },
        Control::Send { from: Some(from), to, message: message.clone() },
        Control::SendName { from, name: "kv", message: message.clone() },
        Control::SendAlias { from, alias: reference, message: message.clone() },
        Control::Exit { from, to, reason: message.clone() },
        Control::Exit2 { from, to, reason: message.clone() },
        Control::UnlinkOld { from, to },
        Control::Unlink { id, from, to },
        Control::UnlinkAck { id, from, to },
        Control::GroupLeader { leader: from, to },
        Control::Monitor { from, target: Target::Pid(to), reference },
        Control::Monitor { from, target: Target::Name("kv"), reference },
        Control::Demonitor { from, target: Target::Name("kv"), reference },
        Control::MonitorExit { from: Target::Pid(from), to, reference, reason: message.clone() },
        Control::MonitorExit { from: Target::Name("kv"), to, reference, reason: message.clone() },
        Control::SpawnRequest {
            id: reference,
            from,
            leader: to,
            module: "m",
            function: "f",
            arity: 300,
            options: Term::list([&Term::atom("link")]),
            arguments: message,
        },
        Control::SpawnReply { id: reference, to, flags: 3, result: SpawnResult::Pid(from) },
        Control::SpawnReply { id: reference, to, flags: 0, result: SpawnResult::Error("badopt") },
    ]
}

/// Appends all frames of a message, and returns how many.
fn write(control: &Control<'_>, agreed: Flags, out: &mut BytesMut) -> usize {
    match encode(control, agreed, out).unwrap() {
        Encoded::Whole => 1,
        Encoded::Large(large) => {
            let mut parts = large.parts(77);
            let mut count = 0;
            while let Some(rest) = parts.next_frame(out) {
                out.put_slice(&rest);
                count += 1;
            }
            count
        }
    }
}

fn receiver(agreed: Flags) -> Receiver {
    Receiver::new(agreed, WireLimits::default(), BytesMut::new())
}

/// Returns the messages in these bytes, which come in pieces.
fn read(agreed: Flags, bytes: &[u8], piece: usize) -> Result<Vec<Received>, WireError> {
    let mut receiver = receiver(agreed);
    let mut messages = Vec::new();
    for piece in bytes.chunks(piece) {
        receiver.space().put_slice(piece);
        while let Some(event) = receiver.next()? {
            if let Event::Message(message) = event {
                messages.push(message);
            }
        }
    }
    Ok(messages)
}

#[test]
fn messages_come_back_in_every_form() {
    let long = Term::binary(&[7; 300_000]);
    for message in [Term::atom("hello"), Term::binary(&[1; 100]), Term::binary(&[1; 20_000]), long] {
        for agreed in [PLAIN, FULL, PLAIN.difference(Flags::EXIT_PAYLOAD), FULL.difference(Flags::EXIT_PAYLOAD)] {
            let messages = all_messages(&message);
            let mut bytes = BytesMut::new();
            for control in &messages {
                write(control, agreed, &mut bytes);
                write_tick(&mut bytes);
            }
            for piece in [1, 1000, 70_000, bytes.len()] {
                if piece == 1 && bytes.len() > 100_000 {
                    continue;
                }
                let back = read(agreed, &bytes, piece).unwrap();
                let back: Vec<_> = back.iter().map(|received| received.read().unwrap()).collect();
                assert_eq!(back, messages);
            }
        }
    }
}

#[test]
fn large_messages_are_cut_if_that_was_agreed_on() {
    let message = Term::binary(&[7; 300_000]);
    let control = Control::SendName { from: pid("a@x", 1), name: "kv", message };
    let mut bytes = BytesMut::new();
    assert_eq!(write(&control, PLAIN, &mut bytes), 1);
    bytes.clear();
    assert_eq!(write(&control, FULL, &mut bytes), 5);
    // The parts count down, and each but the last has 64 KiB of the message.
    let mut frames = super::frame::Frames::new(usize::MAX, bytes);
    let frames: Vec<Bytes> = core::iter::from_fn(|| frames.next().unwrap()).collect();
    for (at, frame) in frames.iter().enumerate() {
        let number = 5 - at as u8;
        let kind = if at == 0 { 69 } else { 70 };
        assert_eq!(frame[..2], [131, kind]);
        assert_eq!(frame[2..18], [0, 0, 0, 0, 0, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0, number]);
        let header = if at == 0 { 19 } else { 18 };
        assert!(frame.len() == header + 65_536 || at == 4);
    }
}

#[test]
fn parts_of_messages_may_be_mixed_with_anything() {
    let terms: Vec<Term> = (0..4).map(|byte| Term::binary(&vec![byte; 70_000 + 60_000 * usize::from(byte)])).collect();
    let mut streams: Vec<Parts> = Vec::new();
    let mut bytes = BytesMut::new();
    for (sequence, message) in terms.iter().enumerate() {
        let control = Control::Send { from: None, to: pid("b@y", 1), message: message.clone() };
        let Encoded::Large(large) = encode(&control, FULL, &mut bytes).unwrap() else { panic!() };
        streams.push(large.parts(sequence as u64));
    }
    let small = Control::Link { from: pid("a@x", 1), to: pid("b@y", 9) };
    while !streams.is_empty() {
        streams.retain_mut(|stream| {
            let left = stream.remaining();
            let Some(rest) = stream.next_frame(&mut bytes) else { return false };
            assert!(stream.remaining() < left);
            bytes.put_slice(&rest);
            write_tick(&mut bytes);
            write(&small, FULL, &mut bytes);
            true
        });
    }
    let messages = read(FULL, &bytes, 10_000).unwrap();
    let large: Vec<_> = messages.iter().filter_map(|message| message.payload.clone()).collect();
    assert_eq!(large, terms, "in the order in which they are whole");
}

#[test]
fn old_peers_get_old_messages() {
    let reason = Term::tuple([&Term::atom("a"), &Term::from(1)]);
    let (from, to, reference) = (pid("a@x", 1), pid("b@y", 9), reference("a@x"));
    for (control, lacking, written) in [
        (Control::Send { from: Some(from), to, message: reason.clone() }, Flags::SEND_SENDER, "{2,'',<b@y.9.2>}"),
        (Control::Exit { from, to, reason: reason.clone() }, Flags::EXIT_PAYLOAD, "{3,<a@x.1.2>,<b@y.9.2>,{a,1}}"),
        (Control::Exit2 { from, to, reason: reason.clone() }, Flags::EXIT_PAYLOAD, "{8,<a@x.1.2>,<b@y.9.2>,{a,1}}"),
        (
            Control::MonitorExit { from: Target::Pid(from), to, reference, reason: reason.clone() },
            Flags::EXIT_PAYLOAD,
            "{21,<a@x.1.2>,<b@y.9.2>,#Ref<a@x.6.5.4>,{a,1}}",
        ),
        (Control::Unlink { id: 7, from, to }, Flags::UNLINK_ID, "{4,<a@x.1.2>,<b@y.9.2>}"),
    ] {
        let agreed = PLAIN.difference(lacking);
        let mut bytes = BytesMut::new();
        write(&control, agreed, &mut bytes);
        let [message] = &read(agreed, &bytes, 1).unwrap()[..] else { panic!() };
        assert_eq!(message.control.to_string(), written);
    }
}

#[test]
fn new_messages_are_not_sent_to_old_peers() {
    let mut out = BytesMut::from(&b"before"[..]);
    for control in all_messages(&Term::binary(&[1; 20_000])) {
        let refused = match &control {
            Control::SendAlias { .. } => Some(Flags::ALIAS),
            Control::UnlinkAck { .. } => Some(Flags::UNLINK_ID),
            Control::SpawnRequest { .. } | Control::SpawnReply { .. } => Some(Flags::SPAWN),
            Control::Monitor { target: Target::Name(_), .. }
            | Control::Demonitor { target: Target::Name(_), .. }
            | Control::MonitorExit { from: Target::Name(_), .. } => {
                Some(Flags::DIST_MONITOR.union(Flags::DIST_MONITOR_NAME))
            }
            Control::Monitor { .. } | Control::MonitorExit { .. } => Some(Flags::DIST_MONITOR),
            _ => None,
        };
        if let Some(flags) = refused {
            assert_eq!(encode(&control, LEAST, &mut out).unwrap_err(), Unsupported(flags));
            assert_eq!(out[..], b"before"[..]);
        } else {
            write(&control, LEAST, &mut BytesMut::new());
        }
    }
}

/// Returns a control message of these terms, as it came.
fn message(elements: &[Term], payload: Option<Term>) -> Received {
    Received { control: Term::tuple(elements), payload }
}

#[test]
fn trace_tokens_are_dropped() {
    let (from, to) = (pid("a@x", 1), pid("b@y", 9));
    let [f, t, token, r] = [from.into(), to.into(), Term::atom("token"), Term::from(reference("a@x"))];
    let [any, name, m] = [Term::atom(""), Term::atom("kv"), Term::binary(b"m")];
    let op = |operation: i32| Term::from(operation);
    let payload = || Some(m.clone());
    let mfa = Term::tuple([&Term::atom("m"), &Term::atom("f"), &Term::from(0)]);
    for (plain, traced) in [
        (
            message(&[op(2), any.clone(), t.clone()], payload()),
            message(&[op(12), any.clone(), t.clone(), token.clone()], payload()),
        ),
        (
            message(&[op(22), f.clone(), t.clone()], payload()),
            message(&[op(23), f.clone(), t.clone(), token.clone()], payload()),
        ),
        (
            message(&[op(6), f.clone(), any.clone(), name.clone()], payload()),
            message(&[op(16), f.clone(), any.clone(), name.clone(), token.clone()], payload()),
        ),
        (
            message(&[op(3), f.clone(), t.clone(), m.clone()], None),
            message(&[op(13), f.clone(), t.clone(), token.clone(), m.clone()], None),
        ),
        (
            message(&[op(8), f.clone(), t.clone(), m.clone()], None),
            message(&[op(18), f.clone(), t.clone(), token.clone(), m.clone()], None),
        ),
        (
            message(&[op(24), f.clone(), t.clone()], payload()),
            message(&[op(25), f.clone(), t.clone(), token.clone()], payload()),
        ),
        (
            message(&[op(26), f.clone(), t.clone()], payload()),
            message(&[op(27), f.clone(), t.clone(), token.clone()], payload()),
        ),
        (
            message(&[op(33), f.clone(), r.clone()], payload()),
            message(&[op(34), f.clone(), r.clone(), token.clone()], payload()),
        ),
        (
            message(&[op(29), r.clone(), f.clone(), t.clone(), mfa.clone(), Term::NIL], payload()),
            message(&[op(30), r.clone(), f.clone(), t.clone(), mfa.clone(), Term::NIL, token.clone()], payload()),
        ),
        (
            message(&[op(31), r.clone(), t.clone(), op(1), f.clone()], None),
            message(&[op(32), r.clone(), t.clone(), op(1), f.clone(), token.clone()], None),
        ),
    ] {
        assert_eq!(plain.read().unwrap(), traced.read().unwrap());
    }
}

#[test]
fn control_messages_that_are_none_are_errors() {
    let [f, t, r] = [pid("a@x", 1).into(), pid("b@y", 9).into(), Term::from(reference("a@x"))];
    let op = |operation: i64| Term::from(operation);
    let a = Term::atom("a");
    let not_a_tuple = [
        Term::list([&op(1), &op(2)]),
        Term::tuple([]),
        Term::tuple([&Term::atom("link"), &a]),
        Term::tuple([&Term::from(1_i128 << 64), &a]),
    ];
    for control in not_a_tuple {
        assert_eq!(Received { control, payload: None }.read(), Err(ControlError::NotATuple));
    }
    for operation in [99, -1, 5, 0] {
        assert_eq!(message(&[op(operation), a.clone()], None).read(), Err(ControlError::Operation(operation)));
    }
    let big = Term::from(1_i128 << 64);
    for (operation, elements, payload) in [
        (6, vec![f.clone(), a.clone(), a.clone()], None),
        (6, vec![f.clone(), a.clone()], Some(&a)),
        (6, vec![a.clone(), a.clone(), a.clone()], Some(&a)),
        (6, vec![f.clone(), a.clone(), op(7)], Some(&a)),
        (19, vec![f.clone(), op(7), r.clone()], None),
        (19, vec![f.clone(), a.clone(), op(7)], None),
        (19, vec![f.clone()], None),
        (1, vec![f.clone(), t.clone(), a.clone()], None),
        (35, vec![op(0), f.clone(), t.clone()], None),
        (35, vec![big, f.clone(), t.clone()], None),
        (35, vec![op(-1), f.clone(), t.clone()], None),
        (29, vec![r.clone(), f.clone()], Some(&Term::NIL)),
        (29, vec![r.clone(), f.clone(), t.clone(), a.clone(), Term::NIL], Some(&Term::NIL)),
        (31, vec![r.clone(), t.clone(), op(1), op(2)], None),
        (31, vec![r.clone(), t.clone(), op(1 << 40), a.clone()], None),
        (24, vec![f.clone(), t.clone()], None),
        (21, vec![op(3), t.clone(), r.clone(), a.clone()], None),
    ] {
        let elements: Vec<Term> = [op(operation)].into_iter().chain(elements).collect();
        let error = message(&elements, payload.cloned()).read().unwrap_err();
        assert!(matches!(error, ControlError::Malformed { operation: of, .. } if of == operation), "{error}");
    }
}

#[test]
fn frames_that_are_none_are_errors() {
    let error = |agreed, frame: &[u8]| {
        let mut bytes = BytesMut::new();
        bytes.put_u32(frame.len() as u32);
        bytes.put_slice(frame);
        read(agreed, &bytes, bytes.len()).unwrap_err()
    };
    for frame in [&[113, 131, 104, 0][..], &[112, 104, 0], &[112], &[112, 130, 104, 0], &[131, 68, 0, 104, 0]] {
        assert!(matches!(error(PLAIN, frame), WireError::Header(_)));
    }
    let header_only = PLAIN.union(Flags::DIST_HDR_ATOM_CACHE);
    for frame in [
        &[112, 131, 104, 0][..],
        &[131, 71, 0],
        &[131],
        &[131, 68],
        &[131, 68, 200, 1, 2],
        &[131, 68, 1, 8, 5, 20, b'a', b'b'],
        &[131, 69, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0],
    ] {
        assert!(matches!(error(FULL, frame), WireError::Header(_)));
        assert!(matches!(error(header_only, frame), WireError::Header(_)));
    }
    let part = [131, 70, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 9, 9];
    assert!(matches!(error(FULL, &part), WireError::Fragment(_)));
    assert!(matches!(error(header_only, &part), WireError::Header(_)));
    // Terms that end nowhere, and a payload without its version.
    assert!(matches!(error(PLAIN, &[112, 131]), WireError::Term(_)));
    assert!(matches!(error(PLAIN, &[112, 131, 104, 9]), WireError::Term(_)));
    assert!(matches!(error(PLAIN, &[112, 131, 104, 0, 131]), WireError::Term(_)));
    assert!(matches!(error(PLAIN, &[112, 131, 104, 0, 104, 0]), WireError::Header(_)));
    assert!(matches!(error(FULL, &[131, 68, 0, 104, 0, 82, 0]), WireError::Term(_)));
}

#[test]
fn limits_hold_for_frames_and_terms() {
    let limits = WireLimits { frame: 100, message: 1000, terms: Limits { depth: 3 } };
    let mut receiver = Receiver::new(PLAIN, limits, BytesMut::from(&[0, 0, 0, 101][..]));
    assert_eq!(receiver.next().unwrap_err(), WireError::FrameTooLong(101));
    let deep = |depth| {
        let message = (0..depth).fold(TermBuilder::new(), |builder, _| builder.tuple(1)).atom("a").finish();
        let mut bytes = BytesMut::new();
        write(&Control::SendName { from: pid("a@x", 1), name: "kv", message }, PLAIN, &mut bytes);
        let mut receiver = Receiver::new(PLAIN, limits, bytes);
        receiver.next().map(|event| matches!(event, Some(Event::Message(_))))
    };
    assert_eq!(deep(3), Ok(true));
    let error = deep(4).unwrap_err();
    assert!(matches!(error, WireError::Term(error) if error.kind == DecodeErrorKind::TooDeep));
}

/// Bytes behind the message are ignored, as Erlang does.
#[test]
fn bytes_behind_a_message_are_ignored() {
    let mut bytes = BytesMut::new();
    write(&Control::SendName { from: pid("a@x", 1), name: "kv", message: Term::NIL }, PLAIN, &mut bytes);
    let length = bytes.len() as u32 - 4 + 3;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    bytes.put_slice(b"xyz");
    let messages = read(PLAIN, &bytes, 7).unwrap();
    assert_eq!(messages[0].payload, Some(Term::NIL));
}
