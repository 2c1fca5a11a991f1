//! [`SerdeError`]: what does not fit, and where.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

/// The error of [`to_term`](super::to_term) and [`from_term`](super::from_term).
#[derive(Clone, PartialEq, Eq)]
pub struct SerdeError(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    message: String,
    /// The steps from the outermost term, the last one first.
    path: Vec<Step>,
}

/// A step into a term.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Into an element of a list or tuple, counted from 0.
    Element(usize),
    /// Into the value of a key, or into a variant.
    Key(Cow<'static, str>),
    /// Into a key of a map.
    KeyItself,
}

impl SerdeError {
    pub(super) fn new(message: impl fmt::Display) -> Self {
        Self(Box::new(Inner { message: message.to_string(), path: Vec::new() }))
    }

    /// Adds the step that leads to the place that the error has so far.
    pub(super) fn within(mut self, step: Step) -> Self {
        self.0.path.push(step);
        self
    }

    /// Adds the step into the value of a key.
    pub(super) fn within_key(self, key: &'static str) -> Self {
        self.within(Step::Key(key.into()))
    }

    /// Returns what is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the place in the term: `$` is the outermost term, `[1]` the second element of a list
    /// or tuple, `.name` the value of a key or the content of a variant.
    pub fn path(&self) -> String {
        let mut path = String::from("$");
        for step in self.0.path.iter().rev() {
            match step {
                Step::Element(index) => path.push_str(&format!("[{index}]")),
                Step::Key(key) => {
                    path.push('.');
                    path.push_str(key);
                }
                Step::KeyItself => path.push_str(".key"),
            }
        }
        path
    }
}

impl fmt::Display for SerdeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at {})", self.0.message, self.path())
    }
}

impl fmt::Debug for SerdeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SerdeError({self})")
    }
}

impl core::error::Error for SerdeError {}

impl serde::ser::Error for SerdeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message)
    }
}

impl serde::de::Error for SerdeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message)
    }
}
