//! A minimal client, for sessions byte by byte.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::{Server, server};

/// Returns a request as clients write it.
pub(crate) fn request<T: AsRef<[u8]>>(words: &[T]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.as_ref().len()).as_bytes());
        out.extend_from_slice(word.as_ref());
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Returns requests made of words that are separated by spaces, one request per line.
pub(crate) fn requests(lines: &str) -> Vec<u8> {
    lines.lines().flat_map(|line| request(&line.split_whitespace().collect::<Vec<_>>())).collect()
}

/// A connection to the server.
pub(crate) struct Wire(pub(crate) TcpStream);

impl Wire {
    pub(crate) fn to(server: &Server) -> Self {
        let socket = TcpStream::connect(server.at).expect("the server accepts");
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        Self(socket)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the server reads");
    }

    /// Reads this many bytes.
    pub(crate) fn read(&mut self, count: usize) -> Vec<u8> {
        let mut said = vec![0; count];
        self.0.read_exact(&mut said).expect("answered");
        said
    }

    /// Reads a line, without its end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(self.read(1)[0]);
        }
        String::from_utf8_lossy(&line[..line.len() - 2]).into_owned()
    }

    /// Sends bytes, and checks that the reply begins with `expected`.
    #[track_caller]
    pub(crate) fn expect(&mut self, sent: &[u8], expected: &str) {
        self.send(sent);
        let said = self.read(expected.len());
        assert_eq!(
            String::from_utf8_lossy(&said),
            expected,
            "to {:?}",
            String::from_utf8_lossy(&sent[..sent.len().min(200)])
        );
    }

    /// Sends the words as requests, and checks the reply.
    #[track_caller]
    pub(crate) fn ask(&mut self, words: &str, expected: &str) {
        self.expect(&requests(words), expected);
    }

    /// Reads until the server closes.
    pub(crate) fn rest(&mut self) -> String {
        let mut said = Vec::new();
        let ended = self.0.read_to_end(&mut said);
        // A reset counts as the end, too.
        assert!(
            ended.is_ok()
                || !said.is_empty()
                || ended.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
        );
        String::from_utf8_lossy(&said).into_owned()
    }
}

/// Sends bytes in a session of its own, and returns all replies.
pub(crate) fn session(server: &Server, sent: &[u8]) -> String {
    let mut wire = Wire::to(server);
    wire.send(sent);
    let _ = wire.0.shutdown(std::net::Shutdown::Write);
    wire.rest()
}

/// Issue 14, 23: inline requests, with Redis's quoting.
#[test]
fn n23_inline_requests() {
    let server = server();
    for (sent, expected) in [
        ("PING\r\n", "+PONG\r\n"),
        ("PING\n", "+PONG\r\n"),
        ("\r\n\r\n\n  PING  \r\n", "+PONG\r\n"),
        ("*-1\r\n*0\r\nPING\r\n", "+PONG\r\n"),
        ("ECHO \"hello world\"\r\n", "$11\r\nhello world\r\n"),
        ("ECHO 'a b'\r\n", "$3\r\na b\r\n"),
        ("ECHO 'a \\' b'\r\n", "$5\r\na ' b\r\n"),
        ("ECHO \"\\x41\\n\\t\\\"\\\\\"\r\n", "$5\r\nA\n\t\"\\\r\n"),
        ("ECHO \"\\xZ\"\r\n", "$2\r\nxZ\r\n"),
        ("ECHO \"\"\r\n", "$0\r\n\r\n"),
        ("ECHO ''\r\n", "$0\r\n\r\n"),
        ("ECHO a\"b c\"\r\n", "$4\r\nab c\r\n"),
    ] {
        assert_eq!(session(&server, sent.as_bytes()), expected, "{sent:?}");
    }
    for sent in ["ECHO \"a\r\nPING\r\n", "ECHO 'a\r\n", "ECHO \"a\"b\r\n", "ECHO 'a'b\r\n", "ECHO \"a\\\"\r\n"] {
        assert_eq!(
            session(&server, sent.as_bytes()),
            "-ERR Protocol error: unbalanced quotes in request\r\n",
            "{sent:?}"
        );
    }
}

/// Issue 14, 23: integers follow Redis's rules wherever one is read, with Redis's error texts.
#[test]
fn n23_integers() {
    let server = server();
    let mut wire = Wire::to(&server);
    let not = "-ERR value is not an integer or out of range\r\n";
    for text in ["+5", "007", "-0", "5.0", "0x5", "", "-", "00", "9223372036854775808", "-9223372036854775809", "1 "] {
        wire.expect(&request(&["SET", "n", text]), "+OK\r\n");
        wire.ask("INCR n", not);
        wire.expect(&request(&["INCRBY", "other", text]), not);
        wire.expect(&request(&["EXPIRE", "other", text]), not);
        wire.expect(&request(&["SET", "other", "v", "EX", text]), not);
    }
    for text in ["0", "-1", "10", "9223372036854775806", "-9223372036854775808"] {
        wire.expect(&request(&["SET", "n", text]), "+OK\r\n");
        let sum = text.parse::<i64>().expect("one") + 1;
        wire.ask("INCR n", &format!(":{sum}\r\n"));
    }
    wire.ask(
        "SET n 9223372036854775807\nINCR n\nGET n",
        "+OK\r\n-ERR increment or decrement would overflow\r\n$19\r\n9223372036854775807\r\n",
    );
    wire.ask("SET n 0\nDECRBY n -9223372036854775808", "+OK\r\n-ERR decrement would overflow\r\n");
    // An increment keeps the expiry.
    wire.ask("SET n 1 EX 100\nINCR n\nTTL n", "+OK\r\n:2\r\n:100\r\n");
    for head in ["*+1\r\n", "*01\r\n", "* 1\r\n", "*1x\r\n", "*2000000000\r\n", "*9999999999999999999\r\n"] {
        assert_eq!(session(&server, head.as_bytes()), "-ERR Protocol error: invalid multibulk length\r\n", "{head:?}");
    }
    for head in ["$+4\r\n", "$-1\r\n", "$04\r\n", "$536870913\r\n", "$x\r\n"] {
        let sent = format!("*1\r\n{head}");
        assert_eq!(session(&server, sent.as_bytes()), "-ERR Protocol error: invalid bulk length\r\n", "{head:?}");
    }
    assert_eq!(session(&server, b"*1\r\n:5\r\n"), "-ERR Protocol error: expected '$', got ':'\r\n");
    // Earlier requests are answered before the error.
    let said = session(&server, &[&request(&["ECHO", "x"])[..], b"*1\r\n!\r\n"].concat());
    assert_eq!(said, "$1\r\nx\r\n-ERR Protocol error: expected '$', got '!'\r\n");
}
