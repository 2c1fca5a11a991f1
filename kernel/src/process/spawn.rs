//! Birth: [`SpawnOptions`], and how a process comes to be.
//!
//! Everything that can fail is done before the process is published; from then on nothing
//! can, and links, monitors, flags and the name hold before its first instruction.

use core::fmt;
use core::mem::offset_of;
use core::ptr::{self, NonNull};

use crate::bound::{MaybeBound, Overflow};
use crate::hand::Hand;
use crate::kernel::Kernel;
use crate::link::Link;
use crate::mailbox::Mailbox;
use crate::memory::NoMemory;
use crate::memory::pool::{self, Pool};
use crate::monitor::Monitor;
use crate::name::RegisterError;
use crate::pid::{Pid, Reference};
use crate::process::body::{Body, Process};
use crate::process::header::{self, Header};
use crate::process::private::Private;
use crate::proxy::{Order, Proxy};
use crate::reason::Reason;
use crate::reclaim::Retired;
use crate::roll::Roll;
use crate::runq::node::RunNode;
use crate::signal::node::{Kind, Node};
use crate::sync::{AtomicBool, AtomicPtr, AtomicUsize, UnsafeCell};
use crate::table::{Claim, FreeSlots, NoSlot};

/// How urgent a process is. None starves (`runq`, F1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Priority {
    /// Before the others, but for every 8th turn.
    High,
    /// As most are.
    #[default]
    Normal,
    /// When nobody else wants to run, and every 64th turn.
    Low,
}

impl Priority {
    pub(crate) fn of(process: &Header) -> Self {
        [Self::High, Self::Normal, Self::Low][process.run.priority()]
    }
}

/// How a process is to be started.
#[derive(Clone, Debug, Default)]
pub struct SpawnOptions<'n> {
    pub(crate) link: bool,
    pub(crate) monitor: bool,
    pub(crate) supervised: bool,
    pub(crate) trap_exit: bool,
    pub(crate) priority: Priority,
    pub(crate) core: Option<usize>,
    pub(crate) mailbox_limit: u32,
    pub(crate) overflow: Overflow,
    pub(crate) name: Option<&'n str>,
}

impl<'n> SpawnOptions<'n> {
    /// Neither linked, monitored nor named, of normal priority.
    pub fn new() -> Self {
        Self::default()
    }

    /// Linked with its parent. The host has no process to link: it is an error there.
    pub fn link(mut self) -> Self {
        self.link = true;
        self
    }

    /// Monitored by its parent. As for [`SpawnOptions::link`].
    pub fn monitor(mut self) -> Self {
        self.monitor = true;
        self
    }

    /// Linked with its parent, who gets its end as a DOWN and not as an EXIT, whether or not it traps exits: a link and a monitor
    /// in one, for who has many children. It dies with its parent as by any link. If it unlinks itself its parent is told of its
    /// end still; the parent ends both by [`crate::Cx::unlink`]. (Spawned on behalf of a process it is linked and
    /// monitored.) As for [`SpawnOptions::link`].
    pub fn supervised(mut self) -> Self {
        self.supervised = true;
        self
    }

    /// Whether it traps exits from birth.
    pub fn trap_exit(mut self, trap: bool) -> Self {
        self.trap_exit = trap;
        self
    }

    /// How urgent it is.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// The only core that may run it.
    pub fn core(mut self, core: usize) -> Self {
        self.core = Some(core);
        self
    }

    /// Messages that may wait at a time; a send beyond gives the message back, unless [`SpawnOptions::overflow`] says
    /// otherwise. EXITs, DOWNs and timers are not counted: a full mailbox neither refuses nor delays nor drops them. 0
    /// for no limit.
    pub fn mailbox_limit(mut self, messages: u32) -> Self {
        self.mailbox_limit = messages;
        self
    }

    /// What becomes of a message that is one too many, if there is a limit. By default it comes back to its sender, who may
    /// wait for room. With [`Overflow::DropNewest`] it is dropped, and with [`Overflow::DropOldest`] it is let in, and the
    /// oldest dropped when the process fetches what has come: after that at most as many wait as the limit says. Between
    /// two fetches there may be up to twice as many; beyond that the newest is dropped. Of either its sender knows nothing;
    /// [`crate::ProcessInfo::dropped`] counts them, and who waits for a [`crate::Reply`] in one is told.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Registers it under a name.
    pub fn name(mut self, name: &'n str) -> Self {
        self.name = Some(name);
        self
    }
}

/// What a spawn made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spawned {
    /// The process.
    pub pid: Pid,
    /// The parent's monitor of it, if it was asked for.
    pub monitor: Option<Reference>,
}

