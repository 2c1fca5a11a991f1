//! Atropos without an operating system: the world of one Cortex-M hart.
//!
//! The clock counts SysTick's interrupts, a millisecond each, and the cycles since the last one. The hart
//! sleeps (`wfi`) when the core is idle and is woken by that interrupt. Nothing is caught: a panic
//! halts the image, so a body ends by returning its reason.
#![no_std]

extern crate alloc;

pub mod clock;
pub mod heap;
pub mod world;
