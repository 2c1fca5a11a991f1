//! [`ClosureBody`]: a body that is a closure.

use std::fmt;
use std::marker::PhantomData;

use atropos_kernel::{Body, BodyPoll, Cx};

/// A body that is a closure, which runs each time the process is resumed.
pub struct ClosureBody<M, F>(F, PhantomData<fn(M)>);

/// Creates a body that runs `act` each time the process is resumed.
pub fn body<M, F>(act: F) -> ClosureBody<M, F>
where
    M: Send + 'static,
    F: FnMut(&Cx<'_, M>) -> BodyPoll + Send + 'static,
{
    ClosureBody(act, PhantomData)
}

impl<M, F> fmt::Debug for ClosureBody<M, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClosureBody")
    }
}

impl<M, F> Body for ClosureBody<M, F>
where
    M: Send + 'static,
    F: FnMut(&Cx<'_, M>) -> BodyPoll + Send + 'static,
{
    type Message = M;

    fn resume(&mut self, cx: &Cx<'_, M>) -> BodyPoll {
        (self.0)(cx)
    }
}
