//! Mailboxes, links, monitors, names, aliases and timers against a sequential model of OTP's rules: any bytes are a
//! program (`atropos_bench::reference`). What it prints when the two disagree is the program and its history.
#![no_main]

use atropos_bench::reference::{Program, run};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(why) = run(&Program::decode(bytes)) {
        panic!("{why}");
    }
});
