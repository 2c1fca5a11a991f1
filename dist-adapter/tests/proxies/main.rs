//! Ordinary processes with processes of another node, by their proxies: two nodes in one program.
//! Each scenario is one function, which runs with a process of its own node and with one of the
//! other, and must see the same.

mod calls;
mod children;
mod limits;
mod messages;
mod pair;
mod signals;
