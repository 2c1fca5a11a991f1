//! The smallest part of [`crate::names`]: one process that holds a name, and one that takes it
//! over.

use atropos_shuttle::web;

use crate::names::play_heir;

#[test]
fn heir() {
    web("heir", play_heir);
}
