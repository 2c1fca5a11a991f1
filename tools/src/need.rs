//! What a step needs of the machine, and where it comes from.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// Programs (looked for in the PATH) and files (with a slash in their names), and the Debian packages
/// that bring them.
#[derive(Clone, Copy)]
pub(crate) struct Need {
    parts: &'static [&'static str],
    packages: &'static [&'static str],
}

/// The real clients that drive the key-value server.
pub(crate) const REDIS: Need = Need { parts: &["redis-cli", "redis-benchmark"], packages: &["redis-tools"] };
/// The judge of the conformance cases.
pub(crate) const PYTHON: Need = Need { parts: &["python3"], packages: &["python3"] };
/// A second toolchain with its library's sources, and the machine to run on.
pub(crate) const BARE: Need = Need {
    parts: &[
        "/usr/bin/rustc",
        "/usr/bin/cargo",
        // `-Z build-std` compiles these, as their lock file says.
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

    /// Sees that all is there; installs what is missing where that is possible.
    pub(crate) fn meet(self) -> Result<()> {
        if self.missing().is_empty() {
            return Ok(());
        }
        let packages = self.packages.join(" ");
        let install = format!("apt-get install -y {packages}");
        println!("missing: {}; trying {install}", self.missing().join(", "));
        let apt = |arguments: &[&str]| {
            Command::new("apt-get")
                .args(arguments)
                .env("DEBIAN_FRONTEND", "noninteractive")
                .stdout(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        };
        // The update may fail for a source that is not needed here.
        apt(&["update", "-qq"]);
        let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
        arguments.extend(self.packages);
        if !apt(&arguments) || !self.missing().is_empty() {
            bail!("missing {}: as root, {install}", self.missing().join(", "));
        }
        Ok(())
    }
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
    fn bare_asks_for_the_library_sources() {
        for library in ["/library/core/", "/library/alloc/"] {
            assert!(BARE.parts.iter().any(|part| part.contains(library)), "{library}");
        }
    }
}
