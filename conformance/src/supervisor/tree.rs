//! The supervisors and workers of a case.

use std::time::Duration;

use atropos::otp::{
    AutoShutdown, ChildKind, ChildSpec, ChildStarter, DynamicSupervisor, FailedToStart, Intensity, ReportHook, Restart,
    Shutdown, StartError, StartedChild, Strategy, Supervisor,
};
use atropos::{Context, Pid, Reason, ReasonKind, Received, SpawnOptions};

use super::case::{self, Child, OnStop, Spec};
use super::log::{Life, Log};
use crate::reason;

/// A message that makes a worker exit with this reason.
#[derive(Debug)]
pub struct EndWith(pub Reason);

/// Returns the word for a reason.
pub fn show(why: &Reason) -> String {
    if let ReasonKind::ShutdownWith(value) = why.kind()
        && let Some(failed) = value.downcast_ref::<FailedToStart>()
    {
        let id = failed.id.as_ref().map_or("undefined", |id| id.as_str());
        return format!("shutdown:failed_to_start_child({id},{})", show_start(&failed.error));
    }
    reason::show(why)
}

/// Returns the word for a failed start.
pub fn show_start(error: &StartError) -> String {
    match error {
        StartError::Refused(reason) => show(reason),
        StartError::Crashed(reason) => match reason.kind() {
            ReasonKind::Crash(text) => format!("crash:{text}"),
            _ => show(reason),
        },
        StartError::Spec(_) => "bad_spec".into(),
        other => other.to_string(),
    }
}

fn restart(child: &Child) -> Restart {
    match child.restart.as_deref() {
        None | Some("permanent") => Restart::Permanent,
        Some("transient") => Restart::Transient,
        Some(_) => Restart::Temporary,
    }
}

fn shutdown(child: &Child) -> Option<Shutdown> {
    Some(match child.shutdown.as_ref()? {
        case::Shutdown::Within(ms) => Shutdown::Within(Duration::from_millis(ms.unsigned_abs())),
        case::Shutdown::Word(word) if word == "brutal_kill" => Shutdown::Brutal,
        case::Shutdown::Word(_) => Shutdown::Infinity,
    })
}

fn is_supervisor(child: &Child) -> bool {
    child.sup.is_some() || child.kind.as_deref() == Some("supervisor")
}

/// Returns a child specification for the supervisor that is an instance of the log.
pub fn child(log: &Log, supervisor: (String, usize), child: Child) -> ChildSpec {
    let (log, id) = (log.clone(), child.id.clone());
    if !child.is_valid() {
        return refused(id);
    }
    let (restart, shutdown, significant) = (restart(&child), shutdown(&child), child.significant);
    let kind = is_supervisor(&child);
    let start = move |starter: &mut ChildStarter<'_>| start(&log, &supervisor, &child, &child.id, starter);
    let mut spec = if kind { ChildSpec::supervisor(id, start) } else { ChildSpec::worker(id, start) };
    if let Some(shutdown) = shutdown {
        spec = spec.shutdown(shutdown);
    }
    spec.restart(restart).significant(significant)
}

