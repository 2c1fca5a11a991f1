//! Time: a timing wheel for each core ([`wheel`]), and the inbox of a wheel that another core has
//! ([`inbox`]).

pub mod inbox;
pub mod wheel;
