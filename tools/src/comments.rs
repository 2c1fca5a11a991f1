//! The line comments of a Rust source file, read by a small lexer: a `//` inside a string is not a
//! comment. Block comments are skipped, because the workspace has none.

/// A line comment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Comment<'a> {
    /// The line, counted from 1.
    pub(crate) line: usize,
    /// `//`, `///` or `//!`.
    pub(crate) mark: &'static str,
    /// The text after the mark.
    pub(crate) text: &'a str,
    /// `true` if no code precedes the comment on its line.
    pub(crate) is_alone: bool,
}

impl Comment<'_> {
    /// Returns `true` for documentation.
    pub(crate) fn is_doc(&self) -> bool {
        self.mark != "//"
    }
}

/// Returns the line comments of `source`, in their order.
pub(crate) fn of(source: &str) -> Vec<Comment<'_>> {
    let mut found = Vec::new();
    // The text is read by bytes: everything that the lexer looks for is ASCII.
    let bytes = source.as_bytes();
    let at = |i: usize| bytes.get(i).copied().unwrap_or(b'\n');
    let (mut i, mut line, mut line_start) = (0, 1, 0);
    while i < bytes.len() {
        let start = i;
        match at(i) {
            b'/' if at(i + 1) == b'/' => {
                let end = source[i..].find('\n').map_or(source.len(), |length| i + length);
                found.push(comment(&source[i..end], line, source[line_start..i].trim().is_empty()));
                i = end;
            }
            b'/' if at(i + 1) == b'*' => i = block_end(bytes, i),
            b'"' => i = string_end(bytes, i + 1),
            b'\'' if at(i + 1) == b'\\' => {
                // An escaped character: the first tick after the escape ends it.
                i += 3;
                while i < bytes.len() && at(i) != b'\'' {
                    i += 1;
                }
                i += 1;
            }
            // A character, or else the tick of a lifetime.
            b'\'' => {
                let character = source[i + 1..].chars().next().map_or(1, char::len_utf8);
                i += if at(i + 1 + character) == b'\'' { character + 2 } else { 1 };
            }
            byte if byte == b'_' || byte.is_ascii_alphabetic() => {
                while at(i) == b'_' || at(i).is_ascii_alphanumeric() {
                    i += 1;
                }
                let hashes = bytes[i..].iter().take_while(|byte| **byte == b'#').count();
                if matches!(&source[start..i], "r" | "br" | "cr") && at(i + hashes) == b'"' {
                    let end = format!("\"{}", "#".repeat(hashes));
                    let text = i + hashes + 1;
                    i = source[text..].find(&end).map_or(source.len(), |length| text + length + end.len());
                }
            }
            _ => i += 1,
        }
        let i_in_text = i.min(bytes.len());
        for (offset, _) in bytes[start..i_in_text].iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            line += 1;
            line_start = start + offset + 1;
        }
    }
    found
}

fn comment(text: &str, line: usize, is_alone: bool) -> Comment<'_> {
    let mark = match text.as_bytes() {
        [b'/', b'/', b'!', ..] => "//!",
        // Four slashes are no documentation.
        [b'/', b'/', b'/', b'/', ..] => "//",
        [b'/', b'/', b'/', ..] => "///",
        _ => "//",
    };
    Comment { line, mark, text: &text[mark.len()..], is_alone }
}

/// Returns the position after the block comment that begins at `i`; block comments nest.
fn block_end(bytes: &[u8], mut i: usize) -> usize {
    let mut depth = 0;
    while i < bytes.len() {
        match bytes[i..] {
            [b'/', b'*', ..] => (depth, i) = (depth + 1, i + 2),
            [b'*', b'/', ..] => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            break;
        }
    }
    i
}

/// Returns the position after the string whose text begins at `i`.
fn string_end(bytes: &[u8], mut i: usize) -> usize {
    while i < bytes.len() && bytes[i] != b'"' {
        i += if bytes[i] == b'\\' { 2 } else { 1 };
    }
    i + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_line_comments() {
        let text = "//! a\nfn f() {} // b\n    /// c\n    //// d\n";
        let found: Vec<_> = of(text).iter().map(|c| (c.line, c.mark, c.text, c.is_alone)).collect();
        let expected =
            [(1, "//!", " a", true), (2, "//", " b", false), (3, "///", " c", true), (4, "//", "// d", true)];
        assert_eq!(found, expected);
    }

    #[test]
    fn strings_and_characters_are_not_comments() {
        for text in [
            r#""https://a // b""#,
            r#""\" // b""#,
            "\"two\n// lines\"",
            "r#\"a \" // b\"#",
            "br\"// b\"",
            "f('\"', b'\\'', '\\\\', \"// b\")",
            "fn f<'a>(x: &'a str) { g(\"// b\") }",
            "/* // b /* c */ // d */",
            "'ä'; \"// b\"",
        ] {
            assert_eq!(of(text), [], "{text}");
            let with_one = format!("{text} // end");
            let ends: Vec<_> = of(&with_one).iter().map(|comment| comment.text.trim()).collect();
            assert_eq!(ends, ["end"], "{text}");
        }
    }

    #[test]
    fn lines_are_counted_through_strings() {
        assert_eq!(of("\"a\n\\\nb\"\n/* \n */ // c")[0].line, 5);
    }
}
