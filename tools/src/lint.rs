//! The source rules of the crates that need no operating system: no `std`, no lock, no static, no
//! thread-local, and atomics and cells only through the `sync` module, where a model can replace
//! them. The check reads the syntax tree, so no comment and no string can mislead it. The input of
//! a macro has no syntax yet: there, the check searches the tokens for paths. Code under
//! `#[cfg(test)]` is exempt.
//!
//! The check does not see the expansion of another crate's macro, nor a path that a macro puts
//! together.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use proc_macro2::{Delimiter, Spacing, Span, TokenStream, TokenTree};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

/// Crates that the check reads, if they exist.
const CRATES: [&str; 3] = ["kernel/src", "otp/src", "facility/src"];
/// The files that may name the atomics and cells of `core`: at most one in a crate.
const SEAMS: [&str; 2] = ["kernel/src/sync.rs", "facility/src/sync.rs"];
const LOCKS: [&str; 7] = ["Mutex", "RwLock", "Condvar", "Once", "OnceLock", "LazyLock", "OnceCell"];

pub(crate) fn check() -> Result<()> {
    let (mut found, mut looked_at) = (String::new(), 0);
    for root in CRATES {
        for file in sources(Path::new(root))? {
            let text = fs::read_to_string(&file)?;
            let is_seam = SEAMS.iter().any(|seam| file == Path::new(seam));
            let faults = faults(&text, is_seam).with_context(|| file.display().to_string())?;
            for (line, fault) in faults {
                writeln!(found, "{}:{line}: {fault}", file.display())?;
            }
            looked_at += 1;
        }
    }
    println!("{looked_at} files");
    if !found.is_empty() {
        bail!("\n{found}");
    }
    Ok(())
}

pub(crate) fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if !folder.exists() {
        return Ok(files);
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

fn faults(text: &str, is_seam: bool) -> Result<Vec<(usize, String)>> {
    let file = syn::parse_file(text)?;
    let mut rules = Rules { is_seam, found: Vec::new() };
    rules.visit_file(&file);
    Ok(rules.found)
}

struct Rules {
    is_seam: bool,
    found: Vec<(usize, String)>,
}

/// Returns `true` for code that is compiled for tests only: `test`, or `all(…)` with it inside.
pub(crate) fn is_test(attributes: &[syn::Attribute]) -> bool {
    fn asks_for_test(condition: &syn::Meta) -> bool {
        match condition {
            syn::Meta::Path(path) => path.is_ident("test"),
            syn::Meta::List(list) if list.path.is_ident("all") => {
                let parts = syn::punctuated::Punctuated::<syn::Meta, syn::Token![,]>::parse_terminated;
                list.parse_args_with(parts).is_ok_and(|parts| parts.iter().any(asks_for_test))
            }
            _ => false,
        }
    }
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args().is_ok_and(|condition| asks_for_test(&condition))
    })
}

