//! A supervised server that crashes on purpose, and is restarted.

use std::{sync::mpsc::channel, time::Duration};

use atropos::otp::{Report, ReportHook};
use atropos::prelude::*;

struct Divider;

impl Server for Divider {
    type Message = (u32, Reply<u32>);

    async fn handle(&mut self, (number, reply): Self::Message, _: ServerCx<'_, Self>) -> Next<Self::Message> {
        reply.send(100 / number); // The division by 0 panics, and the panic is the exit reason.
        Next::Wait
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (up, ups) = channel();
    let hook = ReportHook::new(move |report| match report {
        Report::Progress { child, .. } => drop(up.send(child.pid)),
        Report::ChildTerminated { reason, .. } => println!("the server terminated: {reason}"),
        _ => {}
    });
    let child = ChildSpec::worker("divider", |starter: &mut ChildStarter<'_>| starter.server(Divider.start()));
    let runtime = Runtime::builder().build()?;
    runtime.start_supervisor(Supervisor::one_for_one().on_report(hook).child(child))?;
    for numbers in [[5, 0], [4, 2]] {
        let server = ServerRef::<Divider>::new(ups.recv()?.ok_or("no process")?);
        println!("the server is up: {}", server.pid());
        for number in numbers {
            match runtime.call(server, Duration::from_secs(5), |reply| (number, reply)) {
                Ok(answer) => println!("100 / {number} = {answer}"),
                Err(error) => println!("100 / {number} has no answer: {error}"),
            }
        }
    }
    Ok(runtime.shutdown(Duration::from_secs(5))?)
}
