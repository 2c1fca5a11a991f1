//! Requests to supervisors, registries, groups and tasks, and operations on names and timers, from
//! a host thread.
//!
//! The requests themselves, their replies and their errors are OTP's (`atropos-otp`), and are
//! written for a process as the caller. So here a short-lived process makes one request
//! ([`Handle::run`]); the reply is the same for every caller. Each request has an asynchronous form
//! for a task of any executor ([`HostRequest`]), and a blocking form.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use atropos_kernel::{
    Address, CatchEach, Context, Pid, Reason, Recipient, Reference, RegisterError, SpawnError, SpawnOptions, reply,
    task::IntoReason,
};
use atropos_otp::group::GroupsRef;
use atropos_otp::registry::{Key, RegistryError, RegistryRef, Value};
use atropos_otp::{
    CallError, ChildCounts, ChildId, ChildInfo, ChildSpec, ControlError, DynamicRef, StartChildError, SupervisorRef,
    TaskSupervisor,
};

use crate::alarm::Alarms;
use crate::block_on;
use crate::handle::Handle;
use crate::otp_host::{HostRequest, Leash};
use crate::panics::DROPS;
use crate::role::may_block;

impl Handle {
    /// Runs `work` as a process. Once the process is dead, and its names are free, the future
    /// resolves to what it returned, or to its exit reason if it ended otherwise. Dropping the
    /// future earlier kills the process.
    ///
    /// With it, a host thread can make every request that a process can:
    ///
    /// ```
    /// # use atropos::prelude::*;
    /// # let runtime = Runtime::builder().cores(1).build()?;
    /// let children = runtime.start_supervisor(Supervisor::one_for_one())?;
    /// let counts = runtime.run(async move |cx: Context<()>| children.count_children(&cx).await);
    /// // Any executor will do; here it is this thread.
    /// assert_eq!(atropos::block_on::wait(counts)?.map(|counts| counts.active), Ok(0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run<M, T, S, F>(&self, work: S) -> HostRequest<Result<T, Reason>>
    where
        M: Send + 'static,
        T: Send + 'static,
        S: FnOnce(Context<M>) -> F + Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let begun = reply().map_err(|_| SpawnError::NoMemory).and_then(|(reply, replied)| {
            let process = self.spawn(move |cx| {
                let work = work(cx);
                async move { reply.send(work.await) }
            })?;
            Ok((process.pid(), replied, Leash::new(self.clone(), process.pid())))
        });
        let handle = self.clone();
        HostRequest::new(async move {
            let (pid, replied, leash) = begun.map_err(Reason::value)?;
            let replied = replied.await;
            leash.disarm();
            // Also with a value: the names and relations of the process are gone when it is dead.
            let ended = handle.wait(pid).await;
            match replied {
                Ok(value) => Ok(value),
                Err(_) => Err(ended.ok().and_then(|outcome| outcome.reason).unwrap_or(Reason::NOPROC)),
            }
        })
    }

    /// Makes a request from a short-lived process.
    fn asks<T, E, S, F>(&self, work: S) -> HostRequest<Result<T, E>>
    where
        T: Send + 'static,
        E: From<CallError> + Send + 'static,
        S: FnOnce(Context<()>) -> F + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let run = self.run(work);
        HostRequest::new(async move { run.await.unwrap_or_else(|reason| Err(CallError::Down(reason).into())) })
    }

    /// Runs `work` as a task under a task supervisor, and resolves to its result. Dropping the
    /// future earlier kills the task.
    pub fn spawn_task<T, S, F>(&self, supervisor: TaskSupervisor, work: S) -> HostRequest<Result<T, StartChildError>>
    where
        T: Send + 'static,
        S: FnOnce(Context<()>) -> F + Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.asks(async move |cx| {
            let task = supervisor.spawn(&cx, work).await?;
            // This process waits for the task, and its death takes the task with it. An error of
            // the link is ignored: if the task is done by now, `block_on` still returns its result.
            let _ = cx.link(task.pid());
            Ok(task.join(&cx, None).await?)
        })
    }

    /// Spawns a process whose parent is another process, with the link or monitor that the options
    /// ask for. The parent adopts the link and the monitor when it next fetches its signals.
    ///
    /// # Errors
    /// As [`Context::spawn_with`]; [`SpawnError::Dying`] if the parent is dead or dying,
    /// [`SpawnError::NoParent`] if it never existed.
    pub fn spawn_child_of<M, S, F>(
        &self,
        parent: impl Into<Pid>,
        options: &SpawnOptions<'_>,
        start: S,
    ) -> Result<(Address<M>, Option<Reference>), SpawnError>
    where
        M: Send + 'static,
        S: FnOnce(Context<M>) -> F + Send + 'static,
        F: Future<Output: IntoReason> + Send + 'static,
    {
        self.host(|host| host.act_as(parent.into(), |acting| acting.spawn_async(options, start)))
    }

    /// Registers a name for a process.
    pub fn register(&self, name: &str, pid: impl Into<Pid>) -> Result<(), RegisterError> {
        let pid = pid.into();
        self.host(|host| host.act_as(pid, |acting| acting.register(name, pid)))
    }

    /// Removes a name. Returns `false` if no process holds it.
    pub fn unregister(&self, name: &str) -> bool {
        self.host(|host| match host.whereis(name) {
            Some(pid) => host.act_as(pid, |acting| acting.unregister(name)),
            None => false,
        })
    }

    /// Sends a message after a delay, without a sending process, unless it is cancelled or the
    /// runtime is shut down before that. Returns `None` if the system gives no thread for the
    /// timer.
    pub fn send_after<M: Send + 'static>(
        &self,
        to: impl Recipient<M>,
        after: Duration,
        message: M,
    ) -> Option<SendAfter> {
        self.inner().born.check();
        let alarms = &self.inner().alarms;
        let (handle, to) = (self.downgrade(), to.recipient());
        let Some(at) = Instant::now().checked_add(after) else {
            // The delay is beyond the clock's range: the message is never sent.
            return Some(SendAfter { alarms: alarms.clone(), comes: Comes::Never(Arc::new(AtomicBool::new(false))) });
        };
        let key = alarms.act(at, move || {
            if let Some(handle) = handle.upgrade() {
                let _ = handle.send(to, message);
            }
        })?;
        Some(SendAfter { alarms: alarms.clone(), comes: Comes::At(key) })
    }
}

