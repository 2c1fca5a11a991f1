//! Atropos without an operating system: the platform of one Cortex-M hart.
//!
//! The clock counts SysTick's interrupts, one per millisecond. The hart sleeps (`wfi`) when the
//! core is idle, and that interrupt wakes it. Panics are not caught: a panic halts the image, so a
//! body ends by returning its reason.
#![no_std]

extern crate alloc;

pub mod clock;
pub mod heap;
pub mod platform;