pub(crate) fn attributes_of(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::ExternCrate(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::ForeignMod(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::TraitAlias(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Union(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

impl Rules {
    fn fault(&mut self, at: Span, what: impl Into<String>) {
        self.found.push((at.start().line, what.into()));
    }

    fn names(&mut self, path: &[String], at: Span) {
        let first = path.first().map(String::as_str);
        if first == Some("std") {
            self.fault(at, "std is not allowed here: use core and alloc");
        }
        if let Some(lock) = path.iter().find(|name| LOCKS.contains(&name.as_str())) {
            self.fault(at, format!("{lock}: no locks here"));
        }
        let second = path.get(1).map(String::as_str);
        let is_atomic = first == Some("core") && second == Some("sync") && path.get(2).is_some_and(|n| n == "atomic");
        let is_cell = first == Some("core") && second == Some("cell");
        if (is_atomic || is_cell) && !self.is_seam {
            self.fault(at, "atomics and cells come from crate::sync, so that loom can replace them");
        }
    }

    /// Judges a path as [`Self::names`] does, for an import: a parent of the atomics, under any
    /// name, would hide them from the check.
    fn imported(&mut self, path: &[String], at: Span) {
        self.names(path, at);
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        if matches!(names[..], ["core"] | ["core", "sync"]) && !self.is_seam {
            self.fault(
                at,
                format!("use {}: name the items that are used, so that this check sees them", names.join("::")),
            );
        }
    }

    /// Searches a macro's tokens for paths; inside the braces of a `use`, each path begins with
    /// `prefix`.
    fn tokens(&mut self, stream: TokenStream, prefix: &[String]) {
        let mut path: Vec<String> = Vec::new();
        let mut start = Span::call_site();
        // `joined`: the last tokens were `::`; `half`: the last token was its first colon. In
        // `x: ::y` the path is `y`.
        let (mut joined, mut half) = (false, false);
        let mut last = ' ';
        for token in stream {
            match token {
                TokenTree::Ident(ident) => {
                    let name = ident.unraw().to_string();
                    if !joined || path.is_empty() {
                        self.token_path(&path, start);
                        path = prefix.to_vec();
                        start = ident.span();
                    }
                    // A lifetime is a tick and a name.
                    if name == "static" && last != '\'' {
                        self.fault(ident.span(), "static in a macro: no globals here");
                    }
                    // `x.core` is a field, `$std` a macro's own variable.
                    let is_plain = !['.', '$', '\''].contains(&last);
                    path.push(if is_plain { name } else { String::new() });
                    (joined, half, last) = (false, false, ' ');
                }
                TokenTree::Punct(punct) => {
                    last = punct.as_char();
                    joined = half && last == ':';
                    half = !joined && last == ':' && punct.spacing() == Spacing::Joint;
                    if !joined && !half {
                        self.token_path(&path, start);
                        path.clear();
                    }
                }
                TokenTree::Group(group) => {
                    let of_a_use = joined && group.delimiter() == Delimiter::Brace;
                    let inner = if of_a_use { std::mem::take(&mut path) } else { Vec::new() };
                    self.token_path(&path, start);
                    path.clear();
                    self.tokens(group.stream(), &inner);
                    (joined, half, last) = (false, false, ' ');
                }
                TokenTree::Literal(_) => (joined, half, last) = (false, false, ' '),
            }
        }
        self.token_path(&path, start);
    }

    /// Judges a path. A single name may be anything, so it is not judged.
    fn token_path(&mut self, path: &[String], at: Span) {
        if path.len() > 1 {
            self.names(path, at);
        }
    }

    fn tree(&mut self, prefix: &mut Vec<String>, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => {
                prefix.push(path.ident.unraw().to_string());
                self.tree(prefix, &path.tree);
                prefix.pop();
            }
            syn::UseTree::Name(syn::UseName { ident }) | syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
                let mut path = prefix.clone();
                // `core::sync::{self}` is `core::sync`.
                if ident != "self" {
                    path.push(ident.unraw().to_string());
                }
                self.imported(&path, ident.span());
            }
            syn::UseTree::Glob(glob) => self.imported(prefix, glob.span()),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(prefix, tree);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Rules {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test(attributes_of(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let attributes = match item {
            syn::ImplItem::Const(item) => &item.attrs[..],
            syn::ImplItem::Fn(item) => &item.attrs,
            syn::ImplItem::Type(item) => &item.attrs,
            syn::ImplItem::Macro(item) => &item.attrs,
            _ => &[],
        };
        if !is_test(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'ast syn::TraitItem) {
        let attributes = match item {
            syn::TraitItem::Const(item) => &item.attrs[..],
            syn::TraitItem::Fn(item) => &item.attrs,
            syn::TraitItem::Type(item) => &item.attrs,
            syn::TraitItem::Macro(item) => &item.attrs,
            _ => &[],
        };
        if !is_test(attributes) {
            visit::visit_trait_item(self, item);
        }
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        if item.ident == "std" {
            self.fault(item.span(), "extern crate std is not allowed here");
        }
        if item.ident == "core" && !self.is_seam {
            self.fault(item.span(), "extern crate core: name the items that are used, so that this check sees them");
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&mut Vec::new(), &item.tree);
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.fault(item.span(), format!("static {}: no globals here", item.ident));
        visit::visit_item_static(self, item);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        if let Some(name) = item.path.segments.last()
            && ["thread_local", "lazy_static"].contains(&name.ident.to_string().as_str())
        {
            self.fault(item.span(), format!("{}!: no globals and no thread-locals here", name.ident));
        }
        visit::visit_macro(self, item);
        self.tokens(item.tokens.clone(), &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.unraw().to_string()).collect();
        self.names(&names, path.span());
        visit::visit_path(self, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_forbidden_code() {
        for text in [
            "use std::vec::Vec;",
            "fn f() { let x = std::mem::size_of::<u8>(); }",
            "extern crate std;",
            "static X: u8 = 0;",
            "static mut X: u8 = 0;",
            "thread_local! { static X: u8 = 0; }",
            "use core::sync::atomic::AtomicUsize;",
            "use core::{sync::atomic::{AtomicBool, Ordering}};",
            "fn f(x: &core::cell::Cell<u8>) {}",
            "use spin::Mutex;",
            "struct S { lock: spin::RwLock<u8> }",
            "use core as c;",
            "use core::{self as c};",
            "use core::*;",
            "use core::sync;",
            "use core::sync as s;",
            "use core::sync::{self};",
            "use core::sync::*;",
            "use core::{cell, mem};",
            "use r#core::cell::Cell;",
            "extern crate core as c;",
            "#[cfg(not(test))] use std::vec::Vec;",
            "#[cfg(any(test, loom))] use std::vec::Vec;",
            "#[cfg(not(all(test, loom)))] use std::vec::Vec;",
        ] {
            assert!(!faults(text, false).expect("the code parses").is_empty(), "accepted: {text}");
        }
    }

    #[test]
    fn looks_into_macros() {
        for text in [
            "fn f() { assert!(std::mem::size_of::<u8>() == 1); }",
            "fn f() { assert_eq!(1, g(|| { ::std::process::id() })); }",
            "macro_rules! m { () => { core::cell::Cell::new(0) } }",
            "macro_rules! m { ($x:expr) => { ::core::sync::atomic::fence($x) } }",
            "m! { use core::{mem, cell::Cell}; }",
            "m! { use core::{sync::{atomic::{AtomicBool}}}; }",
            "m! { [core :: sync :: atomic :: AtomicU8; 2] }",
            "m! { static X: u8 = 0; }",
            "m!(spin::Mutex::new(0));",
            "m! { struct S { x: ::std::vec::Vec<u8>, y: u8 } }",
            "m!(x: core::cell::Cell<u8>);",
            "m!(::core::cell::Cell::<::core::sync::atomic::AtomicU8>::new(0));",
            "impl S { m!(std::vec::Vec); }",
        ] {
            assert!(!faults(text, false).expect("the code parses").is_empty(), "accepted: {text}");
        }
        for text in [
            "m!(\"std::vec\", x.core::<u8>(), std, core::mem::swap, self.std);",
            "m!(x: &'static str, core: u8, cell::new(), alloc::vec::Vec);",
            "m!(crate::sync::AtomicU8, sync::atomic, $std::x);",
            "#[cfg(test)] m!(std::vec::Vec);",
        ] {
            assert_eq!(faults(text, false).expect("the code parses"), [], "refused: {text}");
        }
        assert_eq!(faults("m!(core::cell::Cell);", true).expect("the code parses"), []);
    }

    #[test]
    fn a_fault_in_a_macro_has_its_line() {
        let found = faults("m!(\n    a,\n    std::mem::swap,\n);", false).expect("the code parses");
        assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn code_for_tests_only_is_exempt() {
        for text in [
            "#[cfg(test)] use std::vec::Vec;",
            "#[cfg(test)] static X: u8 = 0;",
            "#[cfg(test)] fn f() { std::process::id(); }",
            "#[cfg(test)] impl S { fn f() { std::process::id(); } }",
            "#[cfg(all(test, not(loom)))] mod tests { use std::vec::Vec; }",
            "impl S { #[cfg(test)] fn f() { std::process::id(); } }",
            "trait T { #[cfg(test)] fn f() { std::process::id(); } }",
            "fn f() { #[cfg(test)] use std::vec::Vec; }",
        ] {
            assert_eq!(faults(text, false).expect("the code parses"), [], "refused: {text}");
        }
    }

    #[test]
    fn accepts_allowed_code() {
        for text in [
            "use core::mem; use alloc::vec::Vec; use crate::sync::AtomicUsize;",
            "// std::sync::Mutex in a comment\nconst X: &str = \"static mut std::\";",
            "#[cfg(test)] mod tests { use std::vec::Vec; static X: u8 = 0; }",
            "#[cfg(test)] extern crate std;",
            "fn f(x: &'static str) {}",
        ] {
            assert_eq!(faults(text, false).expect("the code parses"), [], "refused: {text}");
        }
        assert_eq!(faults("pub use core::sync::atomic::AtomicBool;", true).expect("the code parses"), []);
    }
}
