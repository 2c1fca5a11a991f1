//! Watching processes from outside: the promises to a host that owns its monitors (1.3), and the
//! faults that such monitors have had elsewhere (2.4).

mod faults;
mod ground;
mod promises;
