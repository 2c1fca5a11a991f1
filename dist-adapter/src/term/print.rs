//! Terms as text, on one line, as Erlang writes them with `~0tp`: printable lists and binaries in
//! double quotes, the shortest digits of floats. The names of nodes stand where Erlang has numbers
//! for them.

use alloc::vec::Vec;
use core::fmt::{self, Write};

use super::print_leaf::write_leaf;
use super::skip::{extent, skip};
use super::{Term, TermRef, tag};

impl fmt::Display for Term {
    /// Writes the term as Erlang does, cut off behind as many characters as the precision says
    /// (`{:.200}`). Takes time in what is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.view(), f)
    }
}

impl fmt::Display for TermRef<'_> {
    /// Writes the term as Erlang does, cut off behind as many characters as the precision says
    /// (`{:.200}`). Takes time in what is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(precision) = f.precision() else { return Printer::new(*self).run(f) };
        let mut cut = Cut { out: f, left: precision, is_cut: false };
        match Printer::new(*self).run(&mut cut) {
            Err(_) if cut.is_cut => f.write_str("..."),
            result => result,
        }
    }
}

/// Writes as many characters as are left, and fails then.
struct Cut<'a, W> {
    out: &'a mut W,
    left: usize,
    is_cut: bool,
}

impl<W: Write> Write for Cut<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        match text.char_indices().nth(self.left) {
            None => {
                self.left -= text.chars().count();
                self.out.write_str(text)
            }
            Some((end, _)) => {
                self.left = 0;
                self.is_cut = true;
                self.out.write_str(&text[..end])?;
                Err(fmt::Error)
            }
        }
    }
}

/// A container that is being written.
struct Frame {
    kind: Container,
    /// As many elements are to come, but for the tail of a list.
    left: usize,
    is_first: bool,
}

enum Container {
    Tuple,
    Map,
    List,
    /// A list whose improper tail has begun.
    Tail,
}

/// Writes a term token by token, so that each byte is read once however deep it is nested.
struct Printer<'a> {
    term: TermRef<'a>,
    at: usize,
    frames: Vec<Frame>,
}

impl<'a> Printer<'a> {
    fn new(term: TermRef<'a>) -> Self {
        Self { term, at: 0, frames: Vec::new() }
    }

    fn run(mut self, out: &mut impl Write) -> fmt::Result {
        loop {
            self.token(out)?;
            if !self.advance(out)? {
                return Ok(());
            }
        }
    }

    /// Writes a leaf, or begins a container.
    fn token(&mut self, out: &mut impl Write) -> fmt::Result {
        let bytes = self.term.bytes();
        let token = self.term.at(self.at);
        let (length, elements) = extent(&bytes[self.at..]);
        self.at += length;
        let (kind, open, left) = match bytes[self.at - length] {
            tag::SMALL_TUPLE | tag::LARGE_TUPLE => (Container::Tuple, "{", elements),
            tag::MAP => (Container::Map, "#{", elements),
            tag::LIST => (Container::List, "[", elements - 1),
            _ => {
                write_leaf(token, out)?;
                // The free variables of a closure are not written.
                self.at = skip(bytes, self.at, elements);
                return Ok(());
            }
        };
        self.frames.push(Frame { kind, left, is_first: true });
        out.write_str(open)
    }

    /// Closes what has ended, and writes what stands before the next term. Returns `false` if all
    /// has been written.
    fn advance(&mut self, out: &mut impl Write) -> Result<bool, fmt::Error> {
        while let Some(frame) = self.frames.last_mut() {
            if let Some(left) = frame.left.checked_sub(1) {
                frame.left = left;
                out.write_str(match frame.kind {
                    Container::Map if left % 2 == 0 => " => ",
                    _ if frame.is_first => "",
                    _ => ",",
                })?;
                frame.is_first = false;
                return Ok(true);
            }
            match frame.kind {
                Container::List if self.term.at(self.at).is_nil() => {
                    self.at += 1;
                    out.write_char(']')?;
                }
                Container::List => {
                    frame.kind = Container::Tail;
                    out.write_char('|')?;
                    return Ok(true);
                }
                Container::Tail => out.write_char(']')?,
                Container::Tuple | Container::Map => out.write_char('}')?,
            }
            self.frames.pop();
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;

    use crate::term::TermBuilder;

    /// The results are those of `io:format("~0tp")` of OTP 25, but for the names of nodes.
    #[test]
    fn terms_are_written_as_erlang_does() {
        let new = TermBuilder::new;
        for (term, text) in [
            (new().tuple(0).finish(), "{}"),
            (new().map(0).finish(), "#{}"),
            (new().nil().finish(), "[]"),
            (new().tuple(2).integer(1).list(2).integer(2).integer(3).integer(4).finish(), "{1,[2,3|4]}"),
            (new().list(2).integer(97).integer(300).nil().finish(), "[97,300]"),
            (new().list(1).tuple(1).nil().tuple(1).atom("x").finish(), "[{[]}|{x}]"),
            (new().map(2).integer(1).integer(2).atom("a").list(1).integer(98).nil().finish(), "#{1 => 2,a => \"b\"}"),
            (new().tuple(2).list(1).atom("a").list(1).atom("b").nil().nil().finish(), "{[a,b],[]}"),
        ] {
            assert_eq!(term.to_string(), text);
        }
    }

    #[test]
    fn precision_cuts_off_between_characters() {
        let term = TermBuilder::new().tuple(2).atom("日本語").integer(1).finish();
        assert_eq!(format!("{term:.8}"), "{'日本語',1...");
        assert_eq!(format!("{term:.3}"), "{'日...");
        assert_eq!(format!("{term:.0}"), "...");
        assert_eq!(format!("{term:.9}"), "{'日本語',1}");
        assert_eq!(format!("{term:.100}"), "{'日本語',1}");
    }

    #[test]
    fn deep_terms_take_no_stack() {
        let depth = 300_000;
        let list = (0..depth).fold(TermBuilder::new(), |builder, _| builder.list(1));
        let list = (0..=depth).fold(list, |builder, _| builder.nil()).finish();
        let text = list.to_string();
        assert_eq!(text.len(), 2 * depth + 2);
        assert!(text.starts_with("[[[") && text.ends_with("]]]"));
        assert_eq!(format!("{list:.4}"), "[[[[...");
    }
}
