//! The first program of the README.

use atropos::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder().build()?;
    let monitor = runtime.block_on(async |cx: Context<u32>| {
        let parent = cx.address();
        // The monitor is in force before the child's first instruction.
        let (_child, monitor) = cx.spawn_monitor(async move |cx: Context<()>| {
            cx.send(parent, 42)?;
            Err::<(), _>(SendError::NoName(0)) // Returning Err is an abnormal exit.
        })?;
        while let Received::Message(number) = cx.recv().await {
            println!("the child sent {number}");
        }
        // The loop ends on the child's DOWN. Signals from one process arrive in order (as in OTP),
        // so 42 comes first.
        Ok::<_, SpawnError>(monitor)
    })?;
    println!("received the DOWN of {}", monitor?);
    Ok(())
}
