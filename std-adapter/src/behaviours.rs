//! Supervisors and servers, from a thread that is no process: starting them, and calling.

use std::time::{Duration, Instant};

use atropos_otp::{CallError, Reply, Server, ServerRef, StartError, Supervisor, SupervisorRef};

use crate::join;
use crate::runtime::Handle;

impl Handle {
    /// Starts a supervisor that has no parent but the host, and waits until its children are up.
    pub fn start_supervisor(&self, supervisor: impl Into<Supervisor>) -> Result<SupervisorRef, StartError> {
        let (supervisor, starting) = self.host(|host| supervisor.into().from_host(host))?;
        join::wait(starting)?;
        Ok(supervisor)
    }

    /// Starts a server that has no parent but the host, and waits until it is up. `None`: it had nothing to do.
    pub fn start_server<'n, S: Server>(
        &self,
        server: impl Into<atropos_otp::server::Start<'n, S>>,
    ) -> Result<Option<ServerRef<S>>, StartError> {
        let (server, starting) = self.host(|host| server.into().from_host(host))?;
        Ok(join::wait(starting)?.then_some(server))
    }

    /// Asks a server, and blocks this thread until it has answered, died, or the time is over. Not for
    /// processes: they use [`ServerRef::call`].
    pub fn call<S, T>(
        &self,
        server: ServerRef<S>,
        within: Duration,
        make: impl FnOnce(Reply<T>) -> S::Message,
    ) -> Result<T, CallError>
    where
        S: Server,
        T: Send + 'static,
    {
        let deadline = Instant::now().checked_add(within);
        let answer = self.host(|host| server.request_from(host, make))?;
        match join::wait_until(answer, deadline) {
            None => Err(CallError::TimedOut),
            Some(Ok(answer)) => Ok(answer),
            // It has dropped the request; mostly because it dies. A question that keeps its place tells (or, without
            // memory, does not).
            Some(Err(_)) => match join::wait_until(self.process_info(server), deadline) {
                None => Err(CallError::TimedOut),
                Some(Ok(Some(_)) | Err(_)) => Err(CallError::NoReply),
                Some(Ok(None)) => Err(CallError::Down(self.why_it_dies(server.pid()))),
            },
        }
    }

    /// Sends a server a message, and waits for nothing. One that could not be sent comes back.
    pub fn cast<S: Server>(
        &self,
        server: ServerRef<S>,
        message: S::Message,
    ) -> Result<(), atropos_kernel::SendError<S::Message>> {
        self.host(|host| server.cast_from(host, message))
    }
}
