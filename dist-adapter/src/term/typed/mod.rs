//! Typed messages: Rust values to terms and back, by serde.
//!
//! | Rust | Erlang | also read from |
//! | --- | --- | --- |
//! | `bool` | `true`, `false` | |
//! | integers, up to 128 bits | an integer | |
//! | `f32`, `f64` | a float | an integer |
//! | `char` | an integer, its code point | |
//! | `str`, `String` | a binary, UTF-8 | a list of code points, an atom |
//! | [`Atom`](super::Atom), [`ErlPid`](super::ErlPid), [`ErlReference`](super::ErlReference), [`ErlPort`](super::ErlPort) | itself | |
//! | [`Term`](super::Term) | itself, whatever it is | |
//! | byte strings (`serde_bytes`) | a binary | a list of bytes |
//! | `Vec`, slices, other sequences | a list | a tuple; a binary, as its bytes |
//! | tuples, arrays | a tuple | a list |
//! | `()` | `{}` | |
//! | `None`; `Some(x)` | `undefined`; `x` | `nil` |
//! | maps | a map | |
//! | `struct S { x: u8 }` | `#{x => 1}` | `{'S', 1}`, binaries as keys |
//! | `struct S(u8, u8)` | `{'S', 1, 2}`, a record | `{1, 2}` |
//! | `struct S(u8)` | `1` | |
//! | `struct S` | the atom `'S'` | |
//! | `enum E { A, B(u8), C(u8, u8), D { x: u8 } }` | `'A'`, `{'B', 1}`, `{'C', 1, 2}`, `{'D', #{x => 1}}` | `{'A'}` |
//! | `Ok(x)`, `Err(e)` of `Result` | `{ok, X}`, `{error, E}`; `ok` for `Ok(())` | |
//!
//! Names are taken as they are; `#[serde(rename_all = "snake_case")]` and `#[serde(rename =
//! "...")]` make them Erlang's. An error says where in the term it is, as in `$.users[3].name`.
//!
//! ```
//! use atropos_dist::term::{from_term, to_term};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, PartialEq, Debug)]
//! #[serde(rename_all = "snake_case")]
//! enum Request {
//!     Get(String),
//!     Put { key: String, value: u32 },
//!     Clear,
//! }
//!
//! let request = Request::Put { key: "a".into(), value: 1 };
//! let term = to_term(&request)?;
//! assert_eq!(term.to_string(), "{put,#{key => <<\"a\">>,value => 1}}");
//! assert_eq!(from_term::<Request>(&term)?, request);
//! let error = from_term::<Request>(&to_term(&("put", [("key", 1)]))?).unwrap_err();
//! # let _ = error;
//! # Ok::<(), atropos_dist::term::SerdeError>(())
//! ```

mod cursor;
mod de;
mod de_access;
mod error;
mod own;
mod ser;
mod ser_parts;

use serde::{Deserialize, Serialize};

use super::Term;

pub use error::SerdeError;

/// Returns the term of a value.
///
/// # Errors
///
/// [`SerdeError`] for a value that Erlang has no term for: a float that is a NaN or infinite, an
/// atom of more than 255 characters, or a map with a key twice.
pub fn to_term<T: Serialize + ?Sized>(value: &T) -> Result<Term, SerdeError> {
    ser::to_term(value)
}

/// Returns the value of a term. Types that borrow (`&str`, `&[u8]`) borrow from the term.
///
/// # Errors
///
/// [`SerdeError`] if the term does not fit the type, or is nested deeper than 128 levels where the
/// type does not end it. A [`Term`] inside of the type ends it: it takes what is there.
pub fn from_term<'de, T: Deserialize<'de>>(term: &'de Term) -> Result<T, SerdeError> {
    de::from_term(term)
}
