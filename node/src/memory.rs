//! The allocator of the program: mimalloc, which gives free memory back.
//!
//! A node's memory grows while its peers send faster than its processes receive, and must come back
//! then: it may be months until so much is needed again. The allocator of glibc keeps what lies
//! below memory that is in use, which after such a time is nearly all of it.

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;
