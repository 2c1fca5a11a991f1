//! The smallest part of [`crate::names`]: one who has the estate, and one who is to have it.

use atropos_shuttle::web;

use crate::names::play_heir;

#[test]
fn heir() {
    web("heir", play_heir);
}
