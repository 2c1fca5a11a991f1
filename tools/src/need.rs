//! What a step needs of the machine, and where it comes from.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// Programs, and the Debian packages that bring them.
#[derive(Clone, Copy)]
pub(crate) struct Need {
    programs: &'static [&'static str],
    packages: &'static [&'static str],
}

/// The real clients that drive the key-value server.
pub(crate) const REDIS: Need = Need { programs: &["redis-cli", "redis-benchmark"], packages: &["redis-tools"] };
/// The judge of the conformance cases.
pub(crate) const PYTHON: Need = Need { programs: &["python3"], packages: &["python3"] };
/// A second toolchain with its library's sources, and the machine to run on.
pub(crate) const BARE: Need = Need {
    programs: &["/usr/bin/rustc", "/usr/bin/cargo", "qemu-system-arm"],
    packages: &["rustc-web", "cargo-web", "rust-web-src", "qemu-system-arm"],
};

fn exists(program: &str) -> bool {
    if program.contains('/') {
        return std::path::Path::new(program).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

impl Need {
    /// Sees that all is there; installs what is missing where that is possible.
    pub(crate) fn meet(self) -> Result<()> {
        let missing = || self.programs.iter().filter(|program| !exists(program)).copied().collect::<Vec<_>>();
        if missing().is_empty() {
            return Ok(());
        }
        let packages = self.packages.join(" ");
        let install = format!("apt-get install -y {packages}");
        println!("missing: {}; trying {install}", missing().join(", "));
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
        if !apt(&arguments) || !missing().is_empty() {
            bail!("missing {}: as root, {install}", missing().join(", "));
        }
        Ok(())
    }
}
