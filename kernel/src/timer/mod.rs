//! Time: a timing wheel for each core ([`wheel`]), the timers on it ([`record`]), and how timers
//! get onto it ([`start`]; [`arrivals`], while another core has the wheel).

pub mod arrivals;
pub(crate) mod record;
pub(crate) mod slot;
pub(crate) mod start;
pub mod wheel;
