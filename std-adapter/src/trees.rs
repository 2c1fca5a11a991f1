//! The end of the trees that processes have started: [`end_trees`].
//!
//! A main process that links a supervisor has a tree that is no root (`roots`): it ends when its owner does, by its supervisors'
//! rules, if only nobody else tells its children before. So the processes of all trees that are left are found, and spared; all others are told,
//! and their trees follow them.
//!
//! - **T1, who is in a tree**: each supervisor, each child of one, and what a child is linked with, such as a helper of its own: if that were told,
//!   the child would crash, in the supervisor's eyes. (By any number of links, but not by way of a supervisor.)
//! - **T2, who owns one**: what a supervisor is linked with and is in no tree. It is told, also when T1 says otherwise. A
//!   supervisor that nobody owns is told itself.
//! - **T3, nothing here is sure.** A process that keeps its core says nothing of itself, a tree changes while one looks at it, an owner may
//!   outlive what it is told. So looking has [`LOOK`], owners have [`PATIENCE`], and afterwards all that are left are told, whoever they are.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use atropos_kernel::{Pid, Reason};
use atropos_otp::{ChildState, SupervisorRef};

use crate::ending::{Pauses, earlier, is_over};
use crate::join::wait_for_end;
use crate::runtime::Handle;

/// For how long what is asked may take to answer, all in all.
const LOOK: Duration = Duration::from_secs(1);
/// For how long owners may outlive what they are told, before their trees are told too.
const PATIENCE: Duration = Duration::from_secs(5);

/// Has the trees that are left ended by their owners, and waits for it.
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
    // T2. Each supervisor that is in no other tree has an owner, or is told itself.
    let mut told = HashSet::new();
    for (supervisor, links) in links(handle, supervisors.iter().map(|supervisor| supervisor.pid()), until) {
        let mut owners = links.iter().filter(|pid| !members.contains(pid)).peekable();
        if owners.peek().is_none() && !children.contains(&supervisor) {
            told.insert(supervisor);
        }
        told.extend(owners);
    }
    // T1.
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
        // Without memory for a signal it is told later, with all that are left.
        let _ = handle.exit(pid, Reason::SHUTDOWN);
    }
    // T3.
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

/// The processes of these supervisors' children.
fn children(handle: &Handle, supervisors: &[SupervisorRef], until: Option<Instant>) -> HashSet<Pid> {
    let asked: Vec<_> = supervisors.iter().map(|supervisor| handle.which_children(*supervisor)).collect();
    let children = asked.into_iter().filter_map(|asked| wait_for_end(asked, until)?.ok()).flatten();
    let pid = |state| if let ChildState::Up(pid) = state { Some(pid) } else { None };
    children.filter_map(|child| pid(child.state)).collect()
}

/// What these processes are linked with.
fn links(handle: &Handle, of: impl Iterator<Item = Pid>, until: Option<Instant>) -> Vec<(Pid, Vec<Pid>)> {
    let info = |pid| Some((pid, wait_for_end(handle.process_info(pid), until)?.ok()??.links));
    of.filter_map(info).collect()
}
