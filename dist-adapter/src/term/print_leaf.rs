//! Leaves of terms as text.

use alloc::format;
use alloc::string::String;
use core::fmt::{self, Write};

use super::{Kind, TermRef};

/// Writes a term without elements, or a closure.
pub(crate) fn write_leaf(term: TermRef<'_>, out: &mut impl Write) -> fmt::Result {
    match term.kind() {
        Kind::Atom(text) => write_atom(text, out),
        Kind::Integer(value) => write!(out, "{value}"),
        Kind::Float(value) => write_float(value, out),
        Kind::Binary(bytes) => write_binary(bytes, out),
        Kind::BitString(bits) => {
            let (last, whole) = bits.bytes.split_last().unwrap_or((&0, &[]));
            out.write_str("<<")?;
            whole.iter().try_for_each(|byte| write!(out, "{byte},"))?;
            write!(out, "{}:{}>>", last >> (8 - bits.last_bits), bits.last_bits)
        }
        Kind::Nil => out.write_str("[]"),
        // The only list that is a leaf is a string.
        Kind::List(list) => write_string(list.as_bytes().unwrap_or_default(), out),
        Kind::Pid(pid) => write!(out, "{pid:?}"),
        Kind::Port(port) => write!(out, "{port:?}"),
        Kind::Reference(reference) => write!(out, "{reference:?}"),
        Kind::Export(export) => {
            out.write_str("fun ")?;
            write_atom(export.module, out)?;
            out.write_char(':')?;
            write_atom(export.function, out)?;
            write!(out, "/{}", export.arity)
        }
        Kind::Fun(fun) => {
            let (index, hash) = fun.index_and_hash();
            out.write_str("#Fun<")?;
            write_atom(fun.module(), out)?;
            write!(out, ".{index}.{hash}>")
        }
        Kind::Tuple(_) | Kind::Map(_) => unreachable!("the printer opens these"),
    }
}

/// Writes an atom, in quotes if Erlang needs them.
pub(crate) fn write_atom(text: &str, out: &mut (impl Write + ?Sized)) -> fmt::Result {
    if is_plain(text) {
        return out.write_str(text);
    }
    out.write_char('\'')?;
    text.chars().try_for_each(|character| write_quoted(character, '\'', out))?;
    out.write_char('\'')
}

/// Writes a character between quotes.
fn write_quoted(character: char, quote: char, out: &mut (impl Write + ?Sized)) -> fmt::Result {
    let escaped = match character {
        '\\' => '\\',
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        '\u{b}' => 'v',
        '\u{8}' => 'b',
        '\u{c}' => 'f',
        '\u{1b}' => 'e',
        '\u{7f}' => 'd',
        other if other == quote => quote,
        other if other.is_control() => return write!(out, "\\{:03o}", u32::from(other)),
        other => return out.write_char(other),
    };
    write!(out, "\\{escaped}")
}

/// Returns `true` for an atom that Erlang reads back without quotes.
fn is_plain(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(is_lower)
        && characters.all(|character| {
            is_lower(character)
                || character.is_ascii_alphanumeric()
                || matches!(character, '_' | '@' | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{de}')
        })
        && !RESERVED.contains(&text)
}

/// Returns `true` for the letters with which an atom without quotes begins: those of ASCII and of
/// Latin-1.
fn is_lower(character: char) -> bool {
    matches!(character, 'a'..='z' | '\u{df}'..='\u{f6}' | '\u{f8}'..='\u{ff}')
}

/// The reserved words of Erlang.
const RESERVED: [&str; 27] = [
    "after", "and", "andalso", "band", "begin", "bnot", "bor", "bsl", "bsr", "bxor", "case", "catch", "cond", "div",
    "end", "fun", "if", "let", "not", "of", "or", "orelse", "receive", "rem", "try", "when", "xor",
];

/// Returns `true` for the characters that a list or a binary in double quotes may have.
fn is_printable(character: char) -> bool {
    !character.is_control() || matches!(character, '\n' | '\r' | '\t' | '\u{b}' | '\u{8}' | '\u{c}' | '\u{1b}')
}

/// Writes a proper list of bytes, as text if they are printable characters of Latin-1.
fn write_string(bytes: &[u8], out: &mut impl Write) -> fmt::Result {
    let mut characters = bytes.iter().map(|byte| char::from(*byte));
    if characters.clone().all(is_printable) {
        out.write_char('"')?;
        characters.try_for_each(|character| write_quoted(character, '"', out))?;
        return out.write_char('"');
    }
    write_bytes("[", bytes, "]", out)
}

/// Writes a binary, as text if it is printable UTF-8.
fn write_binary(bytes: &[u8], out: &mut impl Write) -> fmt::Result {
    match core::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && text.chars().all(is_printable) => {
            out.write_str("<<\"")?;
            text.chars().try_for_each(|character| write_quoted(character, '"', out))?;
            out.write_str(if text.is_ascii() { "\">>" } else { "\"/utf8>>" })
        }
        _ => write_bytes("<<", bytes, ">>", out),
    }
}

fn write_bytes(open: &str, bytes: &[u8], close: &str, out: &mut impl Write) -> fmt::Result {
    out.write_str(open)?;
    for (at, byte) in bytes.iter().enumerate() {
        write!(out, "{}{byte}", if at == 0 { "" } else { "," })?;
    }
    out.write_str(close)
}

