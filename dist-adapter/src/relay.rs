//! [`Relay`]: connects a plane to the processes of an `atropos` runtime.
//!
//! One process of the runtime monitors, with the kernel's own monitors, every process that the
//! plane requests a watch for, and reports each end to the plane. A monitor of a dead process fires
//! at once, so no end is missed. The relay sets up its monitor a little after the request. A
//! process that was alive at the request and has died in between is still reported with its own
//! reason, which its slot remembers. A peer that monitors a server, and then sends it a message
//! that crashes it, must not get `noproc`. (It does get `noproc` if the slot has been reused by
//! then.)
//!
//! When no peer monitors a process, the relay removes its monitor. It processes the orders to
//! monitor and to demonitor in their order, so that a demonitor undoes no later monitor. Its
//! mailbox holds at most two orders for each process that the plane watches, and the plane counts
//! those against the peers' quotas (`quota`).
//!
//! A function that the embedder supplies sends the DOWN of a remote process to its watcher as a
//! message, [`RemoteDown`]. Only the embedder knows the message types of its processes.
//!
//! The relay survives a panic in the plane's external code: it catches the panic and resumes the
//! plane.

use std::boxed::Box;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use atropos::kernel::Tombstone;
use atropos::{Address, Context, Handle, MonitorError, MonitorTarget, NoMemory, Pid, Reason, Received, SpawnError};

use crate::control_plane::{ControlPlane, Options};
use crate::hooks::RuntimeHooks;
use crate::pid::RemotePid;
use crate::reference::RemoteReference;
use crate::sender::Sender;

/// The DOWN of a remote monitor, as a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemoteDown {
    /// The reference that `monitor_remote` returned.
    pub reference: RemoteReference,
    /// The process that has ended.
    pub target: RemotePid,
    /// The exit reason.
    pub reason: Reason,
}

/// A message to the relay's process.
enum Order {
    Serve(Weak<ControlPlane>),
    /// Watch a process that was alive at the plane's request.
    Watch(Pid),
    /// Report a process that was dead at the request, or a pid that no kernel allocates.
    Dead(u64),
    /// No peer monitors the process now.
    Unwatch(u64),
}

/// The function that sends a DOWN to its watcher.
type Deliver = dyn Fn(&Handle, Pid, RemoteDown) + Send + Sync;

/// The [`RuntimeHooks`] of a plane whose processes belong to an `atropos` runtime.
pub struct Relay {
    handle: Handle,
    process: Address<Order>,
    deliver: Box<Deliver>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("process", &self.process).finish_non_exhaustive()
    }
}

/// The delay before the relay checks again if a death is complete.
const AGAIN: Duration = Duration::from_millis(1);

impl Relay {
    /// Starts the relay's process, and creates a plane for the runtime's processes. `deliver` sends
    /// a DOWN to its watcher.
    pub fn start(
        handle: &Handle,
        options: Options,
        sender: Arc<dyn Sender>,
        deliver: impl Fn(&Handle, Pid, RemoteDown) + Send + Sync + 'static,
    ) -> Result<Arc<ControlPlane>, SpawnError> {
        let own = handle.clone();
        let process = handle.spawn(move |cx| relay(cx, own))?;
        let relay = Arc::new(Self { handle: handle.clone(), process, deliver: Box::new(deliver) });
        let plane = Arc::new(ControlPlane::new(options, sender, relay));
        if handle.send(process, Order::Serve(Arc::downgrade(&plane))).is_err() {
            let _ = handle.exit(process, Reason::KILL);
            return Err(SpawnError::NoMemory);
        }
        Ok(plane)
    }
}

impl RuntimeHooks for Relay {
    fn deliver_down(&self, watcher: u64, reference: RemoteReference, target: RemotePid, reason: Reason) {
        if let Some(watcher) = Pid::from_raw(watcher) {
            (self.deliver)(&self.handle, watcher, RemoteDown { reference, target, reason });
        }
    }

    fn watch(&self, pid: u64) -> Result<(), NoMemory> {
        let living = Pid::from_raw(pid).filter(|pid| self.handle.is_alive(*pid));
        let order = living.map_or(Order::Dead(pid), Order::Watch);
        // A relay that has ended watches nothing, whatever the cause.
        self.handle.send(self.process, order).map_err(|_| NoMemory)
    }

    fn unwatch(&self, pid: u64) {
        // Without memory for the order, the watch stays until the process ends, on its peer's
        // account.
        let _ = self.handle.send(self.process, Order::Unwatch(pid));
    }
}

async fn relay(cx: Context<Order>, handle: Handle) {
    let mut plane: Weak<ControlPlane> = Weak::new();
    // One monitor for each watched process.
    let mut monitors = BTreeMap::new();
    loop {
        match cx.recv().await {
            Received::Message(Order::Serve(serve)) => plane = serve,
            Received::Message(Order::Watch(pid)) => {
                if monitors.contains_key(&pid.to_raw()) {
                    continue;
                }
                loop {
                    match cx.monitor(pid) {
                        Ok(monitor) => drop(monitors.insert(pid.to_raw(), monitor)),
                        // A timer needs memory too, and a process without memory for one dies.
                        Err(MonitorError::NoMemory) => {
                            cx.yield_now().await;
                            continue;
                        }
                        Err(_) => {}
                    }
                    break;
                }
            }
            Received::Message(Order::Dead(pid)) => tell(&plane, pid, &Reason::NOPROC),
            Received::Message(Order::Unwatch(pid)) => {
                let is_needed = plane.upgrade().is_some_and(|plane| !plane.release(pid));
                if !is_needed && let Some(monitor) = monitors.remove(&pid) {
                    // Its DOWN, if one has arrived already, is discarded.
                    cx.demonitor(monitor, true);
                }
            }
            Received::Down(down) => {
                let MonitorTarget::Pid(pid) = down.target else { continue };
                monitors.remove(&pid.to_raw());
                let reason =
                    if down.reason == Reason::NOPROC { last_words(&cx, &handle, pid).await } else { down.reason };
                tell(&plane, pid.to_raw(), &reason);
            }
            Received::Exit(_) | Received::Timer { .. } => {}
        }
    }
}

/// Returns the exit reason of a process that died between the plane's request and the relay's
/// monitor.
async fn last_words(cx: &Context<Order>, handle: &Handle, pid: Pid) -> Reason {
    let next = pid.generation().checked_add(1).and_then(|generation| Pid::new(pid.index(), generation));
    loop {
        if let Tombstone::Known(reason) = handle.tombstone(pid) {
            return reason;
        }
        // If no later process has used the slot, the death is still in progress on another core.
        let is_dying = next.is_some_and(|next| handle.tombstone(next) == Tombstone::NeverAllocated);
        if !is_dying {
            return Reason::NOPROC;
        }
        cx.sleep(AGAIN).await;
    }
}

/// Reports an end to the plane, and resumes it until no work is left after panics. Each panic has
/// been printed and costs one delivery, so the loop terminates.
fn tell(plane: &Weak<ControlPlane>, pid: u64, reason: &Reason) {
    let Some(plane) = plane.upgrade() else { return };
    let mut done = catch_unwind(AssertUnwindSafe(|| plane.exited(pid, reason)));
    while let Err(panic) = done {
        // The destructor of the panic's value may panic.
        std::mem::forget(panic);
        done = catch_unwind(AssertUnwindSafe(|| plane.resume()));
    }
}
