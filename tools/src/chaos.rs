//! Random programs on whole runtimes (`chaos`): all operations run concurrently, by a seed, and the
//! accounts must balance.

use anyhow::Result;

use crate::steps::{bounded, cargo, run, target};

/// The arguments of `cargo xtask chaos`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) seconds: f64,
    pub(crate) seed: u64,
    pub(crate) cores: Option<usize>,
    pub(crate) actions: Vec<String>,
    pub(crate) same: bool,
    pub(crate) list: bool,
}

impl Asked {
    fn arguments(&self) -> Vec<String> {
        let mut words = vec![format!("--seconds={}", self.seconds), format!("--seed={}", self.seed)];
        if let Some(cores) = self.cores {
            words.push(format!("--cores={cores}"));
        }
        if !self.actions.is_empty() {
            words.push(format!("--actions={}", self.actions.join(",")));
        }
        for (flag, on) in [("--same", self.same), ("--list", self.list)] {
            if on {
                words.push(flag.into());
            }
        }
        words
    }
}

/// Builds the program and plays.
pub(crate) fn check(asked: &[Asked]) -> Result<()> {
    cargo(&["build", "--release", "--quiet", "-p", "atropos-chaos"])?;
    let program = target()?.join("release").join("atropos-chaos");
    for asked in asked {
        println!("$ atropos-chaos {}", asked.arguments().join(" "));
        // The program's own watchdog ends a hang; this bound is for a hanging watchdog.
        let minutes = (asked.seconds / 60.0) as u32 + 5;
        run(bounded(&program, minutes).args(asked.arguments()).env("RUST_BACKTRACE", "0"))?;
    }
    Ok(())
}

/// Returns the rounds of `cargo xtask test`: one minute, on few cores and on more than the machine
/// has.
pub(crate) fn some() -> Vec<Asked> {
    let of = |cores| Asked { seconds: 20.0, seed: 1_000 * cores as u64, cores: Some(cores), ..Asked::default() };
    [1, 2, 4].map(of).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_its_arguments_on() {
        let asked = Asked {
            seconds: 3.0,
            seed: 7,
            cores: Some(2),
            actions: vec!["usual".into(), "-links".into()],
            ..Asked::default()
        };
        assert_eq!(asked.arguments().join(" "), "--seconds=3 --seed=7 --cores=2 --actions=usual,-links");
        assert_eq!(some().iter().map(|asked| asked.seconds).sum::<f64>(), 60.0);
    }
}
