//! The imports of a crate: which file names which other file of the same crate.
//!
//! The files are found through `mod` declarations, from `lib.rs` on. Every path that begins with
//! `crate`, `self`, `super` or a child module counts, in a `use` or in code; in a macro's input,
//! which has no syntax yet, paths that begin with `crate` and `super` do. Code under `#[cfg(test)]`
//! is exempt. The check does not see a call of a method whose type it does not name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use proc_macro2::{TokenStream, TokenTree};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::lint::{attributes_of, is_test};

/// A path of a crate: the modules from the root, then perhaps an item.
type Names = Vec<String>;

/// A file that names another one. Files are relative to the crate's `src`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Import {
    pub(crate) from: String,
    /// The file of the module that the path names.
    pub(crate) via: String,
    /// The file that defines the item: another one than `via` if that module re-exports it.
    pub(crate) to: String,
    pub(crate) line: usize,
    /// The path, as text.
    pub(crate) path: String,
}

/// The modules of a crate and what they contain.
#[derive(Default)]
struct Modules {
    /// The file of each module; an inline module is in its parent's file.
    files: BTreeMap<Names, String>,
    /// The imported names of each module, with what they stand for.
    uses: BTreeMap<(Names, String), Names>,
    /// Every path: its file, its line, the path.
    paths: Vec<(String, usize, Names)>,
}

/// Returns the files of a crate whose `lib.rs` is in `src`, and their imports.
pub(crate) fn of(src: &Path) -> Result<(BTreeSet<String>, Vec<Import>)> {
    let mut modules = Modules::default();
    modules.read(src, Path::new("lib.rs"), Vec::new())?;
    let mut imports = Vec::new();
    for (from, line, path) in &modules.paths {
        let via = modules.file_of(path).0;
        let (to, path) = (modules.definition(path, 0), format!("crate::{}", path.join("::")));
        if via != from || to != *from {
            imports.push(Import { from: from.clone(), via: via.to_owned(), to, line: *line, path });
        }
    }
    imports.sort();
    imports.dedup();
    Ok((modules.files.into_values().collect(), imports))
}

impl Modules {
    /// Reads a file, and the files of its child modules.
    fn read(&mut self, src: &Path, file: &Path, module: Names) -> Result<()> {
        let text = fs::read_to_string(src.join(file)).with_context(|| file.display().to_string())?;
        let syntax = syn::parse_file(&text).with_context(|| file.display().to_string())?;
        let name = file.to_str().context("a file's name is UTF-8")?.to_owned();
        self.files.insert(module.clone(), name.clone());
        let mut reader = Reader { modules: self, file: name, children: Vec::new(), module };
        // First the inline modules and the list of children, which relative paths refer to.
        reader.declare(&syntax.items);
        reader.visit_file(&syntax);
        let folder = match file.file_stem().and_then(|stem| stem.to_str()) {
            Some("lib" | "mod") => file.parent().map_or_else(PathBuf::new, Path::to_owned),
            _ => file.with_extension(""),
        };
        let depth = reader.module.len();
        for child in std::mem::take(&mut reader.children) {
            let path: PathBuf =
                [&folder].into_iter().cloned().chain(child[depth..].iter().map(PathBuf::from)).collect();
            let (flat, nested) = (path.with_extension("rs"), path.join("mod.rs"));
            let file = if src.join(&flat).exists() { flat } else { nested };
            self.read(src, &file, child)?;
        }
        Ok(())
    }

    /// Returns the file of the module that a path begins with, and the number of its names.
    fn file_of(&self, path: &[String]) -> (&str, usize) {
        let found = (0..=path.len()).rev().find_map(|length| Some((self.files.get(&path[..length])?.as_str(), length)));
        found.unwrap_or(("lib.rs", 0))
    }

    /// Returns the file that defines what a path names, through re-exports.
    fn definition(&self, path: &[String], depth: usize) -> String {
        let (file, length) = self.file_of(path);
        let renamed = path.get(length).and_then(|name| self.uses.get(&(path[..length].to_vec(), name.clone())));
        match renamed {
            // A chain of re-exports is short; a longer one is a circle.
            Some(target) if depth < 8 && target != path => self.definition(target, depth + 1),
            _ => file.to_owned(),
        }
    }
}

