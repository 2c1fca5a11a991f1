//! The prose rules: comments and Markdown in plain technical English, with a named subject.
//!
//! In lock-free code the subject of a sentence is the argument: which thread did this? A bare "who"
//! leaves that open. The check also refuses documentation that says nothing (one word, only a
//! reference), safety notes that name no rule, and lines that are too wide. Text in backticks and
//! in code fences is exempt. The check reads the comments of every Rust file that git does not
//! ignore, and every Markdown file that git tracks.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::comments::{self, Comment};
use crate::steps::output;

/// The width of comment lines, in characters.
const COMMENT_WIDTH: usize = 100;
/// The width of Markdown lines, in characters.
const MARKDOWN_WIDTH: usize = 120;
/// A safety note of so few words that names no numbered invariant says nothing.
const SHORT_NOTE: usize = 3;

/// Pronouns for a person. They are no subject and no object: a role is.
const PRONOUNS: &[&str] = &[
    "who",
    "whom",
    "whoever",
    "whomever",
    "whichever",
    "somebody",
    "anybody",
    "someone",
    "anyone",
    "nobody",
    "everybody",
    "everyone",
];
/// Words after which a pronoun begins a clause, so it refers to no noun.
const CLAUSE_WORDS: &[&str] = &[
    "and", "or", "but", "by", "of", "for", "to", "from", "with", "than", "as", "that", "when", "if", "is", "are",
    "what", "because", "so", "where", "while", "ask", "asks", "tell", "tells", "say", "says", "see", "at",
];
/// Punctuation after which a pronoun begins a clause.
const CLAUSE_MARKS: &str = ".;:,(!?—-*|";
const PERSONS: &[&str] = &["he", "his", "him", "she", "her"];
const IDIOMS: &[&str] = &[
    "any more",
    "likewise",
    "meanwhile",
    "in hand",
    "for want of",
    "of late",
    "so many as",
    "so long as",
    "is to be",
    "are to be",
    "let go of",
    "lets go of",
    "like to",
    "likes to",
];
/// Safety notes that name no rule.
const EMPTY_NOTES: &[&str] =
    &["by contract", "likewise", "as above", "the owner", "shared, so live", "see above", "the same"];

/// What a line breaks, and how to mend it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rule {
    Subject,
    Person,
    Idiom,
    OneWord,
    OnlySee,
    Whether,
    Safety,
    Width(usize),
}

impl Rule {
    fn name(self) -> String {
        match self {
            Self::Subject => "no subject".to_owned(),
            Self::Person => "a person".to_owned(),
            Self::Idiom => "an idiom".to_owned(),
            Self::OneWord => "one word".to_owned(),
            Self::OnlySee => "only a reference".to_owned(),
            Self::Whether => "Whether".to_owned(),
            Self::Safety => "a safety note without a rule".to_owned(),
            Self::Width(width) => format!("over {width} columns"),
        }
    }

    fn mend(self) -> &'static str {
        match self {
            Self::Subject => "name the role: the sender, receiver, owner, core, waker, target, parent, host thread",
            Self::Person => "repeat the noun, or write `it`: nothing here is a person",
            Self::Idiom => "use plain words: still, also, at the same time, while, must, releases, now",
            Self::OneWord => "say what it is for, or what it returns, in a phrase",
            Self::OnlySee => "say in one phrase what it is or does, then refer to the rest",
            Self::Whether => "begin with \"Returns `true` if\", or with a noun phrase for a field",
            Self::Safety => "name the invariant by its number or words, and the code that established it",
            Self::Width(_) => "wrap the line",
        }
    }
}

type Finding = (usize, Rule);

pub(crate) fn check() -> Result<()> {
    let mut files = rust_files()?;
    files.extend(markdown_files()?);
    let (mut report, mut found) = (String::new(), 0);
    for file in &files {
        let text = fs::read_to_string(file).with_context(|| file.clone())?;
        let findings = if file.ends_with(".md") { in_markdown(&text) } else { in_rust(&text) };
        found += findings.len();
        for (line, rule) in findings {
            let content = text.lines().nth(line - 1).unwrap_or_default().trim();
            writeln!(report, "{file}:{line}: {}: {content}\n    mend: {}", rule.name(), rule.mend())?;
        }
    }
    println!("{} files", files.len());
    if found > 0 {
        print!("{report}");
        bail!("{found} findings");
    }
    Ok(())
}

