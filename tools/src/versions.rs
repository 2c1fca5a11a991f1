//! The versions that the libraries promise: the oldest compiler (`rust-version`), and the oldest
//! versions of their dependencies.
//!
//! Every other step builds with one compiler and with the versions of the lock file, so it would
//! not see a requirement that is too low.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::need::toolchain;
use crate::steps::{bounded, output, run, target};

/// The folders of the libraries, and their packages.
const LIBRARIES: [(&str, &str); 5] = [
    ("kernel", "atropos-kernel"),
    ("otp", "atropos-otp"),
    ("facility", "atropos-facility"),
    ("std-adapter", "atropos"),
    ("dist-adapter", "atropos-dist"),
];

/// Returns the compiler that `Cargo.toml` names.
fn oldest_compiler() -> Result<String> {
    let manifest = fs::read_to_string("Cargo.toml")?;
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = \"")?.strip_suffix('"'));
    let version = version.context("Cargo.toml has no rust-version")?;
    Ok(if version.matches('.').count() == 1 { format!("{version}.0") } else { version.to_owned() })
}

/// Returns `true` if the compiler in use is the oldest one, with which every step then builds.
fn is_in_use(version: &str) -> Result<bool> {
    Ok(output("rustc", &["--version"])?.split_whitespace().nth(1) == Some(version))
}

/// Installs the oldest compiler, unless it is in use.
pub(crate) fn install_oldest() -> Result<()> {
    let version = oldest_compiler()?;
    if is_in_use(&version)? { Ok(()) } else { toolchain(&version) }
}

/// Checks that the oldest compiler compiles the libraries.
pub(crate) fn check_compiler() -> Result<()> {
    let version = oldest_compiler()?;
    if is_in_use(&version)? {
        println!("every step uses the compiler {version}");
        return Ok(());
    }
    println!("the compiler {version}");
    let folder = target()?.join("oldest-compiler");
    run(of_libraries(bounded("cargo", 10).arg(format!("+{version}")), &folder))
}

/// Checks that the libraries compile with the oldest versions of their dependencies that their
/// manifests allow. This happens in a copy, because it changes the lock file.
///
/// Only `cargo update` uses an unstable option, which `RUSTC_BOOTSTRAP` allows to a stable cargo;
/// the compiler runs without it.
pub(crate) fn check_dependencies() -> Result<()> {
    let folder = std::path::absolute(target()?.join("oldest-dependencies"))?;
    let copy = folder.join("copy");
    copy_libraries(&copy)?;
    println!("$ RUSTC_BOOTSTRAP=1 cargo update -Z direct-minimal-versions");
    let mut update = bounded("cargo", 10);
    update.args(["update", "--quiet", "-Z", "direct-minimal-versions"]).env("RUSTC_BOOTSTRAP", "1");
    run(update.current_dir(&copy))?;
    run(of_libraries(&mut bounded("cargo", 10), &folder).current_dir(&copy))
}

/// Lets a command of cargo check the libraries.
fn of_libraries<'c>(cargo: &'c mut Command, folder: &Path) -> &'c mut Command {
    cargo.args(["check", "--quiet", "--locked", "--lib", "--all-features"]);
    cargo.args(LIBRARIES.iter().flat_map(|(_, package)| ["--package", package]));
    cargo.env("CARGO_TARGET_DIR", folder)
}

/// Copies the libraries as a workspace of their own, without what only their tests need.
fn copy_libraries(copy: &Path) -> Result<()> {
    if copy.exists() {
        fs::remove_dir_all(copy)?;
    }
    let mut arguments = vec!["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    arguments.extend(["--deduplicate", "Cargo.toml"]);
    arguments.extend(LIBRARIES.iter().map(|(folder, _)| *folder));
    let files = output("git", &arguments)?;
    for file in files.split('\0').map(PathBuf::from).filter(|file| file.is_file()) {
        let to = copy.join(&file);
        fs::create_dir_all(to.parent().context("a file is in a folder")?)?;
        if file.file_name().is_some_and(|name| name == "Cargo.toml") {
            fs::write(to, for_libraries(&fs::read_to_string(&file)?))?;
        } else {
            fs::copy(&file, to)?;
        }
    }
    ensure!(copy.join("Cargo.toml").exists(), "git lists no Cargo.toml");
    Ok(())
}

/// Returns a manifest without the members that are no libraries, and without what tests need.
fn for_libraries(manifest: &str) -> String {
    let folders: Vec<_> = LIBRARIES.iter().map(|(folder, _)| format!("\"{folder}\"")).collect();
    let (mut kept, mut skips, mut in_members) = (String::new(), false, false);
    for line in manifest.lines() {
        if line.starts_with('[') {
            skips = line.contains("dev-dependencies");
        }
        if line.starts_with("members = [") {
            in_members = true;
            kept += &format!("members = [{}]\n", folders.join(", "));
        }
        if !skips && !in_members {
            kept += line;
            kept += "\n";
        }
        in_members &= !line.ends_with(']');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_keeps_only_what_libraries_need() {
        let root = "[workspace]\nmembers = [\n    \"kernel\",\n    \"tools\",\n]\nexclude = [\"fuzz\"]\n";
        let members = "members = [\"kernel\", \"otp\", \"facility\", \"std-adapter\", \"dist-adapter\"]";
        assert_eq!(for_libraries(root), format!("[workspace]\n{members}\nexclude = [\"fuzz\"]\n"));
        let library = "[dependencies]\na = \"1\"\n\n[dev-dependencies]\nb = \"1\"\n\n\
                       [target.'cfg(x)'.dev-dependencies]\nc = \"1\"\n[lints]\nworkspace = true\n";
        assert_eq!(for_libraries(library), "[dependencies]\na = \"1\"\n\n[lints]\nworkspace = true\n");
    }

    #[test]
    fn the_libraries_are_members() {
        let root = crate::steps::root().expect("the workspace");
        for (folder, package) in LIBRARIES {
            let manifest = fs::read_to_string(root.join(folder).join("Cargo.toml")).expect("a manifest");
            assert!(manifest.contains(&format!("name = \"{package}\"")), "{folder}");
        }
    }
}