/// Why no process was started; nothing of it is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SpawnError {
    /// The limit of processes is reached.
    TooMany,
    /// There is no memory for it.
    NoMemory,
    /// Its name could not be registered.
    Name(RegisterError),
    /// There is no core of this number.
    NoSuchCore,
    /// The host asked for a link or monitor, and has no process that could have one.
    NoParent,
    /// The parent is dying.
    Dying,
    /// The runtime shuts down.
    Closing,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => f.write_str("the limit of processes is reached"),
            Self::NoMemory => f.write_str("out of memory"),
            Self::Name(error) => write!(f, "{error}"),
            Self::NoSuchCore => f.write_str("there is no such core"),
            Self::NoParent => f.write_str("the host cannot be linked or monitor: spawn from a process"),
            Self::Dying => f.write_str("the process is dying"),
            Self::Closing => f.write_str("the runtime shuts down"),
        }
    }
}

impl core::error::Error for SpawnError {}

impl From<NoSlot> for SpawnError {
    fn from(error: NoSlot) -> Self {
        match error {
            NoSlot::Full => Self::TooMany,
            NoSlot::NoMemory => Self::NoMemory,
        }
    }
}

unsafe fn reclaim(retired: NonNull<Retired>, pool: Option<&Pool>) {
    // SAFETY: only headers' `retired` are given this function.
    let header = unsafe { retired.byte_sub(offset_of!(Header, retired)).cast::<Header>() };
    // SAFETY: the table's share: out of everybody's reach.
    unsafe { Header::give_up_table(header, pool) };
}

/// The process that spawns.
pub(crate) struct Parent<'a> {
    /// Who.
    pub process: &'a Header,
    /// For the monitor, if one is asked for.
    pub reference: Option<Reference>,
    /// The caller does not own it: its sides of the ties go to it by proxy.
    pub by_proxy: bool,
}

struct Ties {
    link: Option<NonNull<Link>>,
    monitor: Option<NonNull<Monitor>>,
    /// What brings the parent its sides, if the caller does not own it.
    proxies: [Option<NonNull<Node>>; 2],
}

impl Ties {
    const NONE: Self = Self { link: None, monitor: None, proxies: [None; 2] };

    /// Makes them, in their place.
    fn make(
        &mut self,
        hand: &Hand<'_>,
        options: &SpawnOptions<'_>,
        parent: &Parent<'_>,
        child: Pid,
    ) -> Result<(), NoMemory> {
        let ties = self;
        // Whose sides go by proxy gets two records: a proxy may find an older link, and give this one up for it.
        let in_one = if options.supervised && !parent.by_proxy { parent.reference } else { None };
        if options.link || options.supervised {
            ties.link = Some(Link::try_new(hand, parent.process.pid, child, in_one)?);
        }
        if let Some(reference) = parent.reference
            && in_one.is_none()
        {
            match Monitor::try_new(hand, reference, parent.process.pid, Some(child), None) {
                Ok(monitor) => ties.monitor = Some(monitor),
                Err(NoMemory) => {
                    core::mem::replace(ties, Self::NONE).give_up(hand);
                    return Err(NoMemory);
                }
            }
        }
        if parent.by_proxy {
            let orders = [ties.link.map(Order::Link), ties.monitor.map(Order::Monitor)];
            for (proxy, order) in ties.proxies.iter_mut().zip(orders) {
                match order.map(|order| Proxy::try_new(&hand.kernel.nodes, order)).transpose() {
                    Ok(node) => *proxy = node,
                    Err(NoMemory) => {
                        core::mem::replace(ties, Self::NONE).give_up(hand);
                        return Err(NoMemory);
                    }
                }
            }
        }
        Ok(())
    }

    fn give_up(self, hand: &Hand<'_>) {
        for proxy in self.proxies.into_iter().flatten() {
            // SAFETY: never pushed; its share is given up below.
            unsafe { Proxy::open(proxy) };
        }
        for _share in 0..2 {
            if let Some(link) = self.link {
                // SAFETY: both shares are ours still.
                unsafe { Link::give_up(link, hand.pool()) };
            }
            if let Some(monitor) = self.monitor {
                // SAFETY: likewise.
                unsafe { Monitor::give_up(monitor, hand.pool()) };
            }
        }
    }

