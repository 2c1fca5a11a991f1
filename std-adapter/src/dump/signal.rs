//! [`SignalDump`]: the dump that a signal of the operating system asks for.
//!
//! - **G1, the handler does one system call.** It sends a byte to a socket
//!   (`signal_hook::low_level::pipe`): it neither allocates, nor takes a lock, nor waits. If the
//!   socket's buffer is full, the byte is lost, and the dumps that are already requested show the
//!   state.
//! - **G2, a thread of its own does the rest.** It waits at the other end of the socket, and writes
//!   a dump for each byte, or one for all bytes that have arrived since. It is not a worker, so
//!   it runs while all workers are blocked.
//! - **G3, no shutdown waits for that thread.** Standard error may be a pipe that no process reads.
//!   Dropping the [`SignalDump`] unregisters the handler, which closes its end of the socket; the
//!   thread ends when it reads the end of the stream.
//!
//! Other handlers of the same signal that are registered through signal-hook, or by Tokio, run as
//! well; so do those of other runtimes.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread;

use signal_hook::SigId;
use signal_hook::consts::FORBIDDEN;
use signal_hook::low_level::{pipe, unregister};

use crate::handle::Remote;

/// A registered handler. The thread that writes its dumps ends after this value is dropped.
pub(crate) struct SignalDump(SigId);

impl SignalDump {
    /// Registers the handler, and starts the thread.
    pub(crate) fn start(signal: i32, runtime: Remote) -> io::Result<Self> {
        if FORBIDDEN.contains(&signal) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the signal cannot be handled"));
        }
        let (requests, handler) = UnixStream::pair()?;
        let registered = Self(pipe::register(signal, handler)?);
        let write = move || write_dumps(signal, requests, &runtime);
        thread::Builder::new().name("atropos-dump".into()).spawn(write)?;
        Ok(registered)
    }
}

impl Drop for SignalDump {
    fn drop(&mut self) {
        unregister(self.0);
    }
}

/// Writes a dump to standard error whenever there are bytes to read, until the end of the stream,
/// or until the runtime is gone.
fn write_dumps(signal: i32, mut requests: UnixStream, runtime: &Remote) {
    let mut bytes = [0; 64];
    loop {
        match requests.read(&mut bytes) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => return,
        }
        let Some(runtime) = runtime.upgrade() else { return };
        let mut text = format!("atropos: dump of a runtime in process {}, by signal {signal}\n", std::process::id());
        // Writing to a string does not fail.
        let _ = match runtime.dump() {
            Ok(dump) => write!(text, "{dump}"),
            Err(error) => writeln!(text, "no dump: {error}"),
        };
        // In one piece, so that the dumps of several runtimes do not mix. Without a standard error
        // the dump has no receiver.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}