/// A handle to a delayed message: see [`Handle::send_after`]. Dropping it changes nothing.
#[derive(Clone)]
pub struct SendAfter {
    alarms: Arc<Alarms>,
    comes: Comes,
}

/// The time at which a delayed message is sent.
#[derive(Clone)]
enum Comes {
    /// The key of its entry among the alarms.
    At((Instant, u64)),
    /// Never, since it is beyond the clock's range; the flag is `true` once it is cancelled.
    Never(Arc<AtomicBool>),
}

impl fmt::Debug for SendAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendAfter").field("left", &self.left()).finish()
    }
}

impl SendAfter {
    /// Returns the time until the message is sent; `None` if it has been sent, or cancelled.
    pub fn left(&self) -> Option<Duration> {
        match &self.comes {
            // Relaxed, here and below: the flag orders no other access.
            Comes::Never(cancelled) => (!cancelled.load(Ordering::Relaxed)).then_some(Duration::MAX),
            Comes::At(key) => self.alarms.is_set(*key).then(|| key.0.saturating_duration_since(Instant::now())),
        }
    }

    /// Cancels the message. Returns the time that was left, or `None` if it was no longer pending.
    pub fn cancel(&self) -> Option<Duration> {
        match &self.comes {
            Comes::Never(cancelled) => (!cancelled.swap(true, Ordering::Relaxed)).then_some(Duration::MAX),
            Comes::At(key) => self.alarms.cancel(*key).then(|| key.0.saturating_duration_since(Instant::now())),
        }
    }
}

/// Waits for an answer with many foreign values. Until the caller takes it, they are dropped one by
/// one, wherever that is.
async fn each<T, E>(answer: impl Future<Output = Result<Vec<T>, E>>) -> Result<CatchEach<Vec<T>>, E> {
    answer.await.map(|values| DROPS.catch_each(values))
}

