//! The shutdown of the supervision trees that processes have started: [`end_trees`].
//!
//! A main process that links a supervisor has a tree that is not a root (`roots`). That tree ends
//! when its owner does, by its supervisors' rules, provided that its children get no exit signal
//! before. So the processes of all remaining trees are found, and spared. All other processes get
//! the exit signal `shutdown`, and their trees follow them.
//!
//! - **T1, members of a tree**: each supervisor, each child of one, and every process that a child
//!   is linked with, such as a helper. If a helper got the signal, the child would crash, in its
//!   supervisor's view. (Links are followed over any number of steps, but not through a
//!   supervisor.)
//! - **T2, owners of a tree**: every process that is linked with a supervisor and is in no tree. An
//!   owner gets the signal, even if T1 makes it a member. A supervisor without an owner gets the
//!   signal itself.
//! - **T3, this is best effort.** A process that occupies its core answers no query, a tree changes
//!   while it is inspected, an owner may survive its signal. So the inspection is limited to
//!   [`LOOK`], owners have [`PATIENCE`], and afterwards every remaining process gets the signal,
//!   member or not.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use atropos_kernel::{Pid, Reason};
use atropos_otp::{ChildState, SupervisorRef};

use crate::block_on::wait_for_end;
use crate::deadline::{Pauses, earlier, is_over};
use crate::handle::Handle;

/// The limit on the inspection: how long all replies together may take.
const LOOK: Duration = Duration::from_secs(1);
/// How long owners may survive their signal before their trees get it too.
const PATIENCE: Duration = Duration::from_secs(5);

/// Stops the remaining trees through their owners, and waits for them.
pub(crate) fn end_trees(handle: &Handle, end: Option<Instant>) {
    let all = handle.processes();
    let supervisors: Vec<_> =
        handle.host(|host| all.iter().filter_map(|pid| SupervisorRef::of_process(host, *pid)).collect());
    if supervisors.is_empty() {
        return;
    }
    let until = earlier(end, Instant::now().checked_add(LOOK));
    let children = children(handle, &supervisors, until);
    let mut members: HashSet<Pid> = supervisors.iter().map(|supervisor| supervisor.pid()).collect();
    members.extend(&children);
    // T2: each supervisor that is in no other tree has an owner, or gets the signal itself.
    let mut told = HashSet::new();
    for (supervisor, links) in links(handle, supervisors.iter().map(|supervisor| supervisor.pid()), until) {
        let mut owners = links.iter().filter(|pid| !members.contains(pid)).peekable();
        if owners.peek().is_none() && !children.contains(&supervisor) {
            told.insert(supervisor);
        }
        told.extend(owners);
    }
    // T1: follow the links of the children that are not supervisors.
    let is_supervisor: HashSet<Pid> = supervisors.iter().map(|supervisor| supervisor.pid()).collect();
    let mut next: Vec<Pid> = children.difference(&is_supervisor).copied().collect();
    while !next.is_empty() {
        let linked = links(handle, next.drain(..), until);
        next = linked.into_iter().flat_map(|(_, links)| links).filter(|pid| !told.contains(pid)).collect();
        next.retain(|pid| members.insert(*pid));
    }
    let owners: Vec<Pid> = told.iter().copied().collect();
    told.extend(all.iter().filter(|pid| !members.contains(pid)));
    for pid in told {
        // If there is no memory for a signal, it is sent later, with those to all remaining
        // processes.
        let _ = handle.exit(pid, Reason::SHUTDOWN);
    }
    // T3: wait for the members, unless an owner survives its signal for too long.
    let patience = Instant::now() + PATIENCE;
    let mut pauses = Pauses::new();
    let mut left: Vec<Pid> = members.into_iter().collect();
    loop {
        left.retain(|pid| handle.is_alive(*pid));
        let is_in_vain = Instant::now() >= patience && owners.iter().any(|pid| handle.is_alive(*pid));
        if left.is_empty() || is_in_vain || is_over(end) {
            return;
        }
        pauses.pause();
    }
}

/// Returns the processes of these supervisors' children.
fn children(handle: &Handle, supervisors: &[SupervisorRef], until: Option<Instant>) -> HashSet<Pid> {
    let asked: Vec<_> = supervisors.iter().map(|supervisor| handle.which_children(*supervisor)).collect();
    let children = asked.into_iter().filter_map(|asked| wait_for_end(asked, until)?.ok()).flatten();
    let pid = |state| if let ChildState::Up(pid) = state { Some(pid) } else { None };
    children.filter_map(|child| pid(child.state)).collect()
}

/// Returns the links of these processes.
fn links(handle: &Handle, of: impl Iterator<Item = Pid>, until: Option<Instant>) -> Vec<(Pid, Vec<Pid>)> {
    let info = |pid| Some((pid, wait_for_end(handle.process_info(pid), until)?.ok()??.links));
    of.filter_map(info).collect()
}
