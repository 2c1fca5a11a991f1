//! The source rules of the crates that need no operating system: no `std`, no lock, no static, no
//! thread-local, and atomics and cells only through the `sync` module, where a model can take
//! their place. Read from the syntax tree, so that no comment and no text can fool it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use proc_macro2::Span;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

/// Crates to look at, if they are there.
const CRATES: [&str; 2] = ["kernel/src", "otp/src"];
const LOCKS: [&str; 7] = ["Mutex", "RwLock", "Condvar", "Once", "OnceLock", "LazyLock", "OnceCell"];

pub(crate) fn check() -> Result<()> {
    let (mut found, mut looked_at) = (String::new(), 0);
    for root in CRATES {
        for file in sources(Path::new(root))? {
            let text = fs::read_to_string(&file)?;
            let is_seam = file.ends_with("sync.rs");
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

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
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

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Ident>().is_ok_and(|cfg| cfg == "test")
    })
}

impl Rules {
    fn fault(&mut self, at: Span, what: impl Into<String>) {
        self.found.push((at.start().line, what.into()));
    }

    fn names(&mut self, path: &[String], at: Span) {
        let first = path.first().map(String::as_str);
        if first == Some("std") {
            self.fault(at, "std has no place here: use core and alloc");
        }
        if let Some(lock) = path.iter().find(|name| LOCKS.contains(&name.as_str())) {
            self.fault(at, format!("{lock}: no locks here"));
        }
        let second = path.get(1).map(String::as_str);
        let is_atomic = first == Some("core") && second == Some("sync") && path.get(2).is_some_and(|n| n == "atomic");
        let is_cell = first == Some("core") && second == Some("cell");
        if (is_atomic || is_cell) && !self.is_seam {
            self.fault(at, "atomics and cells come from crate::sync, so that loom can take their place");
        }
    }

    fn tree(&mut self, prefix: &mut Vec<String>, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.tree(prefix, &path.tree);
                prefix.pop();
            }
            syn::UseTree::Name(syn::UseName { ident }) | syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
                prefix.push(ident.to_string());
                self.names(&prefix.clone(), ident.span());
                prefix.pop();
            }
            syn::UseTree::Glob(glob) => self.names(&prefix.clone(), glob.span()),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(prefix, tree);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Rules {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        if item.ident == "std" && !is_test(&item.attrs) {
            self.fault(item.span(), "extern crate std has no place here");
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&mut Vec::new(), &item.tree);
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.fault(item.span(), format!("static {}: no globals here", item.ident));
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        if let Some(name) = item.path.segments.last()
            && ["thread_local", "lazy_static"].contains(&name.ident.to_string().as_str())
        {
            self.fault(item.span(), format!("{}!: no globals and no thread-locals here", name.ident));
        }
        visit::visit_macro(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.names(&names, path.span());
        visit::visit_path(self, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_has_no_place() {
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
        ] {
            assert!(!faults(text, false).expect("it parses").is_empty(), "accepted: {text}");
        }
    }

    #[test]
    fn accepts_what_has() {
        for text in [
            "use core::mem; use alloc::vec::Vec; use crate::sync::AtomicUsize;",
            "// std::sync::Mutex in a comment\nconst X: &str = \"static mut std::\";",
            "#[cfg(test)] mod tests { use std::vec::Vec; static X: u8 = 0; }",
            "#[cfg(test)] extern crate std;",
            "fn f(x: &'static str) {}",
        ] {
            assert_eq!(faults(text, false).expect("it parses"), [], "refused: {text}");
        }
        assert_eq!(faults("pub use core::sync::atomic::AtomicBool;", true).expect("it parses"), []);
    }
}
