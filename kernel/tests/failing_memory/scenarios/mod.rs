//! The scenarios, by what wants memory.

mod behalf;
mod births;
mod deaths;
mod mail;
mod questions;
mod ties;
mod timers;

use crate::stage::Books;

const MANY: usize = 24;

/// What a call that promised nothing said.
fn refused<T, E>(books: &Books, result: Result<T, E>) -> Option<T> {
    books.promises(result, 0)
}
