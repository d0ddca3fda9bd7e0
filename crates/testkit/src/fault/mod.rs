//! What goes wrong, and when: rules shared by the fault proxy and the in-process registry.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;

mod strike;

pub(crate) use strike::{spoil, strike};

/// One request that was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Number of the request, from 1.
    pub sequence: u64,
    /// When it came in.
    pub at: Timestamp,
    /// GET, PATCH…
    pub method: Method,
    /// Path without query.
    pub path: String,
    /// Query string, empty when there is none.
    pub query: String,
    /// Request headers.
    pub headers: HeaderMap,
    /// Status of the answer; `None` while (or if) there is none.
    pub status: Option<u16>,
}

impl Seen {
    /// Whether it asks for a change: anything but GET, HEAD and OPTIONS.
    pub fn is_mutating(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS)
    }

    /// Whether it is a Kubernetes watch.
    pub fn is_watch(&self) -> bool {
        self.query.split('&').any(|p| p == "watch=true" || p == "watch=1")
    }
}

type Predicate = Arc<dyn Fn(&Seen) -> bool + Send + Sync>;

/// Which requests; everything that is said must hold.
#[derive(Clone, Default)]
pub struct Match {
    methods: Vec<Method>,
    path: Vec<String>,
    except: Vec<String>,
    mutating: bool,
    predicate: Option<Predicate>,
}

impl Match {
    /// All requests.
    pub fn any() -> Self {
        Self::default()
    }

    /// Requests that ask for a change, but for renewals of Leases, which come by the clock, and questions about
    /// rights, which only look like it.
    pub fn mutating() -> Self {
        Self {
            mutating: true,
            ..Self::default()
        }
        .except("/leases")
        .except("/apis/authorization.k8s.io/")
    }

    /// Requests with this method; several calls: with one of them.
    pub fn method(mut self, method: Method) -> Self {
        self.methods.push(method);
        self
    }

    /// Requests whose path contains this; several calls: all of them.
    pub fn path(mut self, part: &str) -> Self {
        self.path.push(part.to_owned());
        self
    }

    /// Not those whose path contains this.
    pub fn except(mut self, part: &str) -> Self {
        self.except.push(part.to_owned());
        self
    }

    /// Requests of which this is true.
    pub fn and(mut self, predicate: impl Fn(&Seen) -> bool + Send + Sync + 'static) -> Self {
        self.predicate = Some(Arc::new(predicate));
        self
    }

    /// Whether `seen` is meant.
    pub fn matches(&self, seen: &Seen) -> bool {
        (self.methods.is_empty() || self.methods.contains(&seen.method))
            && (!self.mutating || seen.is_mutating())
            && self.path.iter().all(|p| seen.path.contains(p))
            && !self.except.iter().any(|p| seen.path.contains(p))
            && self.predicate.as_ref().is_none_or(|p| p(seen))
    }
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The request waits this long, then goes on.
    Latency(Duration),
    /// The connection is reset before the request goes anywhere.
    Reset,
    /// The connection is closed before the request goes anywhere.
    Close,
    /// The request is carried out, and its answer lost: the connection is reset.
    LoseAnswer,
    /// The request never gets an answer; the connection stays open.
    Hang,
    /// The request goes nowhere; this is the answer.
    Answer {
        /// HTTP status.
        status: u16,
        /// Further headers.
        headers: Vec<(String, String)>,
        /// Body.
        body: String,
    },
    /// Only so many bytes of the answer's body arrive, then the connection is closed.
    Truncate(u64),
    /// Only so many bytes of the answer's body arrive, then the connection is reset.
    ResetAfter(u64),
    /// The byte of the answer's body with this number (from 0) is turned over.
    Corrupt(u64),
    /// The answer's body comes in pieces of so many bytes with a pause before each.
    Drip {
        /// Bytes of a piece.
        bytes: usize,
        /// Pause before each piece.
        every: Duration,
    },
}

impl Fault {
    /// The request goes nowhere; the answer is this status with an empty body.
    pub fn status(status: u16) -> Self {
        Self::Answer {
            status,
            headers: Vec::new(),
            body: String::new(),
        }
    }

    /// As [`Fault::status`], with `Retry-After`.
    pub fn retry_after(status: u16, value: &str) -> Self {
        let headers = vec![("retry-after".to_owned(), value.to_owned())];
        Self::Answer {
            status,
            headers,
            body: String::new(),
        }
    }
}

/// A fault and the requests that it happens to.
#[derive(Clone)]
pub struct Rule {
    when: Match,
    fault: Fault,
    skip: u64,
    times: u64,
}

impl Rule {
    /// `fault` happens to all requests that `when` means.
    pub fn new(when: Match, fault: Fault) -> Self {
        Self {
            when,
            fault,
            skip: 0,
            times: u64::MAX,
        }
    }

    /// Not to the first `n`.
    pub fn skip(mut self, n: u64) -> Self {
        self.skip = n;
        self
    }

    /// Only `n` times.
    pub fn times(mut self, n: u64) -> Self {
        self.times = n;
        self
    }

