use proptest::prelude::*;

use super::*;

const TIMING: Timing = Timing {
    lease_duration: Duration::from_secs(15),
    renew_deadline: Duration::from_secs(10),
    retry_period: Duration::from_secs(2),
};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn held(by: &str, renewed: i64) -> Record {
    let renewed = Timestamp::from_second(renewed).ok();
    Record {
        holder: Some(by.into()),
        duration: secs(15),
        transitions: 3,
        renewed,
    }
}

fn candidate() -> (Elector, Instant) {
    let now = Instant::now();
    (Elector::new("me".into(), TIMING, now), now)
}

#[test]
fn creates_what_is_missing() {
    let (mut elector, now) = candidate();
    assert_eq!(elector.step(now), Do::Read);
    elector.read(now, None);
    let Do::Write(record) = elector.step(now) else {
        panic!("must create")
    };
    assert_eq!((record.holder.as_deref(), record.transitions), (Some("me"), 0));
    elector.written(now, now + secs(1), record);
    assert_eq!(elector.lead(), Some((now + secs(10), 0)));
}

#[test]
fn takes_a_free_lease_at_once() {
    let (mut elector, now) = candidate();
    elector.read(
        now,
        Some(Record {
            holder: None,
            ..held("", 0)
        }),
    );
    let Do::Write(record) = elector.step(now) else {
        panic!("must take")
    };
    assert_eq!(record.transitions, 4);
}

#[test]
fn respects_a_holder_that_renews_whatever_its_clock_shows() {
    let (mut elector, mut now) = candidate();
    for renewal in 0..100 {
        // The holder's clock is years behind.
        elector.read(now, Some(held("other", renewal)));
        assert!(matches!(elector.step(now), Do::Wait(_)));
        now += secs(10);
        assert_eq!(elector.step(now), Do::Read);
    }
    assert_eq!(elector.holder(), Some("other"));
}

#[test]
fn takes_over_after_the_whole_lease_without_a_change() {
    let (mut elector, start) = candidate();
    for second in 0..15 {
        elector.read(start + secs(second), Some(held("other", 7)));
        assert!(
            matches!(elector.step(start + secs(second)), Do::Wait(_)),
            "{second}"
        );
    }
    // Time alone does not do it: the record must have been read again.
    elector.failed(start + secs(14));
    assert_eq!(elector.step(start + secs(15)), Do::Read);
    elector.read(start + secs(15), Some(held("other", 7)));
    assert!(matches!(elector.step(start + secs(15)), Do::Write(_)));
}

#[test]
fn a_long_lease_is_respected_but_not_for_ever() {
    let (mut elector, start) = candidate();
    let year = Record {
        duration: secs(365 * 24 * 3600),
        ..held("other", 7)
    };
    elector.read(start, Some(year.clone()));
    let late = start + LONGEST_LEASE;
    elector.read(late - secs(1), Some(year.clone()));
    assert!(matches!(elector.step(late - secs(1)), Do::Wait(_)));
    elector.read(late, Some(year));
    assert!(matches!(elector.step(late), Do::Write(_)));
}

#[test]
fn a_leader_renews_and_loses_at_its_deadline() {
    let (mut elector, now) = candidate();
    elector.written(now, now, held("me", 1));
    assert_eq!(elector.step(now), Do::Wait(secs(2)));
    assert!(matches!(elector.step(now + secs(2)), Do::Write(_)));
    elector.failed(now + secs(2));
    assert_eq!(elector.step(now + secs(4)), Do::Read);
    elector.failed(now + secs(9));
    assert_eq!(elector.step(now + secs(9)), Do::Wait(secs(1)));
    assert!(matches!(elector.step(now + secs(10)), Do::Lost(_)));
}

#[test]
fn a_leader_that_sees_another_holder_is_none() {
    let (mut elector, now) = candidate();
    elector.written(now, now, held("me", 1));
    elector.refused(now + secs(2));
    assert_eq!(elector.step(now + secs(2)), Do::Read);
    elector.read(now + secs(2), Some(held("other", 1)));
    assert_eq!(
        elector.step(now + secs(2)),
        Do::Lost("it is held by other".into())
    );
    let (mut elector, now) = candidate();
    elector.written(now, now, held("me", 1));
    elector.read(now + secs(2), None);
    assert_eq!(
        elector.step(now + secs(2)),
        Do::Lost("it is held by nobody".into())
    );
}

/// One replica in the simulation: its elector and the request it is waiting for.
struct Replica {
    elector: Elector,
    request: Option<Request>,
    alive: bool,
}

struct Request {
    sent: Instant,
    wanted: Option<Record>,
    based_on: u64,
    reaches_server_at: Option<Instant>,
    ends_at: Instant,
    answer: Option<Answer>,
}

enum Answer {
    Read(Option<Record>, u64),
    Written(Record, u64),
    Refused,
}

/// How the network treats one request: delays in tenths of a second, and what gets lost.
#[derive(Clone, Copy, Debug)]
struct Weather {
    there: u64,
    back: u64,
    loses_request: bool,
    loses_answer: bool,
}

fn weather() -> impl Strategy<Value = Weather> {
    // Long stretches of one kind make partitions; single values make hiccups.
    (
        0..40_u64,
        0..40_u64,
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(there, back, loses_request, loses_answer)| Weather {
            there,
            back,
            loses_request,
            loses_answer,
        })
}

