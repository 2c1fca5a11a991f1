//! What is asked of a workload: [`Ask`].

/// How large a workload is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    /// How much is done.
    pub n: u64,
    /// Scheduler threads.
    pub threads: usize,
    /// How many processes take part, where a workload lets one say.
    pub p: Option<u64>,
    /// How many others are alive meanwhile, and only wait.
    pub beside: u64,
}

impl Ask {
    /// How many processes take part.
    pub fn p(&self, otherwise: u64) -> u64 {
        self.p.unwrap_or(otherwise)
    }

    /// What each of `parts` has to do, at least one thing, and what all do then.
    pub fn each(&self, parts: u64) -> (u64, u64) {
        let each = (self.n / parts).max(1);
        (each, each * parts)
    }

    /// How many there are, for a vector.
    pub fn count(&self) -> usize {
        usize::try_from(self.n).unwrap_or(usize::MAX)
    }
}
