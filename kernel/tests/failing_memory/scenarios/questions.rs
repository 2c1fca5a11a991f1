//! Queries to other processes, and bodies that are futures.

use std::time::Duration;

use atropos_kernel::{MaybeReady, Received, SpawnOptions};

use super::refused;
use crate::stage::{Letter, Scenario, sweep, waits};

#[test]
fn questions() {
    sweep(&Scenario {
        name: "questions",
        play: |stage| {
            let books = stage.books;
            let Some(asked) = stage.start(&SpawnOptions::new().name("asked"), waits) else { return };
            for _ in 0..3 {
                let host = stage.host();
                let asks =
                    host.spawn_async(&SpawnOptions::new(), move |cx: atropos_kernel::Context<Letter>| async move {
                        let _ = cx.link(asked);
                        let _ = cx.monitor(asked);
                        if let Some(Some(info)) = refused(books, cx.info(asked).await) {
                            assert_eq!(info.pid, asked);
                        }
                        if cx.is_alive(asked).await {
                            books.comes();
                        }
                        if let Ok(info) = cx.own_info() {
                            assert!(info.is_some_and(|info| info.monitors.len() <= 1));
                        }
                        cx.sleep(Duration::from_millis(1)).await;
                        // Receives nothing, or the DOWN of `asked` if another querying process had
                        // no memory.
                        let received = cx.recv_timeout(Duration::from_millis(1)).await;
                        assert!(matches!(received, None | Some(Received::Down(_))), "{received:?}");
                    });
                refused(books, asks);
            }
            let asking = stage.host().info(asked);
            if let MaybeReady::Pending(answer) = asking {
                let mut answer = std::pin::pin!(answer);
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                assert!(answer.as_mut().poll(&mut context).is_pending());
                stage.settle();
                match answer.as_mut().poll(&mut context) {
                    std::task::Poll::Ready(answer) => {
                        if let Some(Some(info)) = refused(books, answer) {
                            assert_eq!(info.pid, asked);
                        }
                    }
                    std::task::Poll::Pending => panic!("the process must have answered"),
                }
            }
            stage.pass(Duration::from_millis(5));
        },
        check: |stage| {
            stage.pass(Duration::from_millis(5));
            // A process without memory for a query has crashed; a process with memory has returned.
            assert!(stage.kernel.process_count() <= 1);
        },
    });
}
