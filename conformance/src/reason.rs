//! Exit reasons in the cases' notation.

use atropos::{Reason, ReasonKind};

/// The reason of an uncaught `throw`.
#[derive(Clone, PartialEq, Debug)]
struct NoCatch(String);

/// Returns the reason for a word.
pub fn parse(word: &str) -> Reason {
    match word {
        "normal" => Reason::NORMAL,
        "kill" => Reason::KILL,
        "killed" => Reason::KILLED,
        "shutdown" => Reason::SHUTDOWN,
        "noproc" => Reason::NOPROC,
        "noconnection" => Reason::NOCONNECTION,
        _ => match word.split_once(':') {
            Some(("shutdown", with)) => Reason::shutdown_with(with.to_owned()),
            Some(("error", text)) => Reason::crash(text.to_owned()),
            Some(("nocatch", thrown)) => Reason::value(NoCatch(thrown.to_owned())),
            _ => Reason::value(word.to_owned()),
        },
    }
}

/// Returns the exit reason of a process that stops in one of the four ways.
pub fn of_stop(how: &str, word: &str) -> Reason {
    match how {
        "return" => Reason::NORMAL,
        "error" => Reason::crash(word.to_owned()),
        "throw" => Reason::value(NoCatch(word.to_owned())),
        _ => parse(word),
    }
}

/// Returns the word for a reason.
pub fn show(reason: &Reason) -> String {
    match reason.kind() {
        ReasonKind::ShutdownWith(value) => match value.downcast_ref::<String>() {
            Some(with) => format!("shutdown:{with}"),
            None => format!("{reason}"),
        },
        ReasonKind::Crash(text) => format!("error:{text}"),
        ReasonKind::Value(value) => match (value.downcast_ref::<String>(), value.downcast_ref::<NoCatch>()) {
            (Some(word), _) => word.clone(),
            (_, Some(NoCatch(thrown))) => format!("nocatch:{thrown}"),
            _ => format!("{reason}"),
        },
        _ => reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_round_trips_through_its_reason() {
        for word in [
            "normal",
            "kill",
            "killed",
            "shutdown",
            "shutdown:x",
            "noproc",
            "noconnection",
            "boom",
            "error:x",
            "nocatch:y",
        ] {
            assert_eq!(show(&parse(word)), word);
        }
    }
}
