//! [`Ask`]: the parameters of a workload.

/// The size of a workload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    /// The number of operations.
    pub n: u64,
    /// The number of scheduler threads.
    pub threads: usize,
    /// The number of processes that take part, for workloads with a variable number.
    pub p: Option<u64>,
    /// The number of other processes that are alive at the same time and only wait.
    pub beside: u64,
}

impl Ask {
    /// Returns the number of processes that take part.
    pub fn p(&self, otherwise: u64) -> u64 {
        self.p.unwrap_or(otherwise)
    }

    /// Returns the number of operations for each of `parts`, at least one, and their total.
    pub fn each(&self, parts: u64) -> (u64, u64) {
        let each = (self.n / parts).max(1);
        (each, each * parts)
    }

    /// Returns the number of operations, as the size of a vector.
    pub fn count(&self) -> usize {
        usize::try_from(self.n).unwrap_or(usize::MAX)
    }
}
