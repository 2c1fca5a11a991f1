//! Tests of tasks, registries, groups, event managers and applications.

mod applications;
#[path = "../common/mod.rs"]
mod common;
mod events;
mod groups;
mod registries;
mod tasks;