/// The reader of one file.
struct Reader<'a> {
    modules: &'a mut Modules,
    file: String,
    /// The child modules that have files of their own.
    children: Vec<Names>,
    /// The module that is being read.
    module: Names,
}

impl Reader<'_> {
    /// Notes the modules that are declared among `items`, and in inline modules.
    fn declare(&mut self, items: &[syn::Item]) {
        for item in items {
            let syn::Item::Mod(item) = item else { continue };
            if is_test(&item.attrs) {
                continue;
            }
            self.module.push(item.ident.unraw().to_string());
            self.modules.files.insert(self.module.clone(), self.file.clone());
            match &item.content {
                Some((_, items)) => self.declare(items),
                None if !self.children.contains(&self.module) => self.children.push(self.module.clone()),
                None => {}
            }
            self.module.pop();
        }
    }

    /// Returns the path from the root, unless it leads to another crate. In a `use`, a child module
    /// may come first; elsewhere such a path stays below the module and is of no interest.
    fn absolute(&self, path: &[String], of_a_use: bool) -> Option<Names> {
        let mut base = self.module.clone();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" => base.clear(),
            "self" => {}
            "super" => {
                while rest.get(1).is_some_and(|name| name == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
                base.pop();
            }
            first if of_a_use => {
                base.push(first.to_owned());
                if !self.modules.files.contains_key(&base) && !self.children.contains(&base) {
                    return None;
                }
            }
            _ => return None,
        }
        base.extend_from_slice(&rest[1..]);
        Some(base)
    }

    fn named(&mut self, path: &[String], line: usize, of_a_use: bool) -> Option<Names> {
        let path = self.absolute(path, of_a_use)?;
        self.modules.paths.push((self.file.clone(), line, path.clone()));
        Some(path)
    }

    fn tree(&mut self, prefix: &mut Names, tree: &syn::UseTree) {
        let leaf = match tree {
            syn::UseTree::Path(path) => {
                prefix.push(path.ident.unraw().to_string());
                self.tree(prefix, &path.tree);
                prefix.pop();
                return;
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(prefix, tree);
                }
                return;
            }
            syn::UseTree::Name(name) => Some((&name.ident, &name.ident)),
            syn::UseTree::Rename(rename) => Some((&rename.ident, &rename.rename)),
            syn::UseTree::Glob(_) => None,
        };
        let mut path = prefix.clone();
        // `a::{self}` is `a`.
        path.extend(leaf.iter().filter(|(ident, _)| *ident != "self").map(|(ident, _)| ident.unraw().to_string()));
        let target = self.named(&path, tree.span().start().line, true);
        if let (Some(target), Some((_, name))) = (target, leaf) {
            let name =
                if name == "self" { target.last().cloned().unwrap_or_default() } else { name.unraw().to_string() };
            self.modules.uses.insert((self.module.clone(), name), target);
        }
    }

    /// Searches a macro's tokens for paths.
    fn tokens(&mut self, stream: TokenStream) {
        let mut path: Names = Vec::new();
        let (mut line, mut colons) = (0, 0);
        for token in stream {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 || path.is_empty() {
                        self.named(&path, line, false);
                        path.clear();
                        line = ident.span().start().line;
                    }
                    path.push(ident.unraw().to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => colons += 1,
                other => {
                    self.named(&path, line, false);
                    path.clear();
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.named(&path, line, false);
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test(attributes_of(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.unraw().to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        // `::a` is another crate.
        if item.leading_colon.is_none() {
            self.tree(&mut Vec::new(), &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() && path.segments.len() > 1 {
            let names: Names = path.segments.iter().map(|segment| segment.ident.unraw().to_string()).collect();
            self.named(&names, path.span().start().line, false);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        visit::visit_path(self, &item.path);
        self.tokens(item.tokens.clone());
    }

    // `pub(in crate::a)` is no import.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}
