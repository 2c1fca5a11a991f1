//! The layers of the crates: each folder belongs to a layer (`storey` in the code), and a file may
//! import only from its own layer and from those below.
//!
//! [`table`] lists each crate's layers. The check reads the imports ([`imports`]), prints which
//! folder imports which, and refuses an upward import, and a circle between the folders of one
//! layer. So a change in a lower folder can be made without knowing the folders above it. Circles
//! of files inside a folder are allowed. An upward import that must stay for now is a *debt*, with
//! a reason; a debt that is no longer needed is an error, so the list only shrinks.

mod imports;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use imports::Import;
use table::Table;

pub(crate) fn check() -> Result<()> {
    let mut errors = Vec::new();
    for table in table::TABLES {
        let layers = Layers::read(Path::new(""), table).with_context(|| table.src.to_owned())?;
        println!("{}", layers.graph());
        errors.extend(layers.errors());
    }
    if !errors.is_empty() {
        println!("{}", errors.join("\n"));
        bail!("{} errors in the layers", errors.len());
    }
    Ok(())
}

/// The imports of a crate between its folders.
struct Layers<'a> {
    table: &'a Table,
    /// Every file.
    files: BTreeSet<String>,
    /// The imports from one folder to another: the importing file, the imported one.
    imports: BTreeMap<(String, String), Vec<Import>>,
}

impl<'a> Layers<'a> {
    fn read(root: &Path, table: &'a Table) -> Result<Self> {
        let (files, found) = imports::of(&root.join(table.src))?;
        let mut imports: BTreeMap<_, Vec<Import>> = BTreeMap::new();
        for import in found {
            // A module that re-exports an item of another folder is imported as well as that one.
            // The root is a list of re-exports: there, only the definition counts. So it does as
            // long as one of the files is still to be moved.
            let mut targets = vec![import.to.clone()];
            let is_final = [&import.via, &import.to].iter().all(|file| table.place(file) == **file);
            if is_final && import.via != "lib.rs" && table.folder(&import.via) != table.folder(&import.to) {
                targets.push(import.via.clone());
            }
            for to in targets {
                if table.folder(&import.from) != table.folder(&to) {
                    imports.entry((import.from.clone(), to)).or_default().push(import.clone());
                }
            }
        }
        Ok(Self { table, files, imports })
    }

    /// Returns the pairs of files whose import leads upwards.
    fn upward(&self) -> impl Iterator<Item = ((&str, &str), &[Import])> {
        let storey = |file: &str| self.table.storey(self.table.folder(file));
        let upward = self.imports.iter().filter(move |((from, to), _)| {
            let storeys = storey(from).zip(storey(to));
            storeys.is_some_and(|(from, to)| from < to)
        });
        upward.map(|((from, to), imports)| ((from.as_str(), to.as_str()), &imports[..]))
    }

    /// Returns the table of folders, from the top to the bottom.
    fn graph(&self) -> String {
        let table = self.table;
        let mut edges: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
        for (from, to) in self.imports.keys() {
            *edges.entry(table.folder(from)).or_default().entry(table.folder(to)).or_default() += 1;
        }
        let upward = self.upward().count();
        let count = self.imports.len();
        let mut text =
            format!("{}: {} files, {count} imports between folders, {upward} upward\n", table.src, self.files.len());
        for storey in table.storeys.iter().rev() {
            for folder in *storey {
                let files = self.files.iter().filter(|file| table.folder(file) == *folder).count();
                if files == 0 {
                    continue;
                }
                let mut below: Vec<_> = edges.remove(folder).unwrap_or_default().into_iter().collect();
                below.sort_by_key(|(to, _)| std::cmp::Reverse(table.storey(to)));
                let is_upward = |to| table.storey(folder) < table.storey(to);
                let shown = |(to, edges)| format!("{}{to} {edges}", if is_upward(to) { "UP " } else { "" });
                let below: Vec<_> = below.into_iter().map(shown).collect();
                let _ = writeln!(text, "  {folder:<18} {files:>3}  {}", below.join(", "));
            }
        }
        text
    }

    /// Returns what is wrong, one text each.
    fn errors(&self) -> Vec<String> {
        let (table, src) = (self.table, self.table.src);
        let mut errors = Vec::new();
        let folders: BTreeSet<_> = self.files.iter().map(|file| table.folder(file)).collect();
        for folder in folders.into_iter().filter(|folder| table.storey(folder).is_none()) {
            errors.push(format!("{src}: the folder {folder} has no storey: add it to tools/src/layers/table.rs"));
        }
        let debts = || table.debts.iter().flat_map(|debt| debt.imports.iter().map(|import| (*import, debt.why)));
        let mut needed = BTreeSet::new();
        for ((from, to), imports) in self.upward() {
            let places = (table.place(from), table.place(to));
            if debts().any(|(import, _)| import == places) {
                needed.insert(places);
                continue;
            }
            for Import { line, path, .. } in imports {
                let (below, above) = (table.folder(from), table.folder(to));
                errors.push(format!("{src}/{from}:{line}: {path}: {below} imports {to} of {above}, which is above it"));
            }
        }
        for ((from, to), why) in debts().filter(|(import, _)| !needed.contains(import)) {
            errors.push(format!("{src}: the debt {from} -> {to} ({why}) is no longer needed: remove it"));
        }
        errors.extend(self.circles());
        errors
    }

