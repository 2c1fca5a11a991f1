//! Time: a wheel for each core ([`wheel`]) and the timers on it ([`record`]).

pub mod record;
pub mod wheel;