/// Returns the Rust files that git does not ignore.
pub(crate) fn rust_files() -> Result<Vec<String>> {
    listed(&["--cached", "--others", "--exclude-standard", "*.rs"])
}

/// Returns the Markdown files that git tracks.
pub(crate) fn markdown_files() -> Result<Vec<String>> {
    listed(&["--cached", "*.md"])
}

fn listed(arguments: &[&str]) -> Result<Vec<String>> {
    // In a container, the folder may belong to another user. During a merge, git lists a file in
    // several versions.
    let files = output("git", &[&["-c", "safe.directory=*", "ls-files", "-z", "--deduplicate"], arguments].concat())?;
    // Git also lists tracked files that are deleted.
    Ok(files.split('\0').filter(|file| Path::new(file).is_file()).map(str::to_owned).collect())
}

/// Returns the findings in the comments of a Rust file.
fn in_rust(source: &str) -> Vec<Finding> {
    let (mut found, mut fenced) = (Vec::new(), false);
    let mut paragraph = Paragraph::default();
    let comments = comments::of(source);
    let lines: Vec<&str> = source.lines().collect();
    for (at, comment) in comments.iter().enumerate() {
        let adjoins = |other: &Comment<'_>| other.is_alone && comment.is_alone && other.mark == comment.mark;
        let is_first = !at.checked_sub(1).is_some_and(|before| {
            let before = &comments[before];
            adjoins(before) && before.line + 1 == comment.line
        });
        let is_last = !comments.get(at + 1).is_some_and(|after| adjoins(after) && comment.line + 1 == after.line);
        if is_first {
            paragraph.end(&mut found);
            fenced = false;
        }
        let text = comment.text.trim();
        if text.starts_with("```") {
            paragraph.end(&mut found);
            fenced = !fenced;
            continue;
        }
        if fenced {
            continue;
        }
        let width = lines[comment.line - 1].chars().count();
        if comment.is_alone && width > COMMENT_WIDTH && !may_be_wide(text) {
            found.push((comment.line, Rule::Width(COMMENT_WIDTH)));
        }
        paragraph.line(comment.line, text, &mut found);
        if comment.is_doc() && is_first {
            found.extend(first_doc_line(text, is_last).map(|rule| (comment.line, rule)));
        }
        if text.strip_prefix("SAFETY:").is_some_and(|note| is_empty_note(note, is_last)) {
            found.push((comment.line, Rule::Safety));
        }
    }
    paragraph.end(&mut found);
    found.sort_by_key(|(line, _)| *line);
    found
}

/// Returns the findings in a Markdown file.
fn in_markdown(source: &str) -> Vec<Finding> {
    let (mut found, mut fenced) = (Vec::new(), false);
    let mut paragraph = Paragraph::default();
    for (at, text) in source.lines().enumerate() {
        if text.trim().starts_with("```") {
            paragraph.end(&mut found);
            fenced = !fenced;
        } else if !fenced {
            if text.chars().count() > MARKDOWN_WIDTH && !may_be_wide(text.trim()) {
                found.push((at + 1, Rule::Width(MARKDOWN_WIDTH)));
            }
            paragraph.line(at + 1, text.trim(), &mut found);
        }
    }
    paragraph.end(&mut found);
    found.sort_by_key(|(line, _)| *line);
    found
}

/// Returns `true` for lines that cannot be wrapped: tables, addresses, and pictures, which are
/// lines with less than half letters and digits.
fn may_be_wide(text: &str) -> bool {
    let words = text.chars().filter(|c| c.is_alphanumeric()).count();
    text.starts_with('|') || text.contains("http://") || text.contains("https://") || words * 2 < text.chars().count()
}

