//! The bytecode interpreter of the examples.

#[path = "../examples/machine/mod.rs"]
mod machine;

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use atropos::facility::OutputError;
use atropos::kernel::Tombstone;
use atropos::{Pid, Reason, Runtime};
use machine::assembler::assemble;
use machine::program::Instruction;
use machine::services::Services;
use machine::storm;
use machine::value::Value;

/// Runs a program from its label `main`. Returns what it printed, and its exit reason.
fn play(text: &str) -> (Vec<String>, Reason) {
    let (runtime, main, printed) = start(text);
    let reason = ends(&runtime, main);
    drop(runtime);
    (printed.iter().collect(), reason)
}

fn start(text: &str) -> (Runtime, Pid, Receiver<String>) {
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    let (send, printed) = channel();
    let print =
        move |_: u64, bytes: &[u8]| send.send(String::from_utf8_lossy(bytes).into_owned()).map_err(|_| OutputError);
    let program = assemble(text).unwrap_or_else(|mistake| panic!("{mistake}"));
    let services = Services::new(runtime.handle(), program, 50, print);
    let main = services.start("main", Vec::new()).expect("it has a main").expect("a process");
    (runtime, main, printed)
}

fn ends(runtime: &Runtime, pid: Pid) -> Reason {
    for _ in 0..60_000 {
        if let Tombstone::Known(reason) = runtime.tombstone(pid) {
            return reason;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("it does not end");
}

#[test]
fn counts_and_loops() {
    let (printed, reason) = play(
        "
main:                   ; the sum of 1 to 1000
    push 1000
    store 0
again:
    load 0
    jump_if_zero done
    load 1
    load 0
    add
    store 1
    load 0
    push 1
    subtract
    store 0
    jump again
done:
    load 1
    duplicate
    print
    push 500500
    equal
    print
    push 2
    push 3
    less
    print
    halt
",
    );
    assert_eq!(printed, ["500500", "1", "1"]);
    assert_eq!(reason, Reason::NORMAL);
}

#[test]
fn links_monitors_and_exits() {
    let (printed, reason) = play(
        "
main:
    push 1
    trap_exit
    print               ; 0: not before
    push 'boom
    spawn_link crash 1
    pop
    receive
    duplicate
    item 0
    print
    item 2
    print               ; ('EXIT child 'boom)
    spawn_monitor spin 0
    store 0
    duplicate
    push 'kill
    signal              ; a busy loop
    receive
    duplicate
    item 1
    load 0
    equal
    print               ; its reference
    duplicate
    item 3
    print
    item 2
    monitor             ; of the dead
    pop
    receive
    item 3
    print
    me
    spawn waits 1
    duplicate
    duplicate
    link
    unlink
    duplicate
    monitor
    demonitor
    print
    push 'hello
    send
    receive
    print
    push 'done
    exit
crash:
    exit
spin:
    jump spin
waits:                  ; parent
    receive
    send
    halt
",
    );
    assert_eq!(printed, ["0", "'EXIT", "'boom", "1", "'killed", "'noproc", "1", "'hello"]);
    assert_eq!(reason, Reason::value(Value::atom("done")));
}

#[test]
fn timers_and_timeouts() {
    let (printed, reason) = play(
        "
main:
    push 5
    receive_within late
    halt
late:
    push 'late
    print
    push 1
    me
    push 'ding
    after
    pop
    push 60000
    receive_within late
    print
    push 60000
    me
    push 'never
    after
    cancel
    print
    halt
",
    );
    assert_eq!(printed, ["'late", "'ding", "1"]);
    assert_eq!(reason, Reason::NORMAL);
}

#[test]
fn an_error_in_the_program_is_a_crash_with_its_line() {
    for (text, crash) in [
        ("main:\n    pop", "crash: line 2: the stack is empty"),
        ("main:\n    push 1\n    push 'a\n    send\n    halt", "crash: line 4: 1 is not a process"),
        ("main:\n    push 1\n    item 2\n    halt", "crash: line 3: 1 has no item 2"),
        ("main:\n    push 1\n    push 'x\n    add\n    halt", "crash: line 4: 'x is not a number"),
        ("main:\n    push 1\n    pop", "crash: line 3: the program ends without halt"),
    ] {
        assert_eq!(play(text).1.to_string(), crash);
    }
}

#[test]
fn an_invalid_text_gives_an_error_with_line_and_advice() {
    for (text, said) in [
        ("main:\n psh 1", "line 2: there is no instruction \"psh\"; did you mean \"push\"?"),
        ("frobnicate_it", "line 1: there is no instruction \"frobnicate_it\""),
        ("push", "line 1: \"push\" is followed by one thing, not by nothing: write push 5, or push 'name"),
        ("push x", "line 1: \"x\" is neither a number nor an atom: write push 5, or push 'x"),
        ("pop 1", "line 1: \"pop\" is followed by nothing, not by one thing: write pop"),
        ("load 16", "line 1: \"16\" is not a slot (0 to 15): write load 0"),
        ("loop:\n jump lop", "line 2: there is no label \"lop\"; did you mean \"loop\"?"),
        ("halt\njump elsewhere", "line 2: there is no label \"elsewhere\": put \"elsewhere:\" on a line of its own"),
        ("a:\n halt\na:\n halt", "line 3: there are two labels \"a\": rename one"),
        ("a: halt", "line 1: \"halt\" follows a label: put it on the next line"),
        (
            "spawn a",
            "line 1: \"spawn\" is followed by two things, not by one thing: write spawn label 0, with the number of its arguments",
        ),
        (
            "halt\nend:",
            "line 2: nothing comes behind the label \"end\": end the program with an instruction, halt for one",
        ),
    ] {
        assert_eq!(assemble(text).expect_err("it is none").to_string(), said);
    }
    let program = assemble("a: ; begins\n\n push -5 ; a number\n jump a").expect("a program");
    assert_eq!(program.instructions, [Instruction::Push(Value::Number(-5)), Instruction::Jump(0)]);
    assert_eq!(program.lines, [3, 4]);
}

#[test]
fn a_small_storm_is_killed_while_async_processes_answer() {
    let figures = storm::run(2, 1_000, 500, Duration::from_millis(200)).expect("it runs");
    assert_eq!(figures.downs, 1_000, "each was killed, once");
    assert!(figures.killed_in < Duration::from_secs(5), "{:?}", figures.killed_in);
    assert!(!figures.answers[0].is_empty(), "they answer");
}
