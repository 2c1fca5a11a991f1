//! Time: a wheel for each core ([`wheel`]) and the timers on it ([`record`]).

pub(crate) mod record;
pub mod wheel;