struct World {
    lease: Option<Record>,
    version: u64,
    replicas: Vec<Replica>,
    /// What each replica last read the lease at.
    known: Vec<u64>,
}

impl World {
    fn deliver(&mut self, now: Instant) {
        for replica in &mut self.replicas {
            let Some(request) = &mut replica.request else {
                continue;
            };
            if request.answer.is_some() || request.reaches_server_at.is_none_or(|at| at > now) {
                continue;
            }
            request.reaches_server_at = None;
            request.answer = Some(match &request.wanted {
                None => Answer::Read(self.lease.clone(), self.version),
                Some(_) if request.based_on != self.version => Answer::Refused,
                Some(wanted) => {
                    self.version += 1;
                    // Each write carries a new time, from a clock that means nothing here.
                    let renewed = Timestamp::from_second(i64::try_from(self.version).unwrap()).ok();
                    let record = Record {
                        renewed,
                        ..wanted.clone()
                    };
                    self.lease = Some(record.clone());
                    Answer::Written(record, self.version)
                }
            });
        }
    }

    fn act(&mut self, now: Instant, weather: &mut impl FnMut(usize) -> Weather) {
        for (nth, replica) in self
            .replicas
            .iter_mut()
            .enumerate()
            .filter(|(_, replica)| replica.alive)
        {
            if let Some(request) = replica.request.take_if(|request| request.ends_at <= now) {
                match request.answer {
                    Some(Answer::Read(record, version)) => {
                        self.known[nth] = version;
                        replica.elector.read(now, record);
                    }
                    Some(Answer::Written(record, version)) => {
                        self.known[nth] = version;
                        replica.elector.written(request.sent, now, record);
                    }
                    Some(Answer::Refused) => replica.elector.refused(now),
                    None => replica.elector.failed(now),
                }
            }
            if replica.request.is_some() {
                // A leader gives up waiting at its deadline.
                if matches!(replica.elector.step(now), Do::Lost(_)) {
                    replica.alive = false;
                }
                continue;
            }
            let wanted = match replica.elector.step(now) {
                Do::Wait(_) => continue,
                Do::Lost(_) => {
                    replica.alive = false;
                    continue;
                }
                Do::Read => None,
                Do::Write(record) => Some(record),
            };
            let weather = weather(nth);
            let tenths = |n: u64| Duration::from_millis(n * 100);
            let arrives = now + tenths(weather.there);
            // A request may reach the server long after its sender gave up.
            let ends_at = now + tenths((weather.there + weather.back).min(40));
            replica.request = Some(Request {
                sent: now,
                wanted,
                based_on: self.known[nth],
                reaches_server_at: (!weather.loses_request).then_some(arrives),
                ends_at: if weather.loses_answer || weather.loses_request {
                    now + tenths(40)
                } else {
                    ends_at
                },
                answer: None,
            });
        }
    }

    fn leaders(&self, now: Instant) -> usize {
        let leads = |r: &&Replica| r.alive && r.elector.lead().is_some_and(|(deadline, _)| now < deadline);
        self.replicas.iter().filter(leads).count()
    }
}

fn simulate(replicas: usize, weathers: &[Weather], restarts: &[bool]) -> (usize, usize) {
    let start = Instant::now();
    let new = |nth: usize, life: usize, now| Elector::new(format!("r{nth}-{life}"), TIMING, now);
    let mut world = World {
        lease: None,
        version: 0,
        replicas: (0..replicas)
            .map(|nth| Replica {
                elector: new(nth, 0, start),
                request: None,
                alive: true,
            })
            .collect(),
        known: vec![0; replicas],
    };
    let (mut drawn, mut most, mut led) = (0, 0, 0);
    for tick in 0..3_000_u64 {
        let now = start + Duration::from_millis(tick * 100);
        world.deliver(now);
        world.act(now, &mut |nth| {
            drawn += 1;
            weathers[(drawn * (nth + 1)) % weathers.len()]
        });
        world.deliver(now);
        let leaders = world.leaders(now);
        most = most.max(leaders);
        led += usize::from(leaders > 0);
        // The dead come back as others, as a restarted process does.
        if tick % 50 == 49 && restarts[(tick / 50) as usize % restarts.len()] {
            for (nth, replica) in world.replicas.iter_mut().enumerate().filter(|(_, r)| !r.alive) {
                world.known[nth] = 0;
                *replica = Replica {
                    elector: new(nth, tick as usize, now),
                    request: None,
                    alive: true,
                };
            }
        }
    }
    (most, led)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn never_two_leaders(
        replicas in 2..6_usize,
        weathers in prop::collection::vec(weather(), 1..60),
        restarts in prop::collection::vec(any::<bool>(), 1..8),
    ) {
        let (most, _) = simulate(replicas, &weathers, &restarts);
        prop_assert!(most <= 1, "{most} leaders at once");
    }
}

#[test]
fn in_fair_weather_there_is_always_a_leader() {
    let fair = Weather {
        there: 0,
        back: 1,
        loses_request: false,
        loses_answer: false,
    };
    let (most, led) = simulate(3, &[fair], &[true]);
    assert_eq!(most, 1);
    assert!(led > 2_990, "led {led} of 3000 ticks");
}
