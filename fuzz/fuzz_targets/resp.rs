//! Fuzzing of the RESP parser in the example server. It never panics, split input parses like whole
//! input, its memory stays within its limits, and written replies parse back, in both versions.
#![no_main]

use bytes::{Bytes, BytesMut};

#[allow(dead_code, reason = "the server uses all of it")]
#[path = "../../std-adapter/examples/kv/resp/mod.rs"]
mod resp;

use resp::{Limits, Parser, ProtocolError, Reply, Request, Version};

/// A number of bytes above every limit on a line.
const ENOUGH: usize = 66 * 1024;
/// A byte that stands for many bytes, so that the fuzzer reaches long lines and values; the next
/// byte gives their number in KiB.
const MANY: u8 = 0xF5;

fn inflate(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = bytes.iter();
    while let Some(byte) = bytes.next() {
        match (*byte, bytes.len()) {
            (MANY, 1..) if out.len() < ENOUGH => {
                let kibibytes = bytes.next().copied().unwrap_or_default() % 80;
                out.resize(out.len() + usize::from(kibibytes) * 1024, b'x');
            }
            (byte, _) => out.push(byte),
        }
    }
    out
}

/// The parsed requests up to the first error, and that error.
type Parsed = (Vec<Request>, Option<ProtocolError>);

fn feed(limits: Limits, pieces: impl Iterator<Item = Vec<u8>>) -> Parsed {
    let (mut parser, mut buffer, mut requests) = (Parser::new(limits), BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(&piece);
        loop {
            match parser.next(&mut buffer) {
                Ok(Some(request)) => {
                    let total: usize = request.iter().map(Bytes::len).sum();
                    // A line has its own limit.
                    assert!(total <= limits.query_buffer.max(ENOUGH) && request.len() <= limits.arguments.max(ENOUGH));
                    requests.push(request);
                }
                Ok(None) => break,
                Err(error) => return (requests, Some(error)),
            }
        }
    }
    (requests, None)
}

fn encode(request: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", request.len()).into_bytes();
    for argument in request {
        out.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Returns the reply that these bytes encode.
fn reply(bytes: &mut impl Iterator<Item = u8>, depth: u8) -> Reply {
    let mut some = |length: u8| -> Vec<u8> { bytes.by_ref().take(usize::from(length)).collect() };
    match (some(1).first().copied().unwrap_or_default() % 6, some(1).first().copied().unwrap_or_default()) {
        (0, _) => Reply::OK,
        (1, length) => Reply::Error(String::from_utf8_lossy(&some(length)).into_owned()),
        (2, _) => {
            let digits = some(8);
            Reply::Integer(digits.iter().fold(0, |n: i64, digit| n.wrapping_shl(8) | i64::from(*digit)))
        }
        (3, _) => Reply::Nil,
        (4, count) if depth < 4 => Reply::Array((0..count % 4).map(|_| reply(bytes, depth + 1)).collect()),
        (_, length) => Reply::Bulk(Bytes::from(some(length))),
    }
}

/// Parses a reply as a client would. Returns the reply, and the rest of the input.
fn read(bytes: &[u8]) -> Option<(Reply, &[u8])> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    let (line, rest) = (std::str::from_utf8(&bytes[1..end]).ok()?, &bytes[end + 2..]);
    match bytes[0] {
        b'+' if line == "OK" => Some((Reply::OK, rest)),
        b'-' => Some((Reply::Error(line.to_owned()), rest)),
        b':' => Some((Reply::Integer(line.parse().ok()?), rest)),
        b'$' if line == "-1" => Some((Reply::Nil, rest)),
        b'_' if line.is_empty() => Some((Reply::Nil, rest)),
        b'$' => {
            let (value, rest) = rest.split_at_checked(line.parse().ok()?)?;
            Some((Reply::Bulk(Bytes::copy_from_slice(value)), rest.strip_prefix(b"\r\n")?))
        }
        b'*' => {
            let (mut items, mut rest) = (Vec::new(), rest);
            for _ in 0..line.parse().ok()? {
                let (item, after) = read(rest)?;
                items.push(item);
                rest = after;
            }
            Some((Reply::Array(items), rest))
        }
        _ => None,
    }
}

/// Returns a reply as a client sees it: an error is one line.
fn seen(reply: Reply) -> Reply {
    match reply {
        Reply::Error(text) => Reply::Error(text.replace(['\r', '\n'], " ")),
        Reply::Array(items) => Reply::Array(items.into_iter().map(seen).collect()),
        other => other,
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&[first, step], bytes)) = bytes.split_at_checked(2).and_then(|(two, rest)| Some((two.as_array()?, rest)))
    else {
        return;
    };
    // Split and whole, with large limits and with small ones.
    let whole = inflate(bytes);
    let small = Limits { query_buffer: 4096, bulk: 1024, arguments: 64 };
    for limits in [Limits::default(), small] {
        let (head, tail) = whole.split_at(usize::from(first).min(whole.len()));
        // Small pieces of a long input would take for ever, so a piece is at least a 16th of it.
        let step = (1 + usize::from(step)).max(tail.len() / 16);
        let pieces = std::iter::once(head.to_vec()).chain(tail.chunks(step).map(<[u8]>::to_vec));
        assert_eq!(feed(limits, pieces), feed(limits, std::iter::once(whole.clone())));
    }

    // A written request parses back, and leaves the bytes after it.
    let request: Vec<&[u8]> = bytes.split(|byte| *byte == first).collect();
    let mut buffer = BytesMut::from(&encode(&request)[..]);
    buffer.extend_from_slice(b"behind");
    let parsed = Parser::default().next(&mut buffer).expect("a written request is RESP").expect("it is complete");
    assert!(parsed.iter().map(|argument| &argument[..]).eq(request.iter().copied()));
    assert_eq!(&buffer[..], b"behind");

    // A written reply parses back, too.
    let reply = reply(&mut bytes.iter().copied(), 0);
    for version in [Version::Resp2, Version::Resp3] {
        let mut out = BytesMut::new();
        reply.write(version, &mut out);
        let (back, rest) = read(&out).expect("a complete reply");
        assert!(rest.is_empty());
        assert_eq!(back, seen(reply.clone()));
    }
});