    /// Puts both sides where they belong, but for those that go by proxy. Can't fail.
    fn tie(&self, parent: Option<&Parent<'_>>, child: &Header, hand: &Hand<'_>) {
        let Some(parent) = parent else { return };
        if let Some(link) = self.link {
            // SAFETY: nobody knows the child yet.
            let child = unsafe { child.private() };
            // SAFETY: new, in no set.
            unsafe { child.hold_half(Link::half(link, 1), hand) };
            if !parent.by_proxy {
                // SAFETY: the caller owns the parent.
                let parent = unsafe { parent.process.private() };
                // SAFETY: new, in no set.
                unsafe { parent.hold_half(Link::half(link, 0), hand) };
            }
        }
        if let Some(monitor) = self.monitor {
            if !parent.by_proxy {
                // SAFETY: the caller owns the parent.
                let parent = unsafe { parent.process.private() };
                // SAFETY: new, in no set.
                unsafe { parent.monitors.insert(monitor) };
            }
            // SAFETY: on no list; the share of the target's side goes with it.
            let pushed = unsafe { child.watchers.push(Monitor::watch(monitor)) };
            debug_assert!(pushed.is_ok(), "a new list is open");
        }
    }

    /// Sends the parent its sides, by their proxies. The child is published, and not yet queued: whatever comes of it
    /// finds the child before its first instruction. A parent that has died meanwhile has died after the spawn.
    fn hand_over(self, parent: &Parent<'_>, hand: &Hand<'_>) {
        for proxy in self.proxies.into_iter().flatten() {
            // SAFETY: new, so ours.
            if unsafe { hand.push(parent.process, proxy) } {
                continue;
            }
            // SAFETY: refused, so still ours.
            match unsafe { Proxy::open(proxy) } {
                Order::Link(link) => {
                    // SAFETY: found closed (P3).
                    let reason = unsafe { parent.process.reason() };
                    // SAFETY: the parent's share, and the only EXIT in its name.
                    unsafe { Link::fire(link, parent.process.pid, hand, &reason) };
                }
                // SAFETY: the watcher's share. Nobody counts it as cancelled: the child fires it, and it reaches nobody.
                Order::Monitor(monitor) => unsafe { Monitor::give_up(monitor, hand.pool()) },
                _ => unreachable!("a spawn makes ties"),
            }
        }
    }
}

/// What a spawn counts in and takes slots from: a core's own, or the host's.
pub(crate) enum Slots<'a> {
    Core(&'a crate::sched::local::CoreLocal),
    Host(&'a mut FreeSlots),
}

impl Slots<'_> {
    fn claim(&mut self, kernel: &Kernel) -> Result<Claim, SpawnError> {
        match self {
            // The parent is a process, so a kernel that is closed meanwhile is not empty before its child is seen.
            Self::Core(core) => Ok(core.claim(kernel)?),
            Self::Host(slots) => {
                let credit = kernel.take_credit()?;
                if kernel.is_closed_to_the_counted() {
                    kernel.return_credit(credit);
                    return Err(SpawnError::Closing);
                }
                kernel.return_credit(credit - 1);
                Ok(kernel.table.claim(slots).inspect_err(|_| kernel.return_credit(1))?)
            }
        }
    }

    fn release(&mut self, kernel: &Kernel, pid: Pid) {
        match self {
            Self::Core(core) => core.release(kernel, pid),
            Self::Host(slots) => {
                kernel.table.release(pid, slots);
                kernel.return_credit(1);
            }
        }
    }
}

