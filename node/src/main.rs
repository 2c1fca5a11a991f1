//! `atropos-node`: a node of an Erlang cluster.
//!
//! It speaks Erlang's distribution protocol (`atropos_dist::node`), and has the services of
//! `docs/dist.md`: `echo`, `kv` and `spawner`, whose puppets do what other nodes tell them.

mod arguments;
mod memory;
mod services;

use std::process::ExitCode;
use std::time::Duration;

use arguments::Arguments;
use atropos::Runtime;
use atropos_dist::node::Node;
use clap::Parser;
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;

/// How long the processes have to end when the node ends.
const PATIENCE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let level = if arguments.quiet { LevelFilter::ERROR } else { LevelFilter::INFO };
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level).with_ansi(false).init();
    if arguments.quiet {
        std::panic::set_hook(Box::new(|_| {}));
    }
    let settings = match arguments.settings() {
        Ok(settings) => settings,
        Err(why) => {
            eprintln!("atropos-node: {why}");
            return ExitCode::from(2);
        }
    };
    match run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("atropos-node: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: arguments::Settings) -> Result<(), Box<dyn std::error::Error>> {
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let runtime = Runtime::builder().tokio(tokio.handle().clone()).build()?;
    tokio.block_on(async {
        let builder = services::functions::export(Node::builder(settings.name));
        let builder = builder.cookie(settings.cookie).options(settings.options);
        let node = builder.start(&runtime.handle()).await?;
        services::start(&node)?;
        for peer in settings.connect {
            node.keep_connected(peer);
        }
        println!(
            "READY name={} port={} creation={} os_pid={}",
            node.name().as_str(),
            node.port(),
            node.creation(),
            std::process::id()
        );
        wait(&node, settings.until_eof).await?;
        node.stop().await;
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    // What does not end in time ends with the program.
    let _ = runtime.shutdown(PATIENCE);
    tokio.shutdown_background();
    Ok(())
}

/// Waits until the node is to end.
async fn wait(node: &Node, until_eof: bool) -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let input = async {
        let mut buffer = [0; 1024];
        let mut input = tokio::io::stdin();
        while until_eof && matches!(input.read(&mut buffer).await, Ok(read) if read > 0) {}
        if !until_eof {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = input => {}
        () = node.stop_requested() => {}
    }
    Ok(())
}