/// Integers from this number on are no longer all floats.
const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53

/// Writes a float with the shortest digits that read back the same, in Erlang's choice of forms:
/// with an exponent where that is shorter.
fn write_float(value: f64, out: &mut impl Write) -> fmt::Result {
    if value.is_sign_negative() {
        out.write_char('-')?;
    }
    if value == 0.0 {
        return out.write_str("0.0");
    }
    // Rust writes the shortest digits as `d.ddde10`.
    let text = format!("{:e}", value.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits: String = mantissa.chars().filter(|character| *character != '.').collect();
    let exponent: i32 = exponent.parse().unwrap_or_default();
    // The value is 0.DIGITS times ten to the power of `place`.
    let (place, length) = (exponent + 1, digits.len() as i32);
    let cost = format!("{exponent}").len() as i32 + if length == 1 { 3 } else { 2 };
    let zeros = |count: i32| "0".repeat(count.max(0) as usize);
    if place <= 0 {
        if place == 0 || 2 - place <= cost {
            return write!(out, "0.{}{digits}", zeros(-place));
        }
    } else if place >= length {
        if place - length + 2 <= cost && value.abs() < EXACT {
            return write!(out, "{digits}{}.0", zeros(place - length));
        }
    } else {
        let (whole, fraction) = digits.split_at(place as usize);
        return write!(out, "{whole}.{fraction}");
    }
    let (first, rest) = digits.split_at(1);
    write!(out, "{first}.{}e{exponent}", if rest.is_empty() { "0" } else { rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut String) -> fmt::Result) -> String {
        let mut text = String::new();
        write(&mut text).unwrap();
        text
    }

    /// The results are those of OTP 25.
    #[test]
    fn floats_are_written_as_erlang_does() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-1.5, "-1.5"),
            (100.0, "100.0"),
            (1000.0, "1.0e3"),
            (-1500.0, "-1.5e3"),
            (1234.5, "1234.5"),
            (12345.0, "12345.0"),
            (123_450.0, "123450.0"),
            (1_234_500.0, "1.2345e6"),
            (123_456.0, "123456.0"),
            (1_234_567_890.0, "1234567890.0"),
            (1.0e22, "1.0e22"),
            (9_007_199_254_740_992.0, "9.007199254740992e15"),
            (4_503_599_627_370_496.0, "4503599627370496.0"),
            (12_345_678_901_234_567.0, "1.2345678901234568e16"),
            (0.1, "0.1"),
            (0.015, "0.015"),
            (0.0001, "0.0001"),
            (0.00001, "1.0e-5"),
            (0.00123, "0.00123"),
            (0.0015, "0.0015"),
            (0.00012345, "1.2345e-4"),
            (1.5e-7, "1.5e-7"),
            (5.0e-324, "5.0e-324"),
            (f64::MAX, "1.7976931348623157e308"),
        ] {
            assert_eq!(written(|out| write_float(value, out)), text);
        }
    }

    /// The results are those of OTP 25.
    #[test]
    fn atoms_are_quoted_as_by_erlang() {
        for (text, quoted) in [
            ("a", "a"),
            ("a@b", "a@b"),
            ("hello world", "'hello world'"),
            ("", "''"),
            ("_x", "'_x'"),
            ("x?", "'x?'"),
            ("a.b", "'a.b'"),
            ("1a", "'1a'"),
            ("end", "'end'"),
            ("cond", "'cond'"),
            ("maybe", "maybe"),
            ("else", "else"),
            ("\n", "'\\n'"),
            ("é", "é"),
            ("ÿ", "ÿ"),
            ("Éa", "'Éa'"),
            ("÷", "'÷'"),
            ("×", "'×'"),
            ("日本", "'日本'"),
            ("x\u{7f}", "'x\\d'"),
            ("\u{80}a", "'\\200a'"),
            ("it's", "'it\\'s'"),
        ] {
            assert_eq!(written(|out| write_atom(text, out)), quoted);
        }
    }

    /// The results are those of `io:format("~0tp")` of OTP 25.
    #[test]
    fn text_is_written_in_quotes() {
        for (bytes, text) in [
            (&b"abc"[..], "<<\"abc\">>"),
            ("é".as_bytes(), "<<\"é\"/utf8>>"),
            (b"a\"\\\n", "<<\"a\\\"\\\\\\n\">>"),
            (b"", "<<>>"),
            (&[1, 2, 3], "<<1,2,3>>"),
            (b"a\x7fb", "<<97,127,98>>"),
        ] {
            assert_eq!(written(|out| write_binary(bytes, out)), text);
        }
        for (bytes, text) in [
            (&b"abc"[..], "\"abc\""),
            (&[233, 10], "\"é\\n\""),
            (b"\x1b\t\x0b\x08\x0c\r", "\"\\e\\t\\v\\b\\f\\r\""),
            (&[1], "[1]"),
            (&[127], "[127]"),
            (&[128], "[128]"),
            (&[160], "\"\u{a0}\""),
        ] {
            assert_eq!(written(|out| write_string(bytes, out)), text);
        }
    }
}
