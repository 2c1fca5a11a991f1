//! The check that every promise of the project, and every fault that it must not have, has a test
//! that names it.
//!
//! The numbers come from the systems that Atropos replaces: promises 1.0 (supervision facility),
//! 1.1 (remote monitors), 1.2 (supervision in the scheduler), 1.3 (monitors of the host) and 1.4
//! (the supervisor); faults 2.0 to 2.4 of the same parts. A promise's test is called
//! `promise_1_2_07_…` (1.4's: `p07_…`), a fault's `fault_2_2_g_…`; there may be several. The check
//! reads the syntax tree: it counts a function with `#[test]` that is not ignored, in a folder
//! `tests`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use syn::visit::{self, Visit};

use crate::lint::sources;

/// Crates with such tests.
const CRATES: [&str; 5] = ["kernel", "otp", "facility", "std-adapter", "dist-adapter"];
/// The prefix of each group of promise tests, and the number of promises in it.
const PROMISES: [(&str, u32); 5] =
    [("promise_1_0_", 11), ("promise_1_1_", 24), ("promise_1_2_", 25), ("promise_1_3_", 10), ("p", 15)];
/// The prefix of each group of fault tests, and the letter of its last fault.
const FAULTS: [(&str, char); 5] =
    [("fault_2_0_", 'e'), ("fault_2_1_", 'l'), ("fault_2_2_", 't'), ("fault_2_3_", 'j'), ("fault_2_4_", 'g')];

pub(crate) fn check() -> Result<()> {
    let mut tests = Tests(BTreeSet::new());
    for package in CRATES {
        for file in sources(&Path::new(package).join("tests"))? {
            let text = fs::read_to_string(&file)?;
            tests.visit_file(&syn::parse_file(&text).with_context(|| file.display().to_string())?);
        }
    }
    let (wanted, missing) = (wanted(), missing(&tests.0));
    println!("{} promises and faults, each with a test", wanted.len() - missing.len());
    if !missing.is_empty() {
        bail!("no test is called: {}", missing.iter().map(|name| format!("{name}…")).collect::<Vec<_>>().join(", "));
    }
    Ok(())
}

/// Returns the prefixes that must each have a test.
fn wanted() -> Vec<String> {
    let promises = PROMISES.iter().flat_map(|(prefix, last)| (1..=*last).map(move |at| format!("{prefix}{at:02}_")));
    let faults = FAULTS.iter().flat_map(|(prefix, last)| ('a'..=*last).map(move |at| format!("{prefix}{at}_")));
    promises.chain(faults).collect()
}

fn missing(tests: &BTreeSet<String>) -> Vec<String> {
    let named = |prefix: &String| tests.range(prefix.clone()..).next().is_some_and(|name| name.starts_with(prefix));
    wanted().into_iter().filter(|prefix| !named(prefix)).collect()
}

/// The names of the tests.
struct Tests(BTreeSet<String>);

impl<'ast> Visit<'ast> for Tests {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let has = |name: &str| item.attrs.iter().any(|attribute| attribute.path().is_ident(name));
        if has("test") && !has("ignore") {
            self.0.insert(item.sig.ident.to_string());
        }
        visit::visit_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tests(text: &str) -> BTreeSet<String> {
        let mut tests = Tests(BTreeSet::new());
        tests.visit_file(&syn::parse_file(text).expect("the code parses"));
        tests.0
    }

    #[test]
    fn only_names_of_tests_count() {
        let all = wanted().len();
        assert_eq!(all, 11 + 24 + 25 + 10 + 15 + 5 + 12 + 20 + 10 + 7);
        for (text, counts) in [
            ("#[test] fn promise_1_2_07_x() {}", 1),
            ("mod inside { #[test] fn fault_2_3_j_x() {} #[test] fn fault_2_3_j_a_y() {} }", 1),
            ("#[test] fn p07_x() {} #[test] fn p70_x() {}", 1),
            ("#[test] #[ignore] fn p07_x() {} #[test] #[ignore = \"slow\"] fn fault_2_2_a_x() {}", 0),
            ("fn fault_2_2_a_x() {} // #[test] fn fault_2_2_b_x() {}", 0),
            ("#[test] fn fault_2_2_ab() {} #[test] fn promise_1_2_7_x() {} #[test] fn promise_1_0_12_x() {}", 0),
        ] {
            assert_eq!(all - missing(&tests(text)).len(), counts, "{text}");
        }
    }
}
