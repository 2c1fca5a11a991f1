//! [`Class`], a kind of action that can be switched off, and [`Classes`], the set of those that are
//! on.

/// Declares the classes, each with a description.
macro_rules! classes {
    ($($class:ident $name:literal $what:literal,)*) => {
        /// A kind of action.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub(crate) enum Class {$(
            #[doc = $what]
            $class,
        )*}

        /// All classes: the class, its name, and its description.
        pub(crate) const ALL: &[(Class, &str, &str)] = &[$((Class::$class, $name, $what),)*];
    };
}

classes! {
    Links "links" "links and unlinks, exits of all kinds, traps",
    Monitors "monitors" "monitors and demonitors, of pids and names, and exit watches of host threads",
    Names "names" "registers, unregisters, sends by name",
    Aliases "aliases" "makes, uses and ends aliases",
    Timers "timers" "starts, reads and cancels timers",
    Bounded "bounded" "bounded mailboxes of every overflow mode, and senders that wait or cancel",
    Suspend "suspend" "suspends and resumes",
    Infos "infos" "queries processes",
    Requests "requests" "requests that are polled where they were made",
    Elsewhere "elsewhere" "requests that are polled or dropped on other threads and by Tokio's tasks",
    Servers "servers" "calls and casts to supervised servers that crash",
    Retry "retry" "calls a crashed server again and again until it answers",
    Dynamic "dynamic" "starts and terminates dynamic children",
    Machines "machines" "state machines with timeouts, inserted and postponed events",
    Events "events" "event managers and handlers that leave or panic",
    Groups "groups" "joins and leaves groups",
    Registries "registries" "registers by key",
    Tasks "tasks" "tasks that are joined, shut down and abandoned",
    Cancel "cancel" "drops receives, sleeps, calls and waits for capacity that lost a race",
    CancelOtp "cancel-otp" "drops joins, stops and starts that lost a race",
    Combine "combine" "polls futures inside FuturesUnordered",
    Panics "panics" "panics in bodies and callbacks",
    Bombs "bombs" "panics in destructors of messages, answers, states and bodies",
    Blocking "blocking" "blocking jobs",
    Exits "exits" "callbacks for exits, and streams of all exits",
    Tokio "tokio" "a Tokio runtime, whose tasks act and whose timers processes use",
    Twin "twin" "two runtimes at a time, each using the other's pids",
    Foreign "foreign" "contexts, references and aliases of dead runtimes",
    Cut "cut" "shuts down in the middle of everything",
}

/// Classes that fail in known ways in the current library: off by default.
const KNOWN: &[Class] = &[];

/// The set of classes that are on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Classes(u64);

impl Classes {
    /// Returns all classes but those that fail in known ways.
    pub(crate) fn usual() -> Self {
        let mut classes = Self::all();
        KNOWN.iter().for_each(|class| classes.set(*class, false));
        classes
    }

    fn all() -> Self {
        Self((1 << ALL.len()) - 1)
    }

    fn set(&mut self, class: Class, on: bool) {
        let bit = 1 << class as u8;
        self.0 = if on { self.0 | bit } else { self.0 & !bit };
    }

    pub(crate) fn has(self, class: Class) -> bool {
        self.0 & (1 << class as u8) != 0
    }

    /// Changes the set by a word: `all`, `none`, `usual`, `NAME` or `+NAME`, and `-NAME`.
    pub(crate) fn change(&mut self, word: &str) -> Result<(), String> {
        match word {
            "all" => *self = Self::all(),
            "none" => *self = Self(0),
            "usual" => *self = Self::usual(),
            _ => {
                let (name, on) = match word.strip_prefix('-') {
                    Some(name) => (name, false),
                    None => (word.strip_prefix('+').unwrap_or(word), true),
                };
                let found = ALL.iter().find(|(_, known, _)| *known == name);
                let (class, ..) = found.ok_or_else(|| format!("no class {name:?}; --list prints them"))?;
                self.set(*class, on);
            }
        }
        Ok(())
    }

    /// Returns the words that make this set from the usual one.
    pub(crate) fn words(self) -> String {
        let usual = Self::usual();
        let mut words = vec!["usual".to_owned()];
        for (class, name, _) in ALL {
            match (self.has(*class), usual.has(*class)) {
                (true, false) => words.push(format!("+{name}")),
                (false, true) => words.push(format!("-{name}")),
                _ => {}
            }
        }
        words.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_make_the_set_that_they_describe() {
        let mut classes = Classes::usual();
        for word in ["-timers", "+cancel-otp", "-retry", "combine"] {
            classes.change(word).unwrap();
        }
        assert!(!classes.has(Class::Timers) && classes.has(Class::CancelOtp) && !classes.has(Class::Retry));
        let mut again = Classes(0);
        for word in classes.words().split(',') {
            again.change(word).unwrap();
        }
        assert_eq!(again, classes);
        assert!(classes.change("no-such").is_err());
    }
}
