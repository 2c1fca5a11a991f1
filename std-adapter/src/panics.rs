//! Catching panics of user code where they would end a thread that other code needs; keeps their
//! text and their value.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use atropos_kernel::{DropCatcher, Reason, ReasonKind};

/// Runs user code; the error is the text of its panic. This crate does not access the code's
/// captured state after a panic, so no code sees it half changed.
pub(crate) fn catch_panic<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| {
        let text = text_of(&*panic);
        // Even the payload's destructor may panic; in that case the payload of the second panic is
        // leaked.
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(again);
        }
        text
    })
}

/// The catch for user values that the runtime keeps, and drops on any thread.
pub(crate) const DROPS: DropCatcher = DropCatcher::new(Some(|code| drop(catch_panic(code))));

/// Runs user code like [`catch_panic`]. The reason carries the panic's text, and also its value if
/// that is not a text ([`panic_value`]).
pub(crate) fn contain_as_reason(code: impl FnOnce()) -> Result<(), Reason> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| {
        let text = text_of(&*panic);
        if panic.is::<&str>() || panic.is::<String>() {
            return Reason::crash(text);
        }
        Reason::crash_carrying(text, Box::new(Thrown(Mutex::new(Some(panic)))))
    })
}

/// The payload of a panic. Its destructor is user code as well, so its own panic is caught.
struct Thrown(Mutex<Option<Box<dyn Any + Send>>>);

impl Drop for Thrown {
    fn drop(&mut self) {
        let thrown = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let _ = catch_panic(|| drop(thrown));
    }
}

/// Takes the value that a process's body panicked with ([`std::panic::panic_any`]) out of its exit
/// reason, as `JoinHandle::join` returns it for a thread. A text can be taken any number of times;
/// any other value only once, by the first caller. Returns `None` for a process that has not
/// panicked.
///
/// ```
/// use atropos::{Context, Runtime, panic_value};
/// # std::panic::set_hook(Box::new(|_| {}));
/// let runtime = Runtime::builder().cores(1).build().unwrap();
/// let process = runtime.spawn(async |_: Context<()>| std::panic::panic_any(42_u64)).unwrap();
/// let ended = runtime.wait_blocking(process, std::time::Duration::from_secs(60)).unwrap();
/// let reason = ended.reason.unwrap();
/// assert_eq!(panic_value(&reason).unwrap().downcast_ref::<u64>(), Some(&42));
/// ```
pub fn panic_value(reason: &Reason) -> Option<Box<dyn Any + Send>> {
    if let Some(thrown) = reason.payload().and_then(|payload| payload.downcast_ref::<Thrown>()) {
        return thrown.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
    match reason.kind() {
        ReasonKind::Crash(text) => Some(Box::new(text.to_owned())),
        _ => None,
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("a panic without a text");
    let mut copy = String::new();
    // Without memory, only the text is lost, and the process that runs this code goes on.
    if copy.try_reserve_exact(text.len()).is_ok() {
        copy.push_str(text);
    }
    copy
}
