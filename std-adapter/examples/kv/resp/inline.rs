//! Inline requests, typed by hand: words, with Redis's quoting.

use bytes::Bytes;

/// Splits a line into words. In double quotes `\n`, `\r`, `\t`, `\b`, `\a` and `\xHH` mean a byte,
/// and a backslash before any other character means that character. In single quotes only `\'` is
/// an escape. After a closing quote, a space or the end of the line must follow. Returns `None` if
/// a quote is not closed in this way.
pub fn words(line: &[u8]) -> Option<Vec<Bytes>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let (word, after) = word(rest)?;
        words.push(Bytes::from(word));
        rest = after.trim_ascii_start();
    }
    Some(words)
}

/// Returns the first word, and the rest of the line.
fn word(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    loop {
        let quoted = match rest {
            [] => return Some((word, rest)),
            // Redis holds the line as a C string, so a zero byte ends a word.
            [0 | b' ' | b'\n' | b'\r' | b'\t', after @ ..] => return Some((word, after)),
            [b'"', after @ ..] => double_quoted(after, &mut word)?,
            [b'\'', after @ ..] => single_quoted(after, &mut word)?,
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
                continue;
            }
        };
        let is_closed = quoted.first().is_none_or(|byte| byte.is_ascii_whitespace() || *byte == b'\x0b');
        return is_closed.then_some((word, quoted));
    }
}

/// Appends the text before the closing quote, and returns the rest after it.
fn double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, after) = match rest {
            [] => return None,
            [b'"', after @ ..] => return Some(after),
            [b'\\', b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (digit(*high) << 4 | digit(*low), after)
            }
            [b'\\', escaped, after @ ..] => (escape(*escaped), after),
            [byte, after @ ..] => (*byte, after),
        };
        word.push(byte);
        rest = after;
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, after) = match rest {
            [] => return None,
            [b'\'', after @ ..] => return Some(after),
            [b'\\', b'\'', after @ ..] => (b'\'', after),
            [byte, after @ ..] => (*byte, after),
        };
        word.push(byte);
        rest = after;
    }
}

fn escape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

fn digit(hex: u8) -> u8 {
    match hex {
        b'0'..=b'9' => hex - b'0',
        _ => (hex | 0x20) - b'a' + 10,
    }
}
