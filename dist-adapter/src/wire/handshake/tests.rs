use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::{BufMut as _, BytesMut};

use super::*;

fn local(name: &str, cookie: &str) -> Arc<Local> {
    Arc::new(Local { name: name.into(), flags: Flags::HIDDEN_NODE, creation: 7, cookie: cookie.into() })
}

fn packet(fields: &[&[u8]]) -> BytesMut {
    let mut out = BytesMut::new();
    packet::write(&mut out, fields);
    out
}

fn name_packet(name: &str, flags: Flags) -> BytesMut {
    let mut out = BytesMut::new();
    packet::Name::write(&mut out, flags, 77, name);
    out
}

/// Moves bytes between both sides one by one until both are done.
fn shake(dialler: &mut Dialler, acceptor: &mut Acceptor, mut there: BytesMut, status: Status) -> (Peer, Peer) {
    let (mut back, mut dialled, mut accepted) = (BytesMut::new(), None, None);
    let (mut acceptor_input, mut dialler_input) = (BytesMut::new(), BytesMut::new());
    while dialled.is_none() || accepted.is_none() {
        assert!(!there.is_empty() || !back.is_empty(), "neither side goes on");
        while !there.is_empty() {
            acceptor_input.put_slice(&there.split_to(1));
            loop {
                match acceptor.receive(&mut acceptor_input, &mut back).unwrap() {
                    Accepting::NeedsBytes => break,
                    Accepting::Asks => acceptor.answer(status, 1234, &mut back).unwrap(),
                    Accepting::Done(peer) => {
                        accepted = Some(peer);
                        break;
                    }
                }
            }
        }
        while !back.is_empty() {
            dialler_input.put_slice(&back.split_to(1));
            match dialler.receive(&mut dialler_input, &mut there).unwrap() {
                Dialling::NeedsBytes => {}
                Dialling::Alive => dialler.answer_alive(&mut there),
                Dialling::PeerDials => panic!("the status is not nok"),
                Dialling::Done(peer) => dialled = Some(peer),
            }
        }
    }
    (dialled.unwrap(), accepted.unwrap())
}

#[test]
fn both_sides_agree_however_the_bytes_come() {
    for status in [Status::Ok, Status::OkSimultaneous, Status::Alive] {
        let mut output = BytesMut::new();
        let mut dialler = Dialler::new(local("a@x", "c"), "b@y", 99, &mut output);
        let mut acceptor = Acceptor::new(local("b@y", "c"));
        let (dialled, accepted) = shake(&mut dialler, &mut acceptor, output, status);
        assert_eq!((&*dialled.name, &*accepted.name), ("b@y", "a@x"));
        assert_eq!((dialled.agreed, dialled.creation), (Flags::HIDDEN_NODE, 7));
        assert_eq!((accepted.agreed, accepted.announced), (Flags::HIDDEN_NODE, Flags::HIDDEN_NODE));
    }
}

/// The peer's first frame may come together with its last packet.
#[test]
fn frames_behind_the_handshake_stay() {
    let mut acceptor = Acceptor::new(local("b@y", "c"));
    let (mut input, mut output) = (name_packet("a@x", Flags::HIDDEN_NODE), BytesMut::new());
    assert_eq!(acceptor.receive(&mut input, &mut output), Ok(Accepting::Asks));
    acceptor.answer(Status::Ok, 5, &mut output).unwrap();
    input.put_slice(&packet(&[b"r", &[0, 0, 0, 9], &digest::digest("c", 5).0]));
    input.put_slice(&[0, 0, 0, 0]);
    let Ok(Accepting::Done(peer)) = acceptor.receive(&mut input, &mut output) else { panic!() };
    assert_eq!((&*peer.name, peer.creation), ("a@x", 77));
    assert_eq!(input[..], [0; 4]);
    assert!(output.ends_with(&packet(&[b"a", &digest::digest("c", 9).0])));
}

/// Returns what an acceptor makes of a first packet, and what it says.
fn first(packet: &[u8]) -> (Result<Accepting, HandshakeError>, Vec<u8>) {
    let mut output = BytesMut::new();
    let result = Acceptor::new(local("b@y", "c")).receive(&mut packet.into(), &mut output);
    (result, output.to_vec())
}