/// Returns a child specification that every supervisor refuses, in place of one that the types of
/// Atropos cannot say ([`Child::is_valid`]).
fn refused(id: String) -> ChildSpec {
    ChildSpec::worker(id, |_: &mut ChildStarter<'_>| Ok(StartedChild::IGNORE))
        .restart(Restart::Permanent)
        .significant(true)
}

/// Makes one attempt to start a child.
fn start(
    log: &Log,
    (supervisor, n): &(String, usize),
    child: &Child,
    id: &str,
    starter: &mut ChildStarter<'_>,
) -> Result<StartedChild, StartError> {
    log.bind(supervisor, *n, starter.supervisor_pid());
    let n = log.attempt(id);
    let script = child.start.get(n - 1).or(child.start.last()).map_or("ok", String::as_str);
    match script.split_once(':') {
        Some(("error", word)) => {
            log.failed(id, n, script);
            return Err(StartError::Refused(reason::parse(word)));
        }
        Some((_, word)) => {
            log.failed(id, n, script);
            // Unlike `panic!`, this does not call the panic hook, which would print it.
            std::panic::resume_unwind(Box::new(word.to_owned()));
        }
        None if script == "ignore" => {
            log.failed(id, n, script);
            return Ok(StartedChild::IGNORE);
        }
        None => {}
    }
    let life = log.started(id, n);
    let started = match &child.sup {
        Some(spec) => {
            let started = starter.supervisor(supervisor_of(log, id, n, life, spec));
            note_refusal(log, id, n, started.as_ref().err());
            started?
        }
        None => {
            let (on_stop, parent) = (child.on_stop.clone(), starter.supervisor_pid());
            let options = SpawnOptions::new().trap_exit(child.trap);
            starter.spawn_with(&options, move |cx| worker(cx, life, parent, on_stop))?
        }
    };
    if let Some(pid) = started.pid() {
        log.bind(id, n, pid);
    }
    Ok(started)
}

/// Records a refusal, if the start failed because the supervisor's specification is invalid.
pub fn note_refusal(log: &Log, id: &str, n: usize, error: Option<&StartError>) {
    if let Some(StartError::Spec(_)) = error {
        log.refused(id, n, &reason::parse("bad_spec"));
    }
}

/// Returns a supervisor that holds its `life`.
pub fn supervisor_of(log: &Log, id: &str, n: usize, life: Life, spec: &Spec) -> Supervisor {
    // The supervisor's body owns the hook and drops it. The hook ignores all reports.
    let hook = ReportHook::new(move |_| {
        let _ = &life;
    });
    if !spec.is_valid() {
        return Supervisor::one_for_one().on_report(hook).child(refused(id.to_owned()));
    }
    let restarts = u32::try_from(spec.intensity).unwrap_or(u32::MAX);
    let intensity = Intensity::within(restarts, Duration::from_secs(spec.period.unsigned_abs()));
    let auto = match spec.auto_shutdown.as_str() {
        "any_significant" => AutoShutdown::AnySignificant,
        "all_significant" => AutoShutdown::AllSignificant,
        _ => AutoShutdown::Never,
    };
    let me = (id.to_owned(), n);
    let strategy = match spec.strategy.as_str() {
        "one_for_all" => Strategy::OneForAll,
        "rest_for_one" => Strategy::RestForOne,
        "simple_one_for_one" => {
            let template = spec.children.first().cloned().unwrap_or_default();
            let (restart, shutdown, significant) = (restart(&template), shutdown(&template), template.significant);
            let kind = if is_supervisor(&template) { ChildKind::Supervisor } else { ChildKind::Worker };
            let log = log.clone();
            let mut dynamic = DynamicSupervisor::new(move |starter: &mut ChildStarter<'_>, inst: &mut String| {
                start(&log, &me, &template, inst, starter)
            });
            if let Some(shutdown) = shutdown {
                dynamic = dynamic.shutdown(shutdown);
            }
            let dynamic = dynamic.restart(restart).kind(kind).significant(significant);
            return Supervisor::from(dynamic.intensity(intensity).auto_shutdown(auto).on_report(hook));
        }
        _ => Strategy::OneForOne,
    };
    let children = spec.children.iter().map(|spec| child(log, me.clone(), spec.clone()));
    Supervisor::new(strategy).intensity(intensity).auto_shutdown(auto).on_report(hook).children(children)
}

async fn worker(cx: Context<EndWith>, _life: Life, supervisor: Pid, on_stop: OnStop) -> Reason {
    loop {
        match cx.recv().await {
            Received::Message(EndWith(reason)) => return reason,
            Received::Exit(exit) if exit.from == Some(supervisor) => match &on_stop {
                OnStop::Obey => return exit.reason,
                OnStop::Ignore => {}
                OnStop::Exit(word) => return reason::parse(word),
                OnStop::Delay(ms) => {
                    cx.sleep(Duration::from_millis(*ms)).await;
                    return exit.reason;
                }
            },
            _ => {}
        }
    }
}