/// Starts a process. Lock-free but for growing the table.
pub(crate) fn spawn<B: Body>(
    hand: &Hand<'_>,
    mut slots: Slots<'_>,
    parent: Option<Parent<'_>>,
    options: &SpawnOptions<'_>,
    body: B,
) -> Result<Spawned, SpawnError> {
    let kernel = hand.kernel;
    if kernel.is_closing() {
        return Err(SpawnError::Closing);
    }
    if parent.is_none() && (options.link || options.monitor || options.supervised) {
        return Err(SpawnError::NoParent);
    }
    if options.core.is_some_and(|core| core >= kernel.cores()) {
        return Err(SpawnError::NoSuchCore);
    }
    let bound =
        MaybeBound::try_new(options.mailbox_limit, options.overflow).map_err(|NoMemory| SpawnError::NoMemory)?;
    let entry = options.name.map(|name| kernel.names.intern(name)).transpose().map_err(SpawnError::Name)?;
    let memory = hand.try_alloc::<Process<B>>().map_err(|NoMemory| SpawnError::NoMemory)?;
    let claim = match slots.claim(kernel) {
        Ok(claim) => claim,
        Err(error) => {
            // SAFETY: allocated above, nothing written.
            unsafe { pool::free(memory, hand.pool()) };
            return Err(error);
        }
    };
    // Most are tied to nobody.
    let parent = parent.as_ref().filter(|parent| options.link || parent.reference.is_some());
    let mut ties = Ties::NONE;
    if let Some(parent) = parent
        && ties.make(hand, options, parent, claim.pid).is_err()
    {
        undo(hand, &mut slots, &claim);
        // SAFETY: allocated above, nothing written.
        unsafe { pool::free(memory, hand.pool()) };
        return Err(SpawnError::NoMemory);
    }
    // Part after part, where it is to stay: a whole process is several cache lines to copy.
    // SAFETY: within fresh memory of this layout.
    let place = unsafe { &raw mut (*memory.as_ptr()).body };
    // SAFETY: likewise.
    unsafe { place.write(UnsafeCell::new(body)) };
    let process = memory.cast::<Header>();
    // SAFETY: likewise.
    unsafe { write_header::<B>(process, kernel, options, bound, &claim) };
    // For `Header::whole`.
    let _ = process.as_ptr().expose_provenance();
    // SAFETY: initialised; ours until it is published.
    let child = unsafe { process.as_ref() };
    if let Some(entry) = entry
        && let Err(error) = entry.reserve_for_newborn(child)
    {
        ties.give_up(hand);
        undo(hand, &mut slots, &claim);
        // SAFETY: never published, and a reservation shows it to nobody: ours alone. The
        // slot has the tombstone again.
        unsafe { (*process.as_ptr()).predecessor = ptr::null_mut() };
        // SAFETY: ours, once.
        child.vtable.drop_body.into_iter().for_each(|drop_body| kernel.contain(&mut || unsafe { drop_body(process) }));
        // SAFETY: the only share.
        unsafe { Header::give_up_table(process, hand.pool()) };
        return Err(SpawnError::Name(error));
    }
    ties.tie(parent, child, hand);
    kernel.table.publish(process, claim.pid);
    if let Some(entry) = entry {
        // After its pid leads to it, so that who finds it by name can reach it; before it can die.
        entry.confirm_newborn(child, kernel);
    }
    if let Some(parent) = parent.filter(|parent| parent.by_proxy) {
        ties.hand_over(parent, hand);
    }
    hand.schedule_newborn(child);
    Ok(Spawned { pid: claim.pid, monitor: parent.and_then(|parent| parent.reference) })
}

fn undo(hand: &Hand<'_>, slots: &mut Slots<'_>, claim: &Claim) {
    // SAFETY: taken out by the claim, given back once. A reader that found it is done when
    // the slot is claimed again: its generation has moved on, and it holds a count if it cloned.
    let tombstone = unsafe { Reason::from_word(claim.tombstone) };
    hand.kernel.table.vacate(claim.pid, tombstone.unwrap_or(Reason::NOPROC));
    slots.release(hand.kernel, claim.pid);
}

/// Writes a new process's header, field after field: a whole one would be made elsewhere and copied.
///
/// # Safety
/// `process` is fresh memory of a header's layout.
#[inline(always)]
unsafe fn write_header<B: Body>(
    process: NonNull<Header>,
    kernel: &Kernel,
    options: &SpawnOptions<'_>,
    bound: MaybeBound,
    claim: &Claim,
) {
    /// The nodes of a wake and of a kill are parts of their process: nothing to free.
    unsafe fn part_of_the_process(_: NonNull<Node>, _: Option<&Pool>) {}
    macro_rules! write {
        ($($field:ident: $value:expr),* $(,)?) => {
            // None is left out.
            let _ = |header: Header| {
                let Header { $($field: _),* } = header;
            };
            $(
                // SAFETY: within the header, by contract.
                let place = unsafe { &raw mut (*process.as_ptr()).$field };
                // SAFETY: likewise.
                unsafe { place.write($value) };
            )*
        };
    }
    write! {
        run: RunNode::new(options.priority as u8),
        mailbox: Mailbox::of(bound.get().is_some()),
        pid: claim.pid,
        limit: bound,
        vtable: Process::<B>::VTABLE,
        private: UnsafeCell::new(Private::new()),
        core: options.core.map_or(u32::MAX, |core| core as u32),
        watchers: Roll::new(),
        links: Roll::new(),
        name: AtomicPtr::new(ptr::null_mut()),
        reason: UnsafeCell::new(Reason::NOPROC),
        wake: Node::new(Kind::Wake, part_of_the_process),
        waking: AtomicBool::new(false),
        killed: AtomicBool::new(false),
        trap_exit: AtomicBool::new(options.trap_exit),
        shares: AtomicUsize::new(header::TABLE),
        kernel: NonNull::from(kernel),
        retired: Retired::new(reclaim),
        predecessor: claim.tombstone,
    }
}
