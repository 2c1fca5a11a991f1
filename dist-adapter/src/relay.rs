//! [`Relay`]: the plane's processes are those of an `atropos` runtime.
//!
//! One process of the runtime monitors, with the kernel's own monitors, every process that the plane asks about, and
//! tells the plane of each end: a monitor of a dead process is answered at once, so no end is missed. The relay
//! monitors a little later than it is asked. A process that lives when it is asked about, and has died by then, is told of
//! with its own reason all the same, which its slot remembers: a peer that monitors a server and then sends it what it
//! crashes of must not hear that there was none. (`noproc`, if the slot has been used again so soon.)
//!
//! When no peer monitors a process any more, the relay takes its monitor back. It does so in the order in which it was asked
//! to monitor and to let go, so that to let go undoes no later monitor. Its mailbox has at most two orders for each process
//! that the plane watches, and the plane counts those against the peers' quotas (`account`).
//!
//! A DOWN of a remote process goes to its watcher as a message, [`RemoteDown`], by a function that the embedder gives: it
//! knows what its processes take.
//!
//! Whatever the plane's foreign code does, the relay lives: a panic is contained, and the plane is resumed.

use std::boxed::Box;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use atropos::kernel::Tombstone;
use atropos::{Address, Context, Handle, MonitorError, MonitorTarget, NoMemory, Pid, Reason, Received, SpawnError};

use crate::pid::RemotePid;
use crate::plane::{ControlPlane, Options};
use crate::reference::RemoteReference;
use crate::sender::Sender;
use crate::watchers::Watchers;

/// The answer of a remote monitor, as a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemoteDown {
    /// What `monitor_remote` returned.
    pub reference: RemoteReference,
    /// Who has ended.
    pub target: RemotePid,
    /// Why.
    pub reason: Reason,
}

/// What the relay's process takes.
enum Order {
    Serve(Weak<ControlPlane>),
    /// Of a process that lived when the plane asked.
    Watch(Pid),
    /// Of one that did not, or of a pid that no kernel gives out.
    Dead(u64),
    /// No peer monitors it now.
    Unwatch(u64),
}

/// How a DOWN reaches its watcher.
type Deliver = dyn Fn(&Handle, Pid, RemoteDown) + Send + Sync;

/// See the module.
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

/// How long the relay waits before it looks again, for memory or for the end of a death.
const AGAIN: Duration = Duration::from_millis(1);

impl Relay {
    /// Starts the relay's process, and makes a plane for the runtime's processes. `deliver` sends a watcher its DOWN.
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

impl Watchers for Relay {
    fn deliver_down(&self, watcher: u64, reference: RemoteReference, target: RemotePid, reason: Reason) {
        if let Some(watcher) = Pid::from_raw(watcher) {
            (self.deliver)(&self.handle, watcher, RemoteDown { reference, target, reason });
        }
    }

    fn watch(&self, pid: u64) -> Result<(), NoMemory> {
        let living = Pid::from_raw(pid).filter(|pid| self.handle.is_alive(*pid));
        let order = living.map_or(Order::Dead(pid), Order::Watch);
        // A relay that is gone watches nothing, whatever the cause.
        self.handle.send(self.process, order).map_err(|_| NoMemory)
    }

    fn unwatch(&self, pid: u64) {
        // Without memory for the order the watch stays until the process ends, on its peer's account.
        let _ = self.handle.send(self.process, Order::Unwatch(pid));
    }
}

async fn relay(cx: Context<Order>, handle: Handle) {
    let mut plane: Weak<ControlPlane> = Weak::new();
    // One for each process that is watched.
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
                        // An alarm needs memory too, and a process that finds none for it dies.
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
                    // Its DOWN, if there is one already, is for nobody.
                    cx.demonitor(monitor, true);
                }
            }
            Received::Down(down) => {
                let MonitorTarget::Pid(pid) = down.object else { continue };
                monitors.remove(&pid.to_raw());
                let reason =
                    if down.reason == Reason::NOPROC { last_words(&cx, &handle, pid).await } else { down.reason };
                tell(&plane, pid.to_raw(), &reason);
            }
            Received::Exit(_) | Received::Timer { .. } => {}
        }
    }
}

/// What a process died of between the plane's question and the relay's monitor.
async fn last_words(cx: &Context<Order>, handle: &Handle, pid: Pid) -> Reason {
    let next = pid.generation().checked_add(1).and_then(|generation| Pid::new(pid.index(), generation));
    loop {
        if let Tombstone::Known(reason) = handle.tombstone(pid) {
            return reason;
        }
        // A slot that has had no other process since belongs to a death that is not yet at its end, on another core.
        let is_dying = next.is_some_and(|next| handle.tombstone(next) == Tombstone::NeverAllocated);
        if !is_dying {
            return Reason::NOPROC;
        }
        cx.sleep(AGAIN).await;
    }
}

/// Tells the plane, and lets it finish what a panic has left. Each panic has been printed and costs one delivery, so
/// this comes to an end.
fn tell(plane: &Weak<ControlPlane>, pid: u64, reason: &Reason) {
    let Some(plane) = plane.upgrade() else { return };
    let mut done = catch_unwind(AssertUnwindSafe(|| plane.exited(pid, reason)));
    while let Err(panic) = done {
        // Its destructor may panic.
        std::mem::forget(panic);
        done = catch_unwind(AssertUnwindSafe(|| plane.resume()));
    }
}