    /// Returns the circles between folders of one storey; other circles contain an upward import.
    fn circles(&self) -> Vec<String> {
        let mut level: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (from, to) in self.imports.keys() {
            let (from, to) = (self.table.folder(from), self.table.folder(to));
            if self.table.storey(from) == self.table.storey(to) {
                level.entry(from).or_default().insert(to);
            }
        }
        // What each folder reaches, by repeated steps.
        let mut reach = level.clone();
        for _ in 0..reach.len() {
            let last = reach.clone();
            for reached in reach.values_mut() {
                reached.extend(reached.clone().iter().filter_map(|folder| last.get(folder)).flatten());
            }
        }
        let in_circle: Vec<&str> = level.keys().filter(|folder| reach[**folder].contains(**folder)).copied().collect();
        let circles: BTreeSet<Vec<&str>> = in_circle
            .iter()
            .map(|one| in_circle.iter().filter(|other| reach[one].contains(**other)).copied().collect())
            .collect();
        circles.iter().map(|circle| format!("{}: a circle of folders: {}", self.table.src, circle.join(", "))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use table::Debt;

    const STOREYS: &[&[&str]] = &[&["low"], &["left", "right"], &["high"], &["lib"]];

    /// Writes a crate to a folder of its own, and returns what is wrong with it.
    fn errors(name: &str, files: &[(&str, &str)], table: Table) -> Vec<String> {
        let root = std::env::temp_dir().join(format!("atropos-layers-{}-{name}", std::process::id()));
        for (file, text) in files {
            let file = root.join(table.src).join(file);
            fs::create_dir_all(file.parent().expect("a file is in a folder")).expect("the folder can be made");
            fs::write(file, text).expect("the file can be written");
        }
        let errors = Layers::read(&root, &table).expect("the crate can be read").errors();
        fs::remove_dir_all(&root).expect("the folder can be removed");
        errors
    }

    fn table() -> Table {
        Table { src: "src", storeys: STOREYS, places: &[], debts: &[] }
    }

    const LIB: (&str, &str) = ("lib.rs", "mod high;\nmod low;\npub use high::top::Top;\n");
    const HIGH: (&str, &str) = ("high/mod.rs", "pub mod top;\nuse crate::low::Base;");
    const TOP: (&str, &str) = ("high/top.rs", "use super::super::low;\npub struct Top;");

    #[test]
    fn downward_imports_are_accepted() {
        let low = "pub struct Base;\n#[cfg(test)] mod tests { use crate::high::Top; }\n/// [`crate::high`]\nfn f() {}";
        assert_eq!(errors("down", &[LIB, HIGH, TOP, ("low.rs", low)], table()), [""; 0]);
    }

    #[test]
    fn an_upward_import_is_refused_with_its_line() {
        for (name, low, at) in [
            ("use", "\nuse crate::high::top::Top;", ":2: crate::high::top::Top"),
            ("group", "use core::{mem, ptr};\nuse crate::{\nlow,\nhigh::top::{self, Top}};", ":4: crate::high::top"),
            ("super", "use super::high::top;", ":1: crate::high::top"),
            ("inline", "fn f() {\n crate::high::top::f();\n}", ":2: crate::high::top::f"),
            ("type", "fn f(_: &crate::high::top::Top) {}", ":1: crate::high::top::Top"),
            ("macro", "fn f() { assert!(g(crate::high::top::X)); }", ":1: crate::high::top::X"),
            ("root", "use crate::Top;", ":1: crate::Top"),
            ("nested", "mod a { use super::super::high::top; }", ":1: crate::high::top"),
        ] {
            let found = errors(name, &[LIB, HIGH, TOP, ("low.rs", low)], table());
            assert!(found.iter().any(|error| error.starts_with(&format!("src/low.rs{at}: low imports"))), "{found:?}");
        }
    }

    #[test]
    fn a_re_export_counts_with_its_definition() {
        let high = ("high/mod.rs", "pub use crate::low::Base;");
        let left = ("left.rs", "use crate::high::Base;");
        let found =
            errors("export", &[("lib.rs", "mod high; mod left; mod low;"), high, left, ("low.rs", "")], table());
        assert_eq!(found, ["src/left.rs:1: crate::high::Base: left imports high/mod.rs of high, which is above it"]);
    }

    #[test]
    fn a_circle_in_a_storey_is_refused() {
        let files = [
            ("lib.rs", "mod left; mod right;"),
            ("left/mod.rs", "mod a; mod b;"),
            ("left/a.rs", "use super::b;"),
            ("left/b.rs", "use super::a; use crate::right;"),
            ("right.rs", ""),
        ];
        assert_eq!(errors("one-way", &files, table()), [""; 0]);
        let back = [&files[..4], &[("right.rs", "use crate::left::a;")]].concat();
        assert_eq!(errors("circle", &back, table()), ["src: a circle of folders: left, right"]);
    }

    #[test]
    fn a_debt_is_accepted_as_long_as_it_is_needed() {
        let files = |low| [LIB, HIGH, TOP, ("low.rs", low)];
        let debts = &[Debt { why: "a test", imports: &[("low.rs", "high/top.rs")] }];
        assert_eq!(errors("debt", &files("use crate::high::top;"), Table { debts, ..table() }), [""; 0]);
        let found = errors("paid", &files(""), Table { debts, ..table() });
        assert_eq!(found, ["src: the debt low.rs -> high/top.rs (a test) is no longer needed: remove it"]);
    }

    #[test]
    fn a_file_is_judged_at_its_place() {
        let files = [("lib.rs", "mod flat; mod low;"), ("flat.rs", ""), ("low.rs", "use crate::flat;")];
        let found = errors("unknown", &files, table());
        assert_eq!(found, ["src: the folder flat has no storey: add it to tools/src/layers/table.rs"]);
        let found = errors("place", &files, Table { places: &[("flat.rs", "high/flat.rs")], ..table() });
        assert_eq!(found, ["src/low.rs:1: crate::flat: low imports flat.rs of high, which is above it"]);
    }
}
