//! A fair loop over many items: [`pace`].
//!
//! A loop of the library's own, over children, entries or members, does one item after the other without waiting for anything. Its
//! process pays a reduction for each, and lets the others run when its slice is used up, so that a hundred thousand items hold up
//! nobody, and a kill ends the loop.

use atropos_kernel::Context;

/// Pays for one item, and lets the others run when the slice's reductions are used up.
pub(crate) async fn pace<M: Send + 'static>(cx: &Context<M>) {
    let exhausted = cx.with(|cx| {
        cx.spend(1);
        cx.is_exhausted()
    });
    if exhausted {
        cx.yield_now().await;
    }
}
