//! Connections on which nothing is sent any more once the lease has lapsed.
//!
//! A write asks the fence before it is sent, but between that and the first byte on the wire lie queues, and often a new
//! connection. A process that was stopped in between would send it when it goes on, long after the next leader has begun.
//! So the fence is asked again each time a connection is about to be worked on, and by one connection at a time: whenever
//! the process stops, at most one request has passed the fence and is not sent yet.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use crate::fence::Fence;

/// Runs the tasks of a client's connections, and drops them once its fence has lapsed.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    fence: Fence,
    turn: Arc<Mutex<()>>,
}

impl Gate {
    pub(super) fn new(fence: Fence) -> Self {
        Self {
            fence,
            turn: Arc::default(),
        }
    }
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

impl hyper::rt::Executor<Work> for Gate {
    fn execute(&self, work: Work) {
        tokio::spawn(Gated {
            gate: self.clone(),
            work,
        });
    }
}

struct Gated {
    gate: Gate,
    work: Work,
}

impl Future for Gated {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let turn = self.gate.turn.clone();
        // Held for the time of encrypting and handing over to the kernel; nothing waits for anything in it.
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.gate.fence.has_lapsed() {
            return Poll::Ready(());
        }
        self.work.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use hyper::rt::Executor;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::time::Instant;

    use super::*;
    use crate::client::{ClientArgs, connect_behind};
    use crate::reach::Reach;

    /// Whether work that was taken up before `then`, and not yet done, is done after it.
    async fn is_done_after(then: impl FnOnce(&Fence)) -> bool {
        let (fence, done) = (Fence::closed(), Arc::new(AtomicBool::new(false)));
        fence.lead_until(Instant::now() + Duration::from_secs(3), 1);
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let (flag, gate) = (done.clone(), Gate::new(fence.clone()));
        gate.execute(Box::pin(async move {
            wait.await.ok();
            flag.store(true, Ordering::SeqCst);
        }));
        tokio::task::yield_now().await;
        then(&fence);
        go.send(()).ok();
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        done.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn work_goes_on_only_while_the_lease_is_held() {
        assert!(is_done_after(|_| {}).await);
        assert!(!is_done_after(|fence| fence.lead_until(Instant::now(), 1)).await);
        assert!(!is_done_after(Fence::lose).await);
        assert!(
            is_done_after(|fence| fence.follow(None)).await,
            "a candidate reads"
        );
        assert!(
            is_done_after(|fence| fence.suspend("another manager")).await,
            "who is told to wait reads too"
        );
    }

    /// A server that answers everything, one request per connection; how many requests came.
    async fn server() -> (std::net::SocketAddr, Arc<std::sync::atomic::AtomicUsize>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, count) = (listener.local_addr().unwrap(), Arc::default());
        let counted: Arc<std::sync::atomic::AtomicUsize> = Arc::clone(&count);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counted = counted.clone();
                tokio::spawn(async move {
                    let (read, mut write) = stream.into_split();
                    let mut lines = BufReader::new(read).lines();
                    while let Ok(Some(line)) = lines.next_line().await {
                        if line.is_empty() {
                            counted.fetch_add(1, Ordering::SeqCst);
                            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                            write.write_all(answer).await.ok();
                        }
                    }
                });
            }
        });
        (address, count)
    }

    #[tokio::test]
    async fn what_waits_for_a_connection_when_the_lease_lapses_is_never_sent() {
        let (address, count) = server().await;
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("config");
        let text = format!(
            r#"{{"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{{"name": "c", "cluster": {{"server": "http://{address}"}}}}],
            "contexts": [{{"name": "c", "context": {{"cluster": "c", "user": "u"}}}}],
            "users": [{{"name": "u", "user": {{}}}}]}}"#
        );
        std::fs::write(&kubeconfig, text).unwrap();
        let args = ClientArgs {
            kubeconfig: Some(kubeconfig),
            ..ClientArgs::default()
        };
        let (fence, reach) = (Fence::closed(), Reach::default());
        // Its answer is no version; any answer will do.
        let client = connect_behind(&args, "test", &fence, &reach).await;
        let client = client.map_err(|error| error.to_string()).unwrap();
        fence.lead_until(Instant::now() + Duration::from_secs(3), 1);
        let ask = || {
            http::Request::get("/version")
                .body(kube::client::Body::empty())
                .unwrap()
        };
        assert!(client.send(ask()).await.is_ok());
        let before = (count.load(Ordering::SeqCst), reach.well_for());
        assert!(before.0 >= 2 && before.1.is_none(), "{before:?}");
        fence.lose();
        assert!(client.send(ask()).await.is_err());
        assert_eq!(count.load(Ordering::SeqCst), before.0, "it was sent");
        assert!(reach.well_for().is_some());
    }
}
