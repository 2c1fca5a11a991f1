//! The kernel on a chip, built by the toolchain that has its library's sources. The kernel for many
//! harts is built for a target without std, where a dependency that uses std does not compile. The
//! image, for one hart, is built and run under QEMU.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::steps::{output, run};

const TARGET: &str = "thumbv7em-none-eabihf";
const IMAGE: &str = "crash_restart";
/// Timeout of QEMU in seconds, whatever the image does.
const PATIENCE: &str = "120";

/// The lines that the image must print.
const EXPECTED: [&str; 3] = ["restarts after a crash: 1000", "of a linked pair, dead together: 2", "atropos-bare: ok"];

pub(crate) fn check() -> Result<()> {
    build(Path::new("."), &["--package", "atropos-kernel", "--target-dir", "target/chip"])?;
    println!("the kernel builds for {TARGET}, with epochs");
    let folder = PathBuf::from("bare-adapter");
    build(&folder, &["--target-dir", "target"])?;
    boot(&folder)
}

/// Builds the package in a folder, for the chip.
fn build(folder: &Path, arguments: &[&str]) -> Result<()> {
    // The other toolchain has no linker for chips; this toolchain's linker works.
    let sysroot = output("rustc", &["--print", "sysroot"])?;
    let linker = PathBuf::from(sysroot.trim()).join("lib/rustlib/x86_64-unknown-linux-gnu/bin");
    ensure!(linker.join("rust-lld").exists(), "no rust-lld in {}: it comes with rustup's toolchains", linker.display());
    let mut path = vec![linker];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").context("PATH is not set")?));
    let mut build = Command::new("/usr/bin/cargo");
    build
        .args(["build", "--release", "--locked", "-Z", "build-std=core,alloc", "--target", TARGET])
        .args(arguments)
        .current_dir(folder)
        .env("RUSTC", "/usr/bin/rustc")
        .env("RUSTC_BOOTSTRAP", "1")
        .env("PATH", std::env::join_paths(path)?)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR");
    // The variables that this cargo sets for its children must not reach the other cargo.
    for variable in ["CARGO", "RUSTUP_TOOLCHAIN", "CARGO_MANIFEST_DIR", "RUSTC_WRAPPER"] {
        build.env_remove(variable);
    }
    run(&mut build)
}

/// Runs the image, and checks its output.
fn boot(folder: &Path) -> Result<()> {
    let image = folder.join("target").join(TARGET).join("release").join(IMAGE);
    println!("image: {} KiB with its symbols", std::fs::metadata(&image)?.len() / 1024);
    let said = Command::new("timeout")
        .arg(PATIENCE)
        .args(["qemu-system-arm", "-M", "mps2-an386", "-nographic"])
        .args(["-semihosting-config", "enable=on,target=native", "-kernel"])
        .arg(&image)
        .output()
        .context("qemu-system-arm did not start")?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    print!("{text}");
    ensure!(said.status.success(), "the image ended with {}", said.status);
    for line in EXPECTED {
        ensure!(text.lines().any(|said| said.trim() == line), "the image did not print «{line}»");
    }
    Ok(())
}
