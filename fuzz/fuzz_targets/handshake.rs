//! Fuzzing of what comes before a peer has proved anything: both sides of the handshake, and epmd's
//! messages. Nothing panics, split input gives the same as whole input, and no peer is let in.
#![no_main]

use std::sync::Arc;

use atropos_dist::wire::epmd::{AliveResponse, PortResponse, Request};
use atropos_dist::wire::{Accepting, Acceptor, Dialler, Dialling, Flags, HandshakeError, Local, Status};
use bytes::{BufMut as _, BytesMut};

fn local() -> Arc<Local> {
    Arc::new(Local {
        name: "m@h".into(),
        flags: Flags::HIDDEN_NODE,
        creation: 5,
        cookie: "unknown to the fuzzer".into(),
    })
}

/// What was said, and how it ended.
type Outcome = (Vec<u8>, Option<Result<(), HandshakeError>>);

fn accept(pieces: &[&[u8]], connected: bool, dialling: bool) -> Outcome {
    let (mut acceptor, mut input, mut output) = (Acceptor::new(local()), BytesMut::new(), BytesMut::new());
    for piece in pieces {
        input.put_slice(piece);
        loop {
            match acceptor.receive(&mut input, &mut output) {
                Ok(Accepting::NeedsBytes) => break,
                Ok(Accepting::Asks) => {
                    let peer = acceptor.peer_name().expect("it has said its name");
                    let status = Status::of("m@h", peer, connected, dialling);
                    if let Err(error) = acceptor.answer(status, 99, &mut output) {
                        return (output.to_vec(), Some(Err(error)));
                    }
                }
                Ok(Accepting::Done(peer)) => panic!("{peer:?} does not know the cookie"),
                Err(error) => return (output.to_vec(), Some(Err(error))),
            }
        }
    }
    (output.to_vec(), None)
}

fn dial(pieces: &[&[u8]]) -> Outcome {
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    let mut dialler = Dialler::new(local(), "a@h", 99, &mut output);
    for piece in pieces {
        input.put_slice(piece);
        loop {
            match dialler.receive(&mut input, &mut output) {
                Ok(Dialling::NeedsBytes) => break,
                Ok(Dialling::Alive) => dialler.answer_alive(&mut output),
                Ok(Dialling::PeerDials) => return (output.to_vec(), Some(Ok(()))),
                Ok(Dialling::Done(peer)) => panic!("{peer:?} does not know the cookie"),
                Err(error) => return (output.to_vec(), Some(Err(error))),
            }
        }
    }
    (output.to_vec(), None)
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&[choice, piece], rest)) = bytes.split_first_chunk() else { return };
    let pieces: Vec<&[u8]> = rest.chunks(usize::from(piece) + 1).collect();
    let (connected, dialling) = (choice & 1 == 0, choice & 2 == 0);
    assert_eq!(accept(&[rest], connected, dialling), accept(&pieces, connected, dialling));
    assert_eq!(dial(&[rest]), dial(&pieces));

    // What is read as a message of epmd can be written and read back.
    let mut written = BytesMut::new();
    if let Ok(Some(request)) = Request::read(rest) {
        request.write(&mut written);
        assert_eq!(Request::read(&written), Ok(Some(request)));
    }
    written.clear();
    if let Ok(Some(response)) = AliveResponse::read(rest) {
        response.write(&mut written);
        assert_eq!(AliveResponse::read(&written), Ok(Some(response)));
    }
    written.clear();
    if let Ok(Some(response)) = PortResponse::read(rest) {
        response.write(&mut written);
        assert_eq!(PortResponse::read(&written), Ok(Some(response)));
    }
});
