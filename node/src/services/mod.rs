//! The services of `atropos-node`: processes that other nodes try their distribution on.

mod echo;
pub(crate) mod functions;
mod kv;
mod puppet;
mod spawner;

use atropos::SpawnError;
use atropos_dist::node::Node;

/// Starts all services.
pub(crate) fn start(node: &Node) -> Result<(), SpawnError> {
    node.keep("echo", echo::run)?;
    node.keep("kv", kv::run)?;
    node.keep("spawner", spawner::run)?;
    Ok(())
}
