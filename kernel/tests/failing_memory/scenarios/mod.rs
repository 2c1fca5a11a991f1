//! The scenarios, by the kind of object that needs memory.

mod births;
mod caller;
mod deaths;
mod mail;
mod questions;
mod ties;
mod timers;

use crate::stage::Books;

const MANY: usize = 24;

/// Counts the result of a call that promises nothing.
fn refused<T, E>(books: &Books, result: Result<T, E>) -> Option<T> {
    books.promises(result, 0)
}
