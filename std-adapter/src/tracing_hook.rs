//! Reports of supervisors and servers as `tracing` events: [`tracing_hook`].
//!
//! The fields are OTP's: the supervisor, the offender with its properties, the reason. Progress is
//! logged as `info`, failures as `warn` or `error`. The target is `atropos::otp`.

use atropos_otp::{Offender, Report, ReportHook};
use tracing::{error, info, warn};

const TARGET: &str = "atropos::otp";

/// Returns a hook that emits an event for each report. Set it on the top supervisor
/// ([`atropos_otp::Supervisor::on_report`]); all supervisors below inherit it.
pub fn tracing_hook() -> ReportHook {
    ReportHook::new(tell)
}

/// Returns the child as a field value.
fn child(offender: &Offender) -> tracing::field::DebugValue<&Offender> {
    tracing::field::debug(offender)
}

fn tell(report: &Report) {
    match report {
        Report::Progress { supervisor, child: offender } => {
            info!(target: TARGET, %supervisor, child = child(offender), "progress");
        }
        Report::ChildTerminated { supervisor, child: offender, reason } => {
            warn!(target: TARGET, %supervisor, child = child(offender), %reason, "child_terminated");
        }
        Report::StartError { supervisor, child: offender, error } => {
            error!(target: TARGET, %supervisor, child = child(offender), reason = %error, "start_error");
        }
        Report::ShutdownError { supervisor, child: offender, reason } => {
            warn!(target: TARGET, %supervisor, child = child(offender), %reason, "shutdown_error");
        }
        Report::Stuck { supervisor, child: offender } => {
            error!(target: TARGET, %supervisor, child = child(offender), "stuck");
        }
        Report::GaveUp { supervisor, child: offender } => {
            error!(target: TARGET, %supervisor, child = child(offender), "reached_max_restart_intensity");
        }
        Report::Crash { pid, reason } => error!(target: TARGET, %pid, %reason, "crash"),
        other => error!(target: TARGET, report = ?other, "report"),
    }
}
