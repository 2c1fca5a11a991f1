//! The parser, without a socket.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use crate::kv::resp::{Limits, Parser, ProtocolError, Request, number};
use crate::wire::request;

fn feed<'a>(parser: &mut Parser, pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Request>, Option<ProtocolError>) {
    let (mut buffer, mut requests) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match parser.next(&mut buffer) {
                Ok(Some(request)) => requests.push(request),
                Ok(None) => break,
                Err(error) => return (requests, Some(error)),
            }
        }
    }
    (requests, None)
}

fn feed_whole(bytes: &[u8]) -> (Vec<Request>, Option<ProtocolError>) {
    feed(&mut Parser::default(), std::iter::once(bytes))
}

proptest! {
    /// Checks that the same requests come out however a stream is split.
    #[test]
    fn any_cut_parses_the_same(
        requests in proptest::collection::vec(proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..5), 1..6),
        cut in 1_usize..40,
    ) {
        let stream: Vec<u8> = requests.iter().flat_map(|words| request(words)).collect();
        let (parsed, error) = feed(&mut Parser::default(), stream.chunks(cut));
        prop_assert_eq!(error, None);
        prop_assert_eq!(parsed, requests);
    }

    /// Checks that any input gives a result, and the same one for every split.
    #[test]
    fn garbage_gives_the_same_result_for_every_cut(garbage in proptest::collection::vec(proptest::sample::select(b"*$\r\n:+-0123 \"'\\xaA".to_vec()), 0..100), cut in 1_usize..10) {
        prop_assert_eq!(feed_whole(&garbage), feed(&mut Parser::default(), garbage.chunks(cut)));
    }

    /// Checks that an integer has exactly one text.
    #[test]
    fn integers_are_read_as_they_are_written(number in any::<i64>(), text in "[-+0-9 ]{0,20}") {
        prop_assert_eq!(number::integer(number.to_string().as_bytes()), Some(number));
        if let Some(read) = number::integer(text.as_bytes()) {
            prop_assert_eq!(read.to_string(), text);
        }
    }
}

#[test]
fn the_line_limit_does_not_depend_on_the_cut() {
    for (length, fits) in [(64 * 1024, true), (64 * 1024 + 1, false)] {
        let line = vec![b'x'; length];
        let (mut parser, mut buffer) = (Parser::default(), BytesMut::from(&[&line[..], b"\n"].concat()[..]));
        assert_eq!(parser.next(&mut buffer).is_ok(), fits, "{length}");
        let (_, error) = feed(&mut Parser::default(), line.chunks(1000).chain(std::iter::once(&b"\n"[..])));
        assert_eq!(error.is_none(), fits, "{length}");
    }
}

/// Issue 14, 24: lengths are not trusted, and the input of an unfinished request is limited.
#[test]
fn n24_limits() {
    for claim in
        ["*99999999999\r\n", "*1\r\n$999999999999\r\n", "*1\r\n$-5\r\n", "*-1x\r\n", "*1\r\n:5\r\n", "*1\r\n*1\r\n"]
    {
        assert!(matches!(feed_whole(claim.as_bytes()).1, Some(ProtocolError::Malformed(_))), "{claim:?}");
    }
    // A large length within the limits waits for input, and reserves nothing.
    assert_eq!(feed_whole(b"*1000000\r\n$500000000\r\nabc"), (Vec::new(), None));
    let limits = Limits { query_buffer: 10_000, bulk: 1000, arguments: 100 };
    let parse = |bytes: &[u8]| feed(&mut Parser::new(limits), bytes.chunks(7)).1;
    assert_eq!(parse(&request(&[vec![b'x'; 1000]])), None);
    assert!(matches!(parse(&request(&[vec![b'x'; 1001]])), Some(ProtocolError::Malformed(_))));
    assert!(matches!(parse(&request(&vec![b"x"; 101])), Some(ProtocolError::Malformed(_))));
    assert_eq!(parse(&request(&vec![vec![b'x'; 1000]; 11])), Some(ProtocolError::TooMuch));
    // Small arguments take more memory than their bytes.
    let limits = Limits { query_buffer: 1000, ..limits };
    assert_eq!(
        feed(&mut Parser::new(limits), std::iter::once(&request(&vec![b"x"; 50])[..])).1,
        Some(ProtocolError::TooMuch)
    );
    // Each request has the whole limit.
    let many = request(&["x", "y"]).repeat(1000);
    assert_eq!(feed(&mut Parser::new(limits), std::iter::once(&many[..])).1, None);
}

/// Issue 14, 24: parsing resumes where it stopped. Byte by byte, a request of 300,000 arguments
/// takes time in proportion to its length. If each byte restarted at the front, it would take days.
#[test]
fn n24_parsing_resumes_where_it_stopped() {
    let stream = request(&vec![b"abc"; 300_000]);
    let start = Instant::now();
    let (requests, error) = feed(&mut Parser::default(), stream.chunks(1));
    println!("{} bytes, one by one: {:?}", stream.len(), start.elapsed());
    assert_eq!((requests.len(), requests[0].len(), error), (1, 300_000, None));
    // The same holds for a long value, and for a line without an end.
    let long = request(&[vec![b'x'; 3_000_000]]);
    assert_eq!(feed(&mut Parser::default(), long.chunks(1)).0.len(), 1);
    let line = vec![b'x'; 64 * 1024];
    assert_eq!(feed(&mut Parser::default(), line.chunks(1)), (Vec::new(), None));
}

/// Issue 14, 24: no argument keeps the memory of another one, or of the buffer.
#[test]
fn n24_arguments_have_their_own_memory() {
    let stream = request(&[&b"SET"[..], b"small", &[b'x'; 100_000], b"end"]);
    let (requests, _) = feed(&mut Parser::default(), stream.chunks(5000));
    let arguments = requests.into_iter().next().expect("one");
    let places: Vec<_> = arguments.iter().map(|argument| argument.as_ptr() as usize).collect();
    for (at, argument) in arguments.iter().enumerate() {
        for (other, start) in places.iter().enumerate().filter(|(other, _)| *other != at) {
            let inside = (places[at]..places[at] + argument.len() + 1).contains(start);
            assert!(!inside, "{other} begins in {at}");
        }
    }
    // An argument that is not shared can be turned into its buffer.
    assert!(arguments.into_iter().all(|argument: Bytes| argument.try_into_mut().is_ok()));
}
