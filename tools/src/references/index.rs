//! What the workspace defines: files, the names in each, and the members of types.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use syn::visit::Visit as _;

use super::names::Names;

/// Crates of the language, and types that need no import.
pub(super) const BUILT_IN: &[&str] = &[
    "std",
    "core",
    "alloc",
    "proc_macro",
    "bool",
    "char",
    "str",
    "u8",
    "u16",
    "u32",
    "u64",
    "u128",
    "usize",
    "i8",
    "i16",
    "i32",
    "i64",
    "i128",
    "isize",
    "f32",
    "f64",
    "Option",
    "Result",
    "Vec",
    "String",
    "Box",
    "Iterator",
];
/// Methods that a type may have from a derive or a blanket implementation.
const DERIVED: &[&str] = &["clone", "default", "drop", "from", "into", "fmt", "eq", "cmp", "hash"];

/// The files of the workspace, and what the Rust files among them define.
#[derive(Default)]
pub(super) struct Index {
    /// Every file and folder, from the root of the workspace, by its last name without `.rs`.
    places: BTreeMap<String, BTreeSet<String>>,
    /// The names that each Rust file defines or imports.
    files: BTreeMap<String, BTreeSet<String>>,
    /// The types and traits.
    pub(super) types: BTreeSet<String>,
    /// The members of each type and trait, whatever crate it is in: fields, variants, functions.
    pub(super) members: BTreeMap<String, BTreeSet<String>>,
    /// The traits that a type implements, and the type that an alias stands for.
    pub(super) also: BTreeMap<String, BTreeSet<String>>,
    /// The headings of each Markdown file, as links name them.
    headings: BTreeMap<String, BTreeSet<String>>,
    /// Crates and types of others.
    pub(super) foreign: BTreeSet<String>,
    /// The identifiers in macros, whose expansion the index does not see.
    pub(super) in_macros: BTreeSet<String>,
}

impl Index {
    /// Adds a file that is not Rust.
    pub(super) fn add_file(&mut self, file: &str) {
        let ends = file.match_indices('/').map(|(end, _)| end).chain([file.len()]);
        for place in ends.map(|end| &file[..end]) {
            self.places.entry(last(place).to_owned()).or_default().insert(place.to_owned());
        }
    }

    /// Adds a Rust file.
    pub(super) fn add_rust(&mut self, file: &str, text: &str) -> Result<()> {
        self.add_file(file);
        let tree = syn::parse_file(text).with_context(|| file.to_owned())?;
        let mut names = Names::new(self);
        names.visit_file(&tree);
        let found = names.found;
        self.files.insert(file.to_owned(), found);
        Ok(())
    }

    /// Adds a Markdown file.
    pub(super) fn add_markdown(&mut self, file: &str, text: &str) {
        self.add_file(file);
        let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| {
            let name = line.trim_start_matches('#').trim().to_lowercase();
            let kept = name.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        });
        self.headings.insert(file.to_owned(), headings.collect());
    }

    /// Returns `true` if the Markdown file has the heading.
    pub(super) fn has_heading(&self, file: &str, heading: &str) -> bool {
        self.headings.get(file).is_some_and(|headings| headings.contains(heading))
    }

    /// Adds a package of the lock file, unless it is in the workspace.
    pub(super) fn add_package(&mut self, package: &str) {
        let name = package.replace('-', "_");
        if !self.is_package(&name) {
            self.foreign.insert(name);
        }
    }

    /// Returns the files and folders that a path means: seen from the root, or as the end of a
    /// longer path, with or without `.rs`.
    pub(super) fn places(&self, path: &str) -> Vec<&str> {
        let path = path.trim_end_matches('/');
        let is_it = |place: &str| place == path || place.strip_suffix(path).is_some_and(|before| before.ends_with('/'));
        let fits = |place: &&String| is_it(place) || place.strip_suffix(".rs").is_some_and(is_it);
        self.places.get(last(path)).into_iter().flatten().filter(fits).map(String::as_str).collect()
    }

    /// Returns `true` if the file, or the folder's `mod.rs`, defines the item.
    pub(super) fn has(&self, place: &str, item: &[&str]) -> bool {
        let in_file = |file: &str| match item {
            [] => true,
            [name] => self.files.get(file).is_some_and(|names| names.contains(*name)),
            [of, member] => self.files.get(file).is_some_and(|names| names.contains(*of)) && self.is_member(of, member),
            _ => false,
        };
        in_file(place) || in_file(&format!("{place}/mod.rs")) || in_file(&format!("{place}/lib.rs"))
    }

    /// Returns `true` if the path of names leads to something, here or in another crate.
    pub(super) fn resolves(&self, path: &[&str]) -> bool {
        let own = match path {
            [] => return true,
            ["crate" | "self" | "super" | "Self", rest @ ..] => return self.resolves(rest),
            [package, rest @ ..] if self.is_package(package) => return self.resolves(rest),
            [name] => self.types.contains(*name) || self.files.values().any(|names| names.contains(*name)),
            [of, member] => (self.types.contains(*of) || self.in_macros.contains(*of)) && self.is_member(of, member),
            [of, variant, field] => self.is_member(of, variant) && self.is_member(of, field),
            _ => false,
        };
        own || self.is_foreign(path[0]) && !self.types.contains(path[0]) || self.is_in_module(path)
    }

    /// Returns `true` if the path begins with a module and goes on with one of its names.
    fn is_in_module(&self, path: &[&str]) -> bool {
        (1..=path.len()).rev().any(|length| {
            let (module, item) = path.split_at(length);
            let places = self.places(&module.join("/"));
            let of_code = places.iter().filter(|place| self.is_code(place));
            of_code.into_iter().any(|place| match item {
                // A name in a module that the file declares inline, or imports as a whole.
                [of, rest @ ..] if !rest.is_empty() && self.has(place, &[of]) => self.resolves(rest),
                _ => self.has(place, item),
            })
        })
    }

    /// Returns `true` for a Rust file, and for a folder with one.
    fn is_code(&self, place: &str) -> bool {
        let inside = format!("{place}/");
        self.files.contains_key(place)
            || self.files.range(inside.clone()..).next().is_some_and(|(file, _)| file.starts_with(&inside))
    }

    fn is_member(&self, of: &str, member: &str) -> bool {
        let of_it = |name: &str| self.members.get(name).is_some_and(|members| members.contains(member));
        let others = self.also.get(of).into_iter().flatten();
        of_it(of)
            || others.into_iter().any(|other| of_it(other))
            || DERIVED.contains(&member)
            || self.in_macros.contains(member)
    }

    /// Returns `true` for the name by which code calls a package of the workspace.
    fn is_package(&self, name: &str) -> bool {
        name == "atropos" || name.starts_with("atropos_")
    }

    fn is_foreign(&self, name: &str) -> bool {
        self.foreign.contains(name) || BUILT_IN.contains(&name)
    }
}

/// Returns the last name of a path, without `.rs`.
fn last(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_suffix(".rs").unwrap_or(name)
}
