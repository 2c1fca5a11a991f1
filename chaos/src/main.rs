//! Random programs on whole runtimes, by a seed. Every operation of the library runs concurrently,
//! from processes, threads and Tokio's tasks, and when all has ended the accounts must balance.
//!
//! The seed decides the actions; it does not decide how the threads interleave. So a failed round
//! may have to be played many times with the same seed. A round takes a fraction of a second, and
//! rounds continue until the time is over.
//!
//! | subject | module |
//! | --- | --- |
//! | the kinds of action | `classes` |
//! | the accounts | `ledger` |
//! | a round | `round`, `world` |
//! | actors, and their actions | `actor`, `inside` |
//! | what dead runtimes leave, used in later ones | `strangers` |
//! | the supervised services | `services` |
//! | threads and tasks that act from outside | `host`, `beside` |
//! | the detection of hangs | `watchdog` |

mod actor;
mod beside;
mod classes;
mod host;
mod inside;
mod ledger;
mod random;
mod round;
mod services;
mod strangers;
mod watchdog;
mod world;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;

use classes::{ALL, Classes};
use ledger::PLANNED;
use watchdog::Watchdog;
use world::Graveyard;

#[derive(Parser)]
#[command(about = "Random programs on whole runtimes, with accounts that must balance")]
struct Arguments {
    /// Duration in seconds; the last round is played to its end.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Seed of the first round; each round's seed is one more.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Largest number of rounds.
    #[arg(long, default_value_t = u64::MAX)]
    rounds: u64,
    /// Plays every round with the same seed.
    #[arg(long)]
    same: bool,
    /// Cores of each runtime; by default 1, 2 or 4, by the seed.
    #[arg(long)]
    cores: Option<usize>,
    /// Classes to switch on and off: `usual,-timers,+retry`, `none,+links`, `all`.
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true)]
    actions: Vec<String>,
    /// Lists the classes, and ends.
    #[arg(long)]
    list: bool,
    /// How long an activity may make no progress before it counts as a hang, in seconds.
    #[arg(long, default_value_t = 60.0)]
    patience: f64,
    /// Prints the outcome of each round.
    #[arg(long)]
    verbose: bool,
}

/// Number of panics that were not planned.
static UNPLANNED: AtomicUsize = AtomicUsize::new(0);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut classes = Classes::usual();
    for word in &arguments.actions {
        if let Err(error) = classes.change(word) {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    }
    if arguments.list {
        for (class, name, what) in ALL {
            println!("{} {name:<12} {what}", if classes.has(*class) { "on " } else { "off" });
        }
        return ExitCode::SUCCESS;
    }
    let usual_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str().is_none_or(|text| !text.starts_with(PLANNED)) && !strangers::panics_are_expected() {
            UNPLANNED.fetch_add(1, Ordering::SeqCst);
            usual_hook(panic);
        }
    }));
    play(&arguments, classes)
}

fn play(arguments: &Arguments, classes: Classes) -> ExitCode {
    let (start, mut said) = (Instant::now(), Instant::now());
    let yard = Arc::new(Graveyard::new());
    let words = classes.words();
    println!("chaos: seed {}, {} s, actions {words}", arguments.seed, arguments.seconds);
    let (mut rounds, mut acts, mut deaths) = (0, 0, 0);
    while rounds == 0 || (rounds < arguments.rounds && start.elapsed().as_secs_f64() < arguments.seconds) {
        let seed = if arguments.same { arguments.seed } else { arguments.seed.wrapping_add(rounds) };
        let cores = arguments.cores.map_or(String::new(), |cores| format!(" --cores {cores}"));
        let how = format!("to reproduce: cargo xtask chaos --seed {seed} --same --seconds 60{cores} --actions {words}");
        let watchdog = Watchdog::start(Duration::from_secs_f64(arguments.patience), how.clone());
        let asked = round::Asked { seed, cores: arguments.cores, classes };
        let mut told = round::play(&asked, &watchdog, &yard);
        let unplanned = UNPLANNED.swap(0, Ordering::SeqCst);
        if unplanned > 0 {
            told.wrong.push(format!("{unplanned} panics that were not planned"));
        }
        rounds += 1;
        acts += ledger::n(&told.ledger.acts);
        deaths += ledger::n(&told.ledger.spawned);
        if !told.wrong.is_empty() {
            println!("\nFAILED: round {rounds}, seed {seed}, on {:?} cores:", told.cores);
            told.wrong.iter().for_each(|wrong| println!("  {wrong}"));
            println!("  {:?}", told.ledger.all());
            println!("{how}");
            return ExitCode::FAILURE;
        }
        if arguments.verbose {
            println!("seed {seed} on {:?} cores: {:?}", told.cores, told.ledger.all());
        }
        if said.elapsed() > Duration::from_secs(5) {
            said = Instant::now();
            println!("{:>5.0} s: {rounds} rounds, {acts} acts, {deaths} actors", start.elapsed().as_secs_f64());
        }
    }
    println!(
        "chaos: {rounds} rounds, {acts} acts, {deaths} actors in {:.1} s: clean (seeds {} to {}, actions {words})",
        start.elapsed().as_secs_f64(),
        arguments.seed,
        if arguments.same { arguments.seed } else { arguments.seed.wrapping_add(rounds - 1) },
    );
    ExitCode::SUCCESS
}
