use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

type Log = Arc<Mutex<Vec<(u64, u32)>>>;

struct Bench {
    queue: Queue<u32>,
    stop: CancellationToken,
    log: Log,
    start: Instant,
    run: tokio::task::JoinHandle<Result<(), QueueError>>,
}

/// Runs a queue whose reconciles take `takes` and answer with `answer`; logs seconds and keys at each start.
fn bench(
    concurrency: usize,
    takes: Duration,
    answer: impl Fn(u32, usize) -> Next + Send + Sync + 'static,
) -> Bench {
    let queue = Queue::new("test", None);
    let stop = CancellationToken::new();
    let log = Log::default();
    let start = Instant::now();
    let answer = Arc::new(answer);
    let seen = log.clone();
    let reconcile = move |key: u32| {
        let mut log = seen.lock().unwrap();
        let nth = log.iter().filter(|(_, k)| *k == key).count();
        log.push((start.elapsed().as_secs(), key));
        let answer = answer.clone();
        async move {
            tokio::time::sleep(takes).await;
            answer(key, nth)
        }
    };
    let run = tokio::spawn(run(queue.clone(), concurrency, stop.clone(), reconcile));
    Bench {
        queue,
        stop,
        log,
        start,
        run,
    }
}

impl Bench {
    fn log(&self) -> Vec<(u64, u32)> {
        self.log.lock().unwrap().clone()
    }

    async fn end(self) -> Vec<(u64, u32)> {
        self.stop.cancel();
        self.run.await.unwrap().unwrap();
        self.log.lock().unwrap().clone()
    }
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[tokio::test(start_paused = true)]
async fn keys_run_once_in_order() {
    let bench = bench(1, secs(1), |_, _| Next::Await);
    for key in [3, 1, 2, 3, 1] {
        bench.queue.add(key);
    }
    tokio::time::sleep(secs(60)).await;
    assert!(bench.queue.is_idle());
    assert_eq!(bench.end().await, [(0, 3), (1, 1), (2, 2)]);
}

#[tokio::test(start_paused = true)]
async fn added_while_running_runs_again_but_never_twice_at_once() {
    let bench = bench(4, secs(10), |_, _| Next::Await);
    bench.queue.add(1);
    tokio::time::sleep(secs(2)).await;
    bench.queue.add(1);
    bench.queue.add(1);
    assert_eq!(bench.queue.sizes(), (0, 1));
    tokio::time::sleep(secs(60)).await;
    assert_eq!(bench.end().await, [(0, 1), (10, 1)]);
}

#[tokio::test(start_paused = true)]
async fn concurrency_is_bounded() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let queue = Queue::new("test", None);
    let stop = CancellationToken::new();
    let (n, m) = (now.clone(), most.clone());
    let reconcile = move |_: u32| {
        let (now, most) = (n.clone(), m.clone());
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(secs(1)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Next::Await
        }
    };
    (0..20).for_each(|key| queue.add(key));
    let run = tokio::spawn(run(queue, 3, stop.clone(), reconcile));
    tokio::time::sleep(secs(30)).await;
    stop.cancel();
    run.await.unwrap().unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn the_earliest_appointment_wins() {
    let bench = bench(1, secs(0), |_, _| Next::Await);
    bench.queue.add_after(1, secs(50));
    bench.queue.add_after(1, secs(20));
    bench.queue.add_after(1, secs(90));
    bench.queue.add_after(2, secs(30));
    tokio::time::sleep(secs(25)).await;
    bench.queue.add(2);
    tokio::time::sleep(secs(500)).await;
    assert_eq!(bench.end().await, [(20, 1), (25, 2)]);
}

#[tokio::test(start_paused = true)]
async fn periodic_work_returns() {
    let bench = bench(1, secs(0), |_, _| Next::After(secs(100)));
    bench.queue.add(1);
    tokio::time::sleep(secs(350)).await;
    assert_eq!(bench.end().await, [(0, 1), (100, 1), (200, 1), (300, 1)]);
}

#[tokio::test(start_paused = true)]
async fn failures_wait_longer_until_a_success() {
    let bench = bench(
        1,
        secs(0),
        |_, nth| if nth == 9 { Next::Await } else { Next::Backoff },
    );
    bench.queue.add(1);
    tokio::time::sleep(secs(600)).await;
    let starts: Vec<_> = bench.log().iter().map(|(at, _)| *at).collect();
    assert_eq!(starts.len(), 10, "{starts:?}");
    // The waits are spread over the upper half of 1, 2, 4, 8, 16, 32, 60, 60, 60; whole seconds are logged.
    for (wait, full) in starts
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .zip([1, 2, 4, 8, 16, 32, 60, 60, 60])
    {
        assert!(
            wait + 1 >= full / 2 && wait <= full + 1,
            "{wait} for {full} in {starts:?}"
        );
    }
    assert_eq!(bench.queue.failures(&1), 0);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn adding_cuts_a_delay_short_but_keeps_the_count() {
    let bench = bench(1, secs(0), |_, _| Next::Backoff);
    bench.queue.add(1);
    tokio::time::sleep(Duration::from_millis(100)).await;
    bench.queue.add(1);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(bench.queue.failures(&1), 2);
    bench.queue.forget(&1);
    assert_eq!(bench.queue.failures(&1), 0);
    tokio::time::sleep(secs(200)).await;
    assert_eq!(bench.end().await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_the_queue() {
    let bench = bench(
        2,
        secs(1),
        |key, _| if key == 2 { panic!("boom") } else { Next::Await },
    );
    bench.queue.add(1);
    bench.queue.add(2);
    let error = bench.run.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "controller test panicked: boom");
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_what_runs_and_starts_nothing() {
    let bench = bench(1, secs(5), |_, _| Next::Await);
    bench.queue.add(1);
    bench.queue.add(2);
    tokio::time::sleep(secs(1)).await;
    let start = bench.start;
    assert_eq!(bench.end().await, [(0, 1)]);
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_ever() {
    let bench = bench(1, secs(3600), |_, _| Next::Await);
    bench.queue.add(1);
    tokio::time::sleep(secs(1)).await;
    bench.stop.cancel();
    let error = bench.run.await.unwrap().unwrap_err();
    assert!(matches!(error, QueueError::NotDrained { running: 1, .. }));
}

#[tokio::test(start_paused = true)]
async fn shows_what_waits_and_what_runs() {
    let build = crate::metrics::Build {
        version: "1",
        revision: "",
    };
    let metrics = crate::metrics::Metrics::new("gantry", build);
    let reconciles = crate::metrics::Reconciles::register(&metrics);
    let (queue, stop) = (Queue::new("test", Some(reconciles)), CancellationToken::new());
    let work = async |_| {
        tokio::time::sleep(secs(5)).await;
        Next::Await
    };
    let running = tokio::spawn(run(queue.clone(), 1, stop.clone(), work));
    (0..3).for_each(|key| queue.add(key));
    tokio::time::sleep(secs(1)).await;
    let shows = |line: &str| metrics.encode().unwrap().contains(line);
    assert!(shows("gantry_queue_depth{controller=\"test\"} 2\n"));
    assert!(shows("gantry_reconciles_running{controller=\"test\"} 1\n"));
    tokio::time::sleep(secs(20)).await;
    assert!(shows("gantry_queue_depth{controller=\"test\"} 0\n"));
    assert!(shows("gantry_reconciles_running{controller=\"test\"} 0\n"));
    stop.cancel();
    running.await.unwrap().unwrap();
}
