//! Elsewhere `#![no_std]` was written, and `default-features = false` did not compile (fault 2.3 j): here it is built, for the host,
//! by a cargo of the test's own. That nothing below asks for `std` is for `cargo xtask test` to see, and that an image runs on
//! bare metal for `cargo xtask bare`.

use std::path::Path;
use std::process::Command;

/// The crates that need no operating system, where they are, and the features with which each is built.
const BUILDS: [(&str, &str, &[&str]); 5] = [
    ("atropos-kernel", "kernel", &["--no-default-features"]),
    ("atropos-kernel", "kernel", &[]),
    ("atropos-otp", "otp", &["--no-default-features"]),
    ("atropos-facility", "facility", &["--no-default-features"]),
    ("atropos-dist", "dist-adapter", &["--no-default-features"]),
];

#[test]
fn fault_2_3_j_what_is_no_std_builds_without_default_features() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
    // A folder of its own: the one that this test was built in may be locked.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no_std");
    for (package, folder, features) in BUILDS {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["check", "--quiet", "--offline", "--locked", "--lib", "--package", package]).args(features);
        // What the test was built with (`--cfg`s, a sanitizer) is not asked of these.
        cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").arg("--target-dir").arg(&target);
        let done = cargo.current_dir(workspace).output().expect("cargo starts");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{package} {features:?}:\n{said}");
        let text = std::fs::read_to_string(workspace.join(folder).join("src/lib.rs")).expect("a crate");
        assert!(text.lines().any(|line| line == "#![no_std]"), "{package}");
    }
}