    /// Only to the `n`-th, from 1.
    pub fn nth(self, n: u64) -> Self {
        self.skip(n.saturating_sub(1)).times(1)
    }
}

/// What a hook decides about the request it was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Forward,
    /// The connection is reset instead.
    Drop,
}

type Hook = Arc<dyn Fn(Seen) -> BoxFuture<'static, Verdict> + Send + Sync>;

/// When a hook is called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Before the request goes to the other side.
    Before,
    /// After the other side's answer came back, before it is passed on.
    After,
}

struct Active {
    rule: Rule,
    matched: AtomicU64,
    applied: Arc<AtomicU64>,
}

#[derive(Default)]
struct Inner {
    rules: Mutex<Vec<Active>>,
    hooks: Mutex<Vec<(Moment, Match, Hook)>>,
    seen: Mutex<Vec<Seen>>,
}

/// The rules in force at one server, and the requests it saw. Clones share both.
#[derive(Clone, Default)]
pub struct Faults {
    inner: Arc<Inner>,
}

/// Tells how often a rule was applied.
#[derive(Clone)]
pub struct Hits(Arc<AtomicU64>);

impl Hits {
    /// How often.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Faults {
    /// Puts a rule in force. Of several that mean one request, all happen, in the order they were added.
    pub fn add(&self, rule: Rule) -> Hits {
        let applied = Arc::new(AtomicU64::new(0));
        let active = Active {
            rule,
            matched: AtomicU64::new(0),
            applied: applied.clone(),
        };
        self.inner
            .rules
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(active);
        Hits(applied)
    }

    /// Takes all rules and hooks out of force. What was seen stays.
    pub fn clear(&self) {
        self.inner
            .rules
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.inner
            .hooks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Calls `hook` with each request that `when` means, before it goes to the other side.
    ///
    /// The hook runs to its end even if the client goes away meanwhile.
    pub fn before<F>(&self, when: Match, hook: F)
    where
        F: Fn(Seen) -> BoxFuture<'static, Verdict> + Send + Sync + 'static,
    {
        let mut hooks = self.inner.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        hooks.push((Moment::Before, when, Arc::new(hook)));
    }

    /// Calls `hook` with each request that `when` means, after the other side answered it (its status is set)
    /// and before the answer is passed on.
    pub fn after<F>(&self, when: Match, hook: F)
    where
        F: Fn(Seen) -> BoxFuture<'static, Verdict> + Send + Sync + 'static,
    {
        let mut hooks = self.inner.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        hooks.push((Moment::After, when, Arc::new(hook)));
    }

    /// All requests seen so far, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.inner
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How many of the requests seen so far are meant.
    pub fn count(&self, what: &Match) -> usize {
        let seen = self.inner.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|s| what.matches(s)).count()
    }

    /// Forgets what was seen.
    pub fn forget(&self) {
        self.inner
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Notes a request.
    pub(crate) fn note(&self, parts: &http::request::Parts) -> Seen {
        let mut all = self.inner.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = Seen {
            sequence: all.last().map_or(1, |last| last.sequence + 1),
            at: Timestamp::now(),
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers.clone(),
            status: None,
        };
        all.push(seen.clone());
        seen
    }

    /// Notes how a request was answered.
    pub(crate) fn answered(&self, seen: &mut Seen, status: StatusCode) {
        seen.status = Some(status.as_u16());
        let mut all = self.inner.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(at) = all.binary_search_by_key(&seen.sequence, |s| s.sequence)
            && let Some(entry) = all.get_mut(at)
        {
            entry.status = seen.status;
        }
    }

    /// The faults that happen to this request; counts it.
    pub(crate) fn due(&self, seen: &Seen) -> Vec<Fault> {
        let rules = self.inner.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = Vec::new();
        for active in rules.iter().filter(|a| a.rule.when.matches(seen)) {
            let before = active.matched.fetch_add(1, Ordering::SeqCst);
            if before >= active.rule.skip && before - active.rule.skip < active.rule.times {
                active.applied.fetch_add(1, Ordering::SeqCst);
                due.push(active.rule.fault.clone());
            }
        }
        due
    }

    /// Runs the hooks for the moment before.
    pub(crate) async fn run_before(&self, seen: &Seen) -> Verdict {
        self.run(Moment::Before, seen).await
    }

    /// Runs the hooks for the moment after.
    pub(crate) async fn run_after(&self, seen: &Seen) -> Verdict {
        self.run(Moment::After, seen).await
    }

    async fn run(&self, moment: Moment, seen: &Seen) -> Verdict {
        let due: Vec<Hook> = {
            let hooks = self.inner.hooks.lock().unwrap_or_else(PoisonError::into_inner);
            hooks
                .iter()
                .filter(|(m, when, _)| *m == moment && when.matches(seen))
                .map(|h| h.2.clone())
                .collect()
        };
        let mut verdict = Verdict::Forward;
        for hook in due {
            // A task of its own: the hook may kill the client, whose end drops the handler that awaits it.
            if tokio::spawn(hook(seen.clone())).await.unwrap_or(Verdict::Drop) == Verdict::Drop {
                verdict = Verdict::Drop;
            }
        }
        verdict
    }
}
