//! The check that a reference to code leads somewhere: names move, and a text that still has the
//! old one misleads its reader.
//!
//! A reference is text in backticks, in Markdown and in comments, that has the form of a path:
//!
//! - of a file or folder (`docs/tour.md`, `ops/exit.rs`, `ops/exit`), from the root of the
//!   workspace or as the end of a longer path; `.rs` may be missing;
//! - of a file and a name in it (`ops/exit.rs: fire_requests`);
//! - of names (`ops::exit`, `Cx::exit`).
//!
//! The target of a Markdown link to a file is one as well, with its heading. What begins with a
//! crate or type of others is not checked, and rustdoc checks the links that it makes itself.

mod index;
mod names;

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::comments;
use crate::prose::{markdown_files, rust_files};
use crate::steps::output;

use index::Index;

/// Endings of files, by which a name without a slash is a path.
const ENDINGS: &[&str] = &[".rs", ".md", ".toml"];
/// Beginnings of paths that are not in the workspace: outputs, and files of the machine.
const ELSEWHERE: &[&str] = &["target/", "/", "~"];

/// A reference, and the line that it is in.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Reference {
    line: usize,
    text: String,
    /// `true` for the target of a link, seen from the folder of its file.
    is_link: bool,
}

pub(crate) fn check() -> Result<()> {
    let (rust, markdown) = (rust_files()?, markdown_files()?);
    let mut index = Index::default();
    // The packages of the lock file first: they tell which imports are foreign.
    for line in fs::read_to_string("Cargo.lock")?.lines() {
        if let Some(package) = line.strip_prefix("name = \"").and_then(|rest| rest.strip_suffix('"')) {
            index.add_package(package);
        }
    }
    for file in output("git", &["-c", "safe.directory=*", "ls-files", "-z", "--deduplicate"])?.split('\0') {
        if fs::exists(file)? {
            index.add_file(file);
        }
    }
    let texts = |files: Vec<String>| -> Result<Vec<(String, String)>> {
        files.into_iter().map(|file| Ok((file.clone(), fs::read_to_string(&file).context(file)?))).collect()
    };
    let (rust, markdown) = (texts(rust)?, texts(markdown)?);
    for (file, text) in &rust {
        index.add_rust(file, text)?;
    }
    markdown.iter().for_each(|(file, text)| index.add_markdown(file, text));
    let (mut report, mut found, mut all) = (String::new(), 0, 0);
    for (file, text) in rust.iter().chain(&markdown) {
        for reference in references(file, text) {
            all += 1;
            if let Some(mend) = fault(&index, file, &reference) {
                found += 1;
                writeln!(report, "{file}:{}: `{}` leads nowhere\n    mend: {mend}", reference.line, reference.text)?;
            }
        }
    }
    println!("{all} references");
    if found > 0 {
        print!("{report}");
        bail!("{found} findings");
    }
    Ok(())
}

/// Returns the references of a file: in its comments, or in all of a Markdown file, but not in
/// code fences.
fn references(file: &str, text: &str) -> Vec<Reference> {
    let mut found = Vec::new();
    let mut fenced = false;
    let mut line = |number: usize, text: &str, has_links: bool| {
        if text.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            let quoted = text.split('`').skip(1).step_by(2).filter(|text| has_form(text));
            found.extend(quoted.map(|text| Reference { line: number, text: text.to_owned(), is_link: false }));
            if has_links {
                let links = link_targets(text);
                found.extend(links.map(|text| Reference { line: number, text: text.to_owned(), is_link: true }));
            }
        }
    };
    if file.ends_with(".md") {
        text.lines().enumerate().for_each(|(at, text)| line(at + 1, text, true));
    } else {
        comments::of(text).iter().for_each(|comment| line(comment.line, comment.text, false));
    }
    found
}