/// Generates the asynchronous and the blocking form of a request.
macro_rules! requests {
    ($(
        $(#[$doc:meta])*
        $name:ident / $blocking:ident [$($generics:tt)*] ($what:ident: $of:ty $(, $arg:ident: $type:ty)*) -> $result:ty
            = |$cx:ident| $asks:expr $(, $own:path)?;
    )*) => {
        impl Handle {
            $(
                $(#[$doc])*
                pub fn $name<$($generics)*>(&self, $what: $of $(, $arg: $type)*) -> HostRequest<$result> {
                    // The runtime's own process holds them, so they are dropped one by one there.
                    $(let $arg = DROPS.catch_drop($arg);)*
                    let asked = self.asks(async move |$cx: Context<()>| {
                        $(let $arg = $arg.into_inner();)*
                        $asks.await
                    });
                    $(let asked = HostRequest::new(async move { asked.await.map($own) });)?
                    asked
                }

                #[doc = concat!("Calls [`Handle::", stringify!($name), "`] and blocks this thread until it resolves.")]
                ///
                /// # Panics
                /// Panics inside a process, which awaits instead.
                #[track_caller]
                pub fn $blocking<$($generics)*>(&self, $what: $of $(, $arg: $type)*) -> $result {
                    may_block();
                    block_on::wait(self.$name($what $(, $arg)*))
                }
            )*
        }
    };
}

requests! {
    /// Lists the children of a supervisor: see [`SupervisorRef::which_children`].
    which_children / which_children_blocking [] (supervisor: SupervisorRef) -> Result<Vec<ChildInfo>, CallError>
        = |cx| supervisor.which_children(&cx);
    /// Counts the children of a supervisor: see [`SupervisorRef::count_children`].
    count_children / count_children_blocking [] (supervisor: SupervisorRef) -> Result<ChildCounts, CallError>
        = |cx| supervisor.count_children(&cx);
    /// Starts a child under a supervisor: see [`SupervisorRef::start_child`].
    start_child / start_child_blocking [] (supervisor: SupervisorRef, child: ChildSpec) -> Result<Option<Pid>, StartChildError>
        = |cx| supervisor.start_child(&cx, child);
    /// Starts a child under a dynamic supervisor: see [`DynamicRef::start`].
    start_dynamic / start_dynamic_blocking [A: Send + 'static] (supervisor: DynamicRef<A>, arguments: A)
        -> Result<Option<Pid>, StartChildError>
        = |cx| supervisor.start(&cx, arguments);
    /// Terminates a child by its id: see [`SupervisorRef::terminate_child`].
    terminate_child / terminate_child_blocking [] (supervisor: SupervisorRef, id: ChildId) -> Result<(), ControlError>
        = |cx| supervisor.terminate_child(&cx, id);
    /// Terminates a child by its pid: see [`SupervisorRef::terminate_process`].
    terminate_process / terminate_process_blocking [] (supervisor: SupervisorRef, child: Pid) -> Result<(), ControlError>
        = |cx| supervisor.terminate_process(&cx, child);
    /// Restarts a child that is not running: see [`SupervisorRef::restart_child`].
    restart_child / restart_child_blocking [] (supervisor: SupervisorRef, id: ChildId) -> Result<Option<Pid>, ControlError>
        = |cx| supervisor.restart_child(&cx, id);
    /// Deletes the specification of a child: see [`SupervisorRef::delete_child`].
    delete_child / delete_child_blocking [] (supervisor: SupervisorRef, id: ChildId) -> Result<(), ControlError>
        = |cx| supervisor.delete_child(&cx, id);
    /// Registers a process under a key: see `ServerRef::<Registry<K, V>>::register_other`.
    register_in / register_in_blocking [K: Key, V: Value] (registry: RegistryRef<K, V>, pid: Pid, key: K, value: V)
        -> Result<(), RegistryError>
        = |cx| registry.register_other(&cx, pid, key, value);
    /// Removes a process's entry for a key: see `ServerRef::<Registry<K, V>>::unregister`.
    unregister_in / unregister_in_blocking [K: Key, V: Value] (registry: RegistryRef<K, V>, pid: Pid, key: K)
        -> Result<bool, CallError>
        = |cx| registry.unregister(&cx, pid, key);
    /// Returns all entries for a key: see `ServerRef::<Registry<K, V>>::lookup`.
    lookup_in / lookup_in_blocking [K: Key, V: Value] (registry: RegistryRef<K, V>, key: K)
        -> Result<Vec<(Pid, V)>, CallError>
        = |cx| each(registry.lookup(&cx, key)), CatchEach::into_inner;
    /// Returns the process that holds a key: see `ServerRef::<Registry<K, V>>::whereis`.
    whereis_in / whereis_in_blocking [K: Key, V: Value] (registry: RegistryRef<K, V>, key: K)
        -> Result<Option<Pid>, CallError>
        = |cx| registry.whereis(&cx, key);
    /// Returns the keys of a process: see `ServerRef::<Registry<K, V>>::keys`.
    keys_in / keys_in_blocking [K: Key, V: Value] (registry: RegistryRef<K, V>, pid: Pid)
        -> Result<Vec<K>, CallError>
        = |cx| each(registry.keys(&cx, pid)), CatchEach::into_inner;
    /// Returns the number of entries: see `ServerRef::<Registry<K, V>>::count`.
    count_in / count_in_blocking [K: Key, V: Value] (registry: RegistryRef<K, V>) -> Result<usize, CallError>
        = |cx| registry.count(&cx);
    /// Adds processes to a group: see `ServerRef::<ProcessGroups<G>>::join`.
    join_group / join_group_blocking [G: Key] (groups: GroupsRef<G>, group: G, pids: Vec<Pid>)
        -> Result<(), CallError>
        = |cx| groups.join(&cx, group, pids);
    /// Removes processes from a group: see `ServerRef::<ProcessGroups<G>>::leave`.
    leave_group / leave_group_blocking [G: Key] (groups: GroupsRef<G>, group: G, pids: Vec<Pid>)
        -> Result<bool, CallError>
        = |cx| groups.leave(&cx, group, pids);
    /// Returns the members of a group: see `ServerRef::<ProcessGroups<G>>::members`.
    group_members / group_members_blocking [G: Key] (groups: GroupsRef<G>, group: G) -> Result<Vec<Pid>, CallError>
        = |cx| groups.members(&cx, group);
    /// Returns all groups that have members: see `ServerRef::<ProcessGroups<G>>::which_groups`.
    which_groups / which_groups_blocking [G: Key] (groups: GroupsRef<G>) -> Result<Vec<G>, CallError>
        = |cx| each(groups.which_groups(&cx)), CatchEach::into_inner;
}