#[test]
fn names_are_checked() {
    for name in ["nohost", "@host", "name@", "", "a@b@c", "a b@c", "a\n@c", &("a".repeat(255) + "@h")] {
        assert_eq!(first(&name_packet(name, Flags::HIDDEN_NODE)), (Err(HandshakeError::Name), Vec::new()));
    }
    assert_eq!(first(&name_packet("ü@hôte", Flags::HIDDEN_NODE)).0, Ok(Accepting::Asks));
    // Not UTF-8, a length that is not there, and other packets.
    let flags = Flags::HIDDEN_NODE.bits().to_be_bytes();
    let bad = packet(&[b"N", &flags, &[0, 0, 0, 7, 0, 5], b"a@b\xff\xfe"]);
    assert_eq!(first(&bad).0, Err(HandshakeError::Name));
    for bad in [
        packet(&[b"N", &flags, &[0, 0, 0, 7, 1, 0], b"a@b"]),
        packet(&[b"N"]),
        packet(&[]),
        packet(&[b"sok"]),
        packet(&[b"n", &[0, 5, 0, 0, 0, 0], b"a@b"]),
    ] {
        assert_eq!(first(&bad), (Err(HandshakeError::Malformed("a name")), Vec::new()));
    }
    // Bytes behind the name are for later versions.
    let more = packet(&[b"N", &flags, &[0, 0, 0, 7, 0, 3], b"a@bfor later"]);
    assert_eq!(first(&more).0, Ok(Accepting::Asks));
}

#[test]
fn lacking_flags_and_wishes_for_a_name_are_refused_aloud() {
    let not_allowed = packet(&[b"snot_allowed"]).to_vec();
    let lacks = Flags::MANDATORY.difference(Flags::BIG_CREATION);
    let expected = (Err(HandshakeError::MissingFlags(Flags::BIG_CREATION)), not_allowed.clone());
    assert_eq!(first(&name_packet("a@x", lacks)), expected);
    let wish = Flags::HIDDEN_NODE.union(Flags::NAME_ME);
    assert_eq!(first(&name_packet("x", wish)), (Err(HandshakeError::AsksForName), not_allowed));
    assert_eq!(first(&name_packet("a@x", Flags::MANDATORY_25_DIGEST)).0, Ok(Accepting::Asks));
}

#[test]
fn a_refusal_ends_the_handshake() {
    for (status, text) in [(Status::Nok, "snok"), (Status::NotAllowed, "snot_allowed")] {
        let mut acceptor = Acceptor::new(local("b@y", "c"));
        let (mut input, mut output) = (name_packet("a@x", Flags::HIDDEN_NODE), BytesMut::new());
        assert_eq!(acceptor.receive(&mut input, &mut output), Ok(Accepting::Asks));
        assert_eq!(acceptor.peer_name(), Some("a@x"));
        let refused = Err(HandshakeError::Refused(status.as_str().into()));
        assert_eq!(acceptor.answer(status, 5, &mut output), refused);
        assert_eq!(output, packet(&[text.as_bytes()]));
    }
}

#[test]
fn an_open_connection_ends_only_if_the_peer_says_that_it_is_dead() {
    for answer in ["false", "", "truth"] {
        let mut acceptor = Acceptor::new(local("b@y", "c"));
        let (mut input, mut output) = (name_packet("a@x", Flags::HIDDEN_NODE), BytesMut::new());
        assert_eq!(acceptor.receive(&mut input, &mut output), Ok(Accepting::Asks));
        acceptor.answer(Status::Alive, 5, &mut output).unwrap();
        assert_eq!(output, packet(&[b"salive"]), "the challenge comes after the answer");
        input.put_slice(&packet(&[b"s", answer.as_bytes()]));
        assert_eq!(acceptor.receive(&mut input, &mut output), Err(HandshakeError::StillAlive));
    }
}

#[test]
fn version_5_of_the_protocol_is_completed() {
    let mut acceptor = Acceptor::new(local("b@y", "c"));
    let low = (Flags::HIDDEN_NODE.bits() as u32).to_be_bytes();
    let (mut input, mut output) = (packet(&[b"n", &[0, 5], &low, b"a@x"]), BytesMut::new());
    assert_eq!(acceptor.receive(&mut input, &mut output), Ok(Accepting::Asks));
    acceptor.answer(Status::Ok, 5, &mut output).unwrap();
    let high = ((Flags::HIDDEN_NODE.bits() >> 32) as u32).to_be_bytes();
    input.put_slice(&packet(&[b"c", &high, &[0, 0, 0, 42]]));
    input.put_slice(&packet(&[b"r", &[0, 0, 0, 9], &digest::digest("c", 5).0]));
    let Ok(Accepting::Done(peer)) = acceptor.receive(&mut input, &mut output) else { panic!() };
    assert_eq!((peer.creation, peer.agreed), (42, Flags::HIDDEN_NODE));
}