/// Returns the targets of a line's links to files.
fn link_targets(text: &str) -> impl Iterator<Item = &str> {
    let ends = text.match_indices("](").map(|(at, mark)| at + mark.len());
    let targets = ends.filter_map(|at| text[at..].split([')', ' ']).next());
    targets.filter(|target| !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:"))
}

/// Returns `true` for text in backticks that has the form of a reference.
fn has_form(text: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (path, _) = split(text);
    if path.chars().all(|c| is_name(c) || "./-".contains(c)) {
        let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        // `call/4` is a function of Erlang.
        let is_path = path.contains('/') && !last.chars().all(|c| c.is_ascii_digit());
        let is_file = ENDINGS.iter().any(|ending| last.len() > ending.len() && last.ends_with(ending));
        return (is_path || is_file) && !ELSEWHERE.iter().any(|start| path.starts_with(start));
    }
    let names = without_arguments(text);
    // `FILE::TEST` stands for other names.
    let is_placeholder = names.chars().all(|c| c.is_ascii_uppercase() || c == ':');
    names.contains("::")
        && !is_placeholder
        && names.split("::").all(|name| !name.is_empty() && name.chars().all(is_name))
}

/// Splits `ops/exit.rs: fire_requests` into the path and the names.
fn split(text: &str) -> (&str, &str) {
    match text.split_once(':') {
        Some((path, rest)) if !rest.starts_with(':') => (path, rest.trim()),
        _ => (text, ""),
    }
}

/// Returns a path of names without type arguments, arguments, and the mark of a macro.
fn without_arguments(text: &str) -> String {
    let (mut depth, mut names) = (0_usize, String::new());
    for c in text.chars() {
        match c {
            '<' | '(' | '[' => depth += 1,
            '>' | ')' | ']' => depth = depth.saturating_sub(1),
            '!' => {}
            _ if depth == 0 => names.push(c),
            _ => {}
        }
    }
    names.replace("::::", "::").trim_end_matches("::").to_owned()
}

/// Returns how to mend a reference that leads nowhere.
fn fault(index: &Index, file: &str, reference: &Reference) -> Option<&'static str> {
    const NAME: &str = "use the present name of the item, or no backticks for what is no code of ours";
    const PATH: &str = "use the present path of the file, or no backticks for what is no file of ours";
    const HEADING: &str = "use the present heading, in small letters, with `-` for each space";
    const LINE: &str = "name the function: lines move";
    if reference.is_link {
        let (target, heading) = reference.text.split_once('#').unwrap_or((&reference.text, ""));
        let place = if target.is_empty() { file.to_owned() } else { beside(file, target) };
        return match (index.places(&place).contains(&place.as_str()), heading) {
            (false, _) => Some(PATH),
            (true, "") => None,
            (true, heading) => (!index.has_heading(&place, heading)).then_some(HEADING),
        };
    }
    let (path, item) = split(&reference.text);
    let names = without_arguments(&reference.text);
    if names.contains("::") && !path.contains('/') && item.is_empty() {
        return (!index.resolves(&names.split("::").collect::<Vec<_>>())).then_some(NAME);
    }
    let mut places = index.places(path);
    let near = beside(file, path);
    places.extend(index.places(&near));
    if places.is_empty() {
        return Some(PATH);
    }
    if item.starts_with(|c: char| c.is_ascii_digit()) {
        return Some(LINE);
    }
    let item = without_arguments(item);
    let item: Vec<&str> = item.split("::").filter(|name| !name.is_empty()).collect();
    (!places.iter().any(|place| index.has(place, &item))).then_some(NAME)
}

