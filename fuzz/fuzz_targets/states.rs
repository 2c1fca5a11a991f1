//! Fuzzing of mailboxes, links, monitors, names, aliases and timers against a sequential model of
//! OTP's rules. Any bytes are a program (`atropos_reference`). If the two disagree, it
//! prints the program and its history.
#![no_main]

use atropos_reference::{Program, run};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(why) = run(&Program::decode(bytes)) {
        panic!("{why}");
    }
});
