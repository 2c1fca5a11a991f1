//! The programs and files that a step needs from the machine, and their sources.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::steps::{bounded, run, target};

/// Programs (searched in the PATH) and files (with a slash in their names), and the Debian packages
/// that install them.
#[derive(Clone, Copy)]
pub(crate) struct Need {
    parts: &'static [&'static str],
    packages: &'static [&'static str],
}

/// The real clients that drive the key-value server.
pub(crate) const REDIS: Need = Need { parts: &["redis-cli", "redis-benchmark"], packages: &["redis-tools"] };
/// The programs that run and install the clients of [`client_libraries`].
pub(crate) const LIBRARIES: Need =
    Need { parts: &["python3", "node", "npm"], packages: &["python3-pip", "nodejs", "npm"] };
/// The judge of the conformance cases.
pub(crate) const PYTHON: Need = Need { parts: &["python3"], packages: &["python3"] };
/// The tool that counts instructions.
pub(crate) const VALGRIND: Need = Need { parts: &["valgrind"], packages: &["valgrind"] };
/// Erlang, whose nodes drive the acceptance of `atropos-node`.
pub(crate) const ERLANG: Need =
    Need { parts: &["erl", "erlc", "epmd", "openssl"], packages: &["erlang-nox", "openssl"] };
/// A second toolchain with its library's sources, and the emulator on which the image runs.
pub(crate) const BARE: Need = Need {
    parts: &[
        "/usr/bin/rustc",
        "/usr/bin/cargo",
        // `-Z build-std` compiles these sources, as their lock file specifies.
        "/usr/lib/rustlib/src/rust/library/core/src/lib.rs",
        "/usr/lib/rustlib/src/rust/library/alloc/src/lib.rs",
        "/usr/lib/rustlib/src/rust/library/Cargo.lock",
        "qemu-system-arm",
    ],
    packages: &["rustc-web", "cargo-web", "rust-web-src", "qemu-system-arm"],
};

fn exists(part: &str) -> bool {
    if part.contains('/') {
        return std::path::Path::new(part).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(part).is_file())
}

impl Need {
    fn missing(self) -> Vec<&'static str> {
        self.parts.iter().filter(|part| !exists(part)).copied().collect()
    }

    /// Checks that every part exists; otherwise the error names the packages that install it.
    pub(crate) fn meet(self) -> Result<()> {
        let missing = self.missing();
        if !missing.is_empty() {
            bail!("missing {}: as root, apt-get install -y {}", missing.join(", "), self.packages.join(" "));
        }
        Ok(())
    }
}

/// Prints which needs are met, and installs the missing ones where that is possible: as root, with
/// `apt-get`. Each step checks for itself whether that was enough ([`Need::meet`]).
pub(crate) fn install(needs: &[Need]) {
    for need in needs {
        let missing = need.missing();
        let state = if missing.is_empty() { "there".to_owned() } else { format!("missing {}", missing.join(", ")) };
        println!("{}: {state}", need.packages.join(" "));
    }
    if needs.iter().all(|need| need.missing().is_empty()) {
        return;
    }
    if !is_root() || !exists("apt-get") {
        println!("nothing is installed: this needs root and apt-get");
        return;
    }
    // It may fail because of a source that is not needed here.
    apt_get(&["update", "-qq"]);
    // Each package alone: one that this Debian does not have keeps no other from being installed.
    for need in needs.iter().filter(|need| !need.missing().is_empty()) {
        let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
        arguments.extend(need.packages);
        println!("$ apt-get {}", arguments.join(" "));
        if !apt_get(&arguments) {
            println!("apt-get could not install {}", need.packages.join(" "));
        }
    }
}

/// The version of mdBook that builds the book.
pub(crate) const MDBOOK: &str = "0.5.4";

/// Returns the place of mdBook, in the build's folder.
pub(crate) fn mdbook() -> Result<PathBuf> {
    Ok(std::path::absolute(target()?.join("tools/bin/mdbook"))?)
}

/// Installs a toolchain where it is missing, if rustup is there.
pub(crate) fn toolchain(name: &str) -> Result<()> {
    let mut command = Command::new("cargo");
    let there = command.args([&format!("+{name}"), "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if there.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    println!("the toolchain {name} is missing: installing it");
    let installs = ["toolchain", "install", name, "--profile", "minimal", "--no-self-update"];
    run(bounded("rustup", 10).args(installs)).context(format!("missing: rustup toolchain install {name}"))
}

/// Installs popular Redis clients, under the build's folder, where they are missing. Returns the
/// folder. Their versions are fixed, so that a new release does not fail a build that changed
/// nothing.
pub(crate) fn client_libraries() -> Result<PathBuf> {
    let folder = std::path::absolute(target()?.join("redis-clients"))?;
    let (python, node) = (folder.join("python"), folder.join("node"));
    if !python.join("redis").is_dir() {
        let into = ["--quiet", "--disable-pip-version-check", "--no-input", "--target"];
        run(bounded("python3", 5).args(["-m", "pip", "install"]).args(into).arg(&python).arg("redis==8.1.0"))?;
    }
    if !node.join("node_modules/ioredis").is_dir() {
        std::fs::create_dir_all(&node)?;
        let quietly = ["install", "--silent", "--no-audit", "--no-fund", "--no-save", "--prefix"];
        run(bounded("npm", 5).args(quietly).arg(&node).args(["redis@6.3.1", "ioredis@6.0.0"]))?;
    }
    Ok(folder)
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

fn apt_get(arguments: &[&str]) -> bool {
    Command::new("apt-get")
        // A machine that has just started may still be installing its own updates.
        .args(["-o", "DPkg::Lock::Timeout=120"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_what_is_missing() {
        let need = Need { parts: &["sh", "/", "no-such-program-here", "/no/such/file.rs"], packages: &[] };
        assert_eq!(need.missing(), ["no-such-program-here", "/no/such/file.rs"]);
    }

    #[test]
    fn an_unmet_need_names_its_packages() {
        let need = Need { parts: &["no-such-program-here"], packages: &["some-package", "another"] };
        let error = need.meet().expect_err("the program is missing").to_string();
        assert_eq!(error, "missing no-such-program-here: as root, apt-get install -y some-package another");
        assert!(Need { parts: &["sh"], packages: &[] }.meet().is_ok());
    }

    #[test]
    fn bare_asks_for_the_library_sources() {
        for library in ["/library/core/", "/library/alloc/"] {
            assert!(BARE.parts.iter().any(|part| part.contains(library)), "{library}");
        }
    }
}