/// Returns a path that is written as seen from the folder of a file, from the root.
fn beside(file: &str, path: &str) -> String {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in path.trim_end_matches('/').split('/') {
        match part {
            "." | "" => {}
            ".." => _ = parts.pop(),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let mut index = Index::default();
        ["crossbeam-epoch", "atropos", "atropos-kernel"].iter().for_each(|package| index.add_package(package));
        index.add_rust("kernel/tests/a.rs", "use atropos_kernel::task;").expect("the code parses");
        index.add_markdown("docs/tour.md", "# A tour\n\n## The `Cx`, in short\n");
        index.add_file("kernel/README.md");
        let exit = "use crate::mailbox::{Mailbox, queue as signals};
            pub fn begin() {}
            pub struct Teardown { pid: u8 }
            impl Teardown { fn step<T>(self) { fn inner() {} } const LAST: u8 = 0; }
            impl Drop for Teardown { fn drop(&mut self) {} }";
        index.add_rust("kernel/src/ops/exit.rs", exit).expect("the code parses");
        index.add_rust("kernel/src/ops/mod.rs", "pub mod exit; mod inside { pub fn hidden() {} }").expect("it parses");
        let mailbox = "use core::task::Poll;
            pub enum State { Idle, Full { count: u8 } }
            pub trait Orders { const TAKE: u8; fn name(&self) {} }
            pub struct Mailbox;
            impl Orders for Mailbox { const TAKE: u8 = 1; }
            type Alias = Mailbox;
            made! { pub enum Made { Variant } }";
        index.add_rust("kernel/src/mailbox/mod.rs", mailbox).expect("it parses");
        index
    }

    /// Returns the references of a text of a comment that lead nowhere.
    fn lost(text: &str) -> Vec<String> {
        let (index, file) = (index(), "kernel/src/lib.rs");
        let mut found = references(file, &format!("/// {text}\nfn f() {{}}"));
        found.retain(|reference| fault(&index, file, reference).is_some());
        found.into_iter().map(|reference| reference.text).collect()
    }

    #[test]
    fn references_that_lead_somewhere() {
        for text in [
            "`kernel/src/ops/exit.rs`, `ops/exit.rs`, `ops/exit`, `exit.rs`, `kernel/src/`, `mailbox/mod.rs`, `docs/tour.md`",
            "`ops/exit.rs: begin`, `ops/exit.rs:Teardown`, `ops/exit: Teardown::step`, `mailbox/mod.rs: State`",
            "`ops::exit`, `crate::ops::exit::begin`, `atropos_kernel::ops`, `ops::inside::hidden`, `ops::exit::Mailbox`",
            "`Teardown::step`, `Teardown::step::<u8>()`, `Teardown::pid`, `Teardown::LAST`, `Teardown::drop`",
            "`State::Idle`, `State::Full::count`, `Mailbox::TAKE`, `Mailbox::name`, `Alias::TAKE`, `Made::Variant`",
            "`Poll::Ready`, `std::mem::swap`, `crossbeam_epoch::pin`, `u8::MAX`, [`Teardown::step`]",
            // No references: other text in backticks, and text outside of them.
            "`monitor/2`, `Gone`, `gone`, `target/release/x`, `/proc/maps`, `FILE::TEST`, `a + b`, Gone::member, gone/gone.rs",
        ] {
            assert_eq!(lost(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn references_that_lead_nowhere() {
        for text in [
            "ops/gone.rs",
            "xops/exit.rs",
            "gone.rs",
            "docs/gone.md",
            "ops/gone",
            "ops/exit.rs: gone",
            "ops/exit.rs: Teardown::gone",
            "ops/exit.rs: Mailbox::gone",
            "ops/exit.rs:12",
            "ops::gone",
            "crate::ops::exit::gone",
            "gone::begin",
            "task::gone",
            "Teardown::gone",
            "Gone::step",
            "State::Full::gone",
            "Alias::gone",
            "Teardown::<u8>::gone(1)",
        ] {
            assert_eq!(lost(&format!("See `{text}`, or [`{text}`].")), [text, text]);
        }
    }

    #[test]
    fn references_are_in_text() {
        let found = |file: &str, text: &str| -> Vec<(usize, String)> {
            references(file, text).into_iter().map(|reference| (reference.line, reference.text)).collect()
        };
        let text = "`a/b`\n```\n`c/d`\n```\n[x](e.md#f) [y](https://g/h.md) `i::j`";
        let expected = [(1, "a/b"), (5, "i::j"), (5, "e.md#f")].map(|(line, text)| (line, text.to_owned()));
        assert_eq!(found("a.md", text), expected);
        assert_eq!(found("a.rs", "const A: &str = \"`a/b`\"; // `c/d`"), [(1, "c/d".to_owned())]);
    }

    #[test]
    fn links_are_seen_from_their_file() {
        let link = |file, text: &str| {
            fault(&index(), file, &Reference { line: 1, text: text.to_owned(), is_link: true }).is_none()
        };
        assert!(
            link("docs/a.md", "tour.md#the-cx-in-short")
                && link("docs/tour.md", "#a-tour")
                && link("docs/a.md", "../kernel/README.md")
        );
        assert!(link("README.md", "docs/tour.md") && link("docs/life/a.md", "../tour.md"));
        assert!(!link("docs/a.md", "tour.md#the-cx") && !link("docs/tour.md", "#x"));
        assert!(!link("docs/a.md", "README.md") && !link("README.md", "tour.md") && !link("docs/a.md", "docs/tour.md"));
    }
}
