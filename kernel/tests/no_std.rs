//! In other runtimes `#![no_std]` was declared, but `default-features = false` did not compile
//! (fault 2.3 j). This test builds it, for the host, with its own cargo process. `cargo xtask test`
//! checks that no dependency needs `std`, and `cargo xtask bare` checks that an image runs on bare
//! metal.

use std::path::Path;
use std::process::Command;

/// The crates that need no operating system, their folders, and the features with which each is
/// built.
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
    // A separate folder: the folder in which this test was built may be locked.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no_std");
    for (package, folder, features) in BUILDS {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["check", "--quiet", "--offline", "--locked", "--lib", "--package", package]).args(features);
        // The settings with which the test was built (`--cfg` flags, a sanitizer) do not apply to
        // these builds.
        cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").arg("--target-dir").arg(&target);
        let done = cargo.current_dir(workspace).output().expect("cargo starts");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{package} {features:?}:\n{said}");
        let text = std::fs::read_to_string(workspace.join(folder).join("src/lib.rs")).expect("a crate");
        // `atropos-dist` has `std` for the sockets of its feature `node`, which is off here.
        let attributes = ["#![no_std]", "#![cfg_attr(not(feature = \"node\"), no_std)]"];
        assert!(text.lines().any(|line| attributes.contains(&line)), "{package} is not `no_std`");
    }
}