#[test]
fn a_wrong_cookie_is_answered_with_silence() {
    let mut acceptor = Acceptor::new(local("b@y", "c"));
    let (mut input, mut output) = (name_packet("a@x", Flags::HIDDEN_NODE), BytesMut::new());
    assert_eq!(acceptor.receive(&mut input, &mut output), Ok(Accepting::Asks));
    acceptor.answer(Status::Ok, 5, &mut output).unwrap();
    output.clear();
    input.put_slice(&packet(&[b"r", &[0, 0, 0, 9], &digest::digest("d", 5).0]));
    assert_eq!(acceptor.receive(&mut input, &mut output), Err(HandshakeError::WrongCookie));
    assert!(output.is_empty());
}

/// Returns a dialler's outcome for these packets of the acceptor, and what it says.
fn dial(packets: &[BytesMut]) -> (Result<Dialling, HandshakeError>, Vec<u8>) {
    let mut output = BytesMut::new();
    let mut dialler = Dialler::new(local("a@x", "c"), "b@y", 99, &mut output);
    output.clear();
    let mut input: BytesMut = packets.concat()[..].into();
    let result = dialler.receive(&mut input, &mut output);
    (result, output.to_vec())
}

fn challenge(name: &str, flags: Flags) -> BytesMut {
    let mut out = BytesMut::new();
    packet::Challenge::write(&mut out, flags, 5, 77, name);
    out
}

#[test]
fn the_dialler_checks_the_acceptor() {
    let ok = packet(&[b"sok"]);
    let good = challenge("b@y", Flags::HIDDEN_NODE);
    let reply = packet(&[b"r", &[0, 0, 0, 99], &digest::digest("c", 5).0]).to_vec();
    assert_eq!(dial(&[ok.clone(), good.clone()]), (Ok(Dialling::NeedsBytes), reply.clone()));
    assert_eq!(dial(&[packet(&[b"snok"])]).0, Ok(Dialling::PeerDials));
    assert_eq!(dial(&[packet(&[b"salive"])]), (Ok(Dialling::Alive), Vec::new()));
    for status in ["not_allowed", "nonsense", "", "named:"] {
        let refused = packet(&[b"s", status.as_bytes()]);
        assert_eq!(dial(&[refused]).0, Err(HandshakeError::Refused(status.into())));
    }
    let other = challenge("z@y", Flags::HIDDEN_NODE);
    assert_eq!(dial(&[ok.clone(), other]).0, Err(HandshakeError::OtherName("z@y".into())));
    let poor = challenge("b@y", Flags::MANDATORY.difference(Flags::MAP_TAG));
    assert_eq!(dial(&[ok.clone(), poor]).0, Err(HandshakeError::MissingFlags(Flags::MAP_TAG)));
    let ack = |cookie| packet(&[b"a", &digest::digest(cookie, 99).0]);
    assert_eq!(dial(&[ok.clone(), good.clone(), ack("d")]).0, Err(HandshakeError::WrongCookie));
    let (Ok(Dialling::Done(peer)), _) = dial(&[ok.clone(), good, ack("c")]) else { panic!() };
    assert_eq!((&*peer.name, peer.creation), ("b@y", 77));
    let malformed = Err(HandshakeError::Malformed("a challenge"));
    assert_eq!(dial(&[ok, packet(&[b"N", &[1, 2, 3]])]).0, malformed);
}

/// The table of section 4.
#[test]
fn the_greater_name_wins_when_both_dial() {
    assert_eq!(Status::of("m@h", "a@h", false, false), Status::Ok);
    assert_eq!(Status::of("m@h", "z@h", false, true), Status::OkSimultaneous);
    assert_eq!(Status::of("m@h", "a@h", false, true), Status::Nok);
    assert_eq!(Status::of("m@h", "a@h", true, false), Status::Alive);
    assert_eq!(Status::of("m@h", "m@h", false, false), Status::NotAllowed);
}