/// Judges the first line of a documentation comment; `is_all` if it is the only one.
fn first_doc_line(text: &str, is_all: bool) -> Option<Rule> {
    let word = text.strip_suffix('.').unwrap_or(text);
    if is_all && !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "_`[]".contains(c)) {
        return Some(Rule::OneWord);
    }
    if is_all && text.starts_with("See ") && !without_code(text).contains([',', ';', ':']) {
        return Some(Rule::OnlySee);
    }
    (text.split_whitespace().next() == Some("Whether")).then_some(Rule::Whether)
}

/// Returns `true` for a safety note that names no rule; `is_all` if no line follows it.
fn is_empty_note(note: &str, is_all: bool) -> bool {
    let note = note.trim();
    let phrase = note.strip_suffix('.').unwrap_or(note).to_lowercase();
    let names_invariant = note.split(|c: char| !c.is_alphanumeric()).any(|word| {
        let mut letters = word.chars();
        letters.next().is_some_and(|c| c.is_ascii_uppercase()) && letters.next().is_some_and(|c| c.is_ascii_digit())
    });
    let is_short = is_all && note.split_whitespace().count() <= SHORT_NOTE;
    EMPTY_NOTES.contains(&phrase.as_str()) || is_short && !names_invariant
}

/// The lines of a paragraph, joined: a line's first word follows the last word of the line before.
#[derive(Default)]
struct Paragraph {
    text: String,
    /// The start of each line in `text`, and its number in the file.
    lines: Vec<(usize, usize)>,
}

impl Paragraph {
    /// Adds a line. An empty line, a heading and a table's row end a paragraph.
    fn line(&mut self, number: usize, text: &str, found: &mut Vec<Finding>) {
        if text.is_empty() || text.starts_with(['#', '|']) {
            self.end(found);
        }
        self.lines.push((self.text.len(), number));
        self.text += text;
        self.text += " ";
    }

    /// Judges the paragraph and empties it.
    fn end(&mut self, found: &mut Vec<Finding>) {
        let text = without_code(&self.text);
        let words = words(&text);
        for (at, (start, word)) in words.iter().enumerate() {
            let line = self.lines.iter().rev().find(|(from, _)| from <= start).map_or(0, |(_, line)| *line);
            let rule = if PRONOUNS.contains(&word.as_str()) && begins_a_clause(&text, &words, at) {
                Rule::Subject
            } else if PERSONS.contains(&word.as_str()) {
                Rule::Person
            } else if IDIOMS.iter().any(|idiom| is_phrase(&text, &words[at..], idiom)) {
                Rule::Idiom
            } else {
                continue;
            };
            found.push((line, rule));
        }
        *self = Self::default();
    }
}

/// Replaces text in backticks by as many `_`, so that positions stay.
fn without_code(text: &str) -> String {
    let mut in_code = false;
    let replace = |c: char| {
        in_code ^= c == '`';
        if in_code || c == '`' { "_".repeat(c.len_utf8()) } else { c.to_string() }
    };
    let replaced: String = text.chars().map(replace).collect();
    // A backtick without a partner opens no code.
    if in_code { text.to_owned() } else { replaced }
}

/// Returns the words of a text in lower case, with their positions. `who's` is one word.
fn words(text: &str) -> Vec<(usize, String)> {
    let mut words: Vec<(usize, String)> = Vec::new();
    let mut in_word = false;
    for (at, c) in text.char_indices() {
        let of_word = c.is_alphanumeric() || c == '_' || c == '\'';
        if of_word && !in_word {
            words.push((at, String::new()));
        }
        if let (true, Some((_, word))) = (of_word, words.last_mut()) {
            word.extend(c.to_lowercase());
        }
        in_word = of_word;
    }
    words
}

/// Returns `true` if the word begins a clause: there is no noun before it to which it could refer.
fn begins_a_clause(text: &str, words: &[(usize, String)], at: usize) -> bool {
    let before = &text[..words[at].0];
    match before.trim_end().chars().last() {
        None => true,
        Some(mark) if CLAUSE_MARKS.contains(mark) => before.ends_with([' ', '(', '—', '*']),
        Some(_) => {
            let follows_a_word = before.trim_end().ends_with(|c: char| c.is_alphanumeric());
            let previous = at.checked_sub(1).map_or("", |previous| words[previous].1.as_str());
            before.ends_with(' ') && follows_a_word && CLAUSE_WORDS.contains(&previous)
        }
    }
}

