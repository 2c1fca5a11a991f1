//! Runs one operation many times, for an observing tool: `operations NAME COUNT`. Without
//! arguments, prints the names.

use atropos_benches::operations::all;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        all().for_each(|operation| println!("{}", operation.name));
        return;
    };
    let count = arguments.next().and_then(|count| count.parse().ok()).expect("a count");
    let operation = all().find(|operation| operation.name == name).expect("an operation of this name");
    let mut run = (operation.make)();
    run(count);
}
