//! Time: a wheel for each core ([`wheel`]), the timers on it ([`record`]), and how they come there ([`start`]; [`arrivals`], when another
//! core has the wheel).

pub mod arrivals;
pub(crate) mod record;
pub(crate) mod slot;
pub(crate) mod start;
pub mod wheel;