/// Returns `true` if the text continues with the words of `phrase`, with only spaces in between.
fn is_phrase(text: &str, words: &[(usize, String)], phrase: &str) -> bool {
    let mut end = words[0].0;
    for (at, wanted) in phrase.split(' ').enumerate() {
        let Some((start, word)) = words.get(at) else { return false };
        if word != wanted || !text[end..*start].chars().all(|c| c == ' ') {
            return false;
        }
        end = start + word.len();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(findings: Vec<Finding>) -> Vec<Rule> {
        findings.into_iter().map(|(_, rule)| rule).collect()
    }

    /// A planted fault for each rule, and the same thing said well.
    const PAIRS: &[(Rule, &str, &str)] = &[
        (Rule::Subject, "// Who changes it must queue it.", "// The thread that changes it must queue it."),
        (Rule::Subject, "// It is for who\n// holds nothing.", "// It asks the one\n// who holds nothing."),
        (Rule::Subject, "// It holds (who: `x`).", "// It holds `who`."),
        (Rule::Subject, "let x = 1; // so that nobody waits", "let x = \"// who waits\"; // so that no core waits"),
        (Rule::Person, "// A core and his slice.", "// A core and its slice."),
        (Rule::Idiom, "// It does not wait any\n// more.", "// It no longer waits. Any, more."),
        (Rule::OneWord, "/// Which.\nx: u8,", "/// Which core it is.\nx: u8,"),
        (Rule::OneWord, "/// [`Cx`].\nx: u8,", "/// None.\n///\n/// It is constant.\nx: u8,"),
        (Rule::OnlySee, "/// See [`Cx::link`].\nfn f() {}", "/// Links; see [`Cx::link`].\nfn f() {}"),
        (Rule::Whether, "/// Whether it lives.\nfn f() {}", "/// Returns `true` if it lives.\nfn f() {}"),
        (Rule::Safety, "// SAFETY: By contract.", "// SAFETY: the caller holds a reference (H1)."),
        (Rule::Safety, "// SAFETY: the caller's rule.", "// SAFETY: by M2."),
        (
            Rule::Safety,
            "// SAFETY: as above.\n// And more.",
            "// SAFETY: the node\n// is in no list: it was made above.",
        ),
    ];

    #[test]
    fn refuses_each_planted_fault() {
        for (rule, refused, accepted) in PAIRS {
            assert_eq!(rules(in_rust(refused)), [*rule], "{refused}");
            assert_eq!(rules(in_rust(accepted)), [], "{accepted}");
        }
    }

    #[test]
    fn refuses_wide_comments() {
        let wide = format!("    // {}.", "word ".repeat(20));
        assert_eq!(in_rust(&wide), [(1, Rule::Width(100))]);
        let picture = format!("// idle {}> busy", "-".repeat(100));
        let address = format!("// https://a/{}", "b".repeat(100));
        let table = format!("//! | {} |", "word ".repeat(30));
        let fenced = format!("/// The code:\n/// ```\n/// {}\n/// ```", "word ".repeat(30));
        let code = format!("f({}); // wide", "word, ".repeat(20));
        for text in [picture, address, table, fenced, code] {
            assert_eq!(in_rust(&text), [], "{text}");
        }
    }

    #[test]
    fn judges_markdown() {
        let text = "# Title\n\nA text.\n\n- Whoever asks.\n\n```text\nWho is in code.\n```\n\n| who | a |\n";
        assert_eq!(in_markdown(text), [(5, Rule::Subject), (11, Rule::Subject)]);
        let wide = format!("one\n{}\n| {} |\nhttps://a/{}", "word ".repeat(25), "word ".repeat(25), "a".repeat(120));
        assert_eq!(in_markdown(&wide), [(2, Rule::Width(120))]);
        let accepted = "The parent who `waits` is\nthe reader's; [a](0009-who-sweeps-lists.md) `who\nwaits`";
        assert_eq!(in_markdown(accepted), []);
    }

    #[test]
    fn a_finding_has_its_line() {
        assert_eq!(in_rust("fn f() {}\n\n// A line.\n// Then, for\n// whom?"), [(5, Rule::Subject)]);
    }
}
