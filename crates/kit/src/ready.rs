//! Whether the process can do its work, and if not, what it waits for.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

type Probe = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What must hold before the process is ready, by name. Clones share one list.
#[derive(Clone, Default)]
pub struct Readiness {
    parts: Arc<Mutex<BTreeMap<String, Part>>>,
}

enum Part {
    Told(Result<(), String>),
    Asked(Probe),
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness")
            .field("missing", &self.missing())
            .finish()
    }
}

impl Readiness {
    /// A part that is not ready until its handle says so.
    pub fn part(&self, name: impl Into<String>) -> Handle {
        let name = name.into();
        self.parts()
            .insert(name.clone(), Part::Told(Err("not started".to_owned())));
        Handle {
            readiness: self.clone(),
            name,
        }
    }

    /// A part that is asked each time. The answer must be quick; an error says what is awaited.
    pub fn probe(
        &self,
        name: impl Into<String>,
        probe: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.parts().insert(name.into(), Part::Asked(Arc::new(probe)));
    }

    /// A part that is ready once the store is filled.
    pub fn store<T: Send + Sync + 'static>(&self, live: &crate::live::Live<T>) {
        let name = format!("watch {}", live.what());
        let live = live.clone();
        self.probe(name, move || live.not_ready().map_or(Ok(()), Err));
    }

    /// Takes a part away.
    pub fn remove(&self, name: &str) {
        self.parts().remove(name);
    }

    /// All parts that are not ready, with the reason.
    pub fn missing(&self) -> BTreeMap<String, String> {
        let mut missing = BTreeMap::new();
        let mut probes = Vec::new();
        for (name, part) in self.parts().iter() {
            match part {
                Part::Told(Ok(())) => {}
                Part::Told(Err(why)) => {
                    missing.insert(name.clone(), why.clone());
                }
                Part::Asked(probe) => probes.push((name.clone(), probe.clone())),
            }
        }
        // Asked without the lock: a probe may look at anything.
        for (name, probe) in probes {
            if let Err(why) = probe() {
                missing.insert(name, why);
            }
        }
        missing
    }

    /// Whether nothing is missing.
    pub fn is_ready(&self) -> bool {
        self.missing().is_empty()
    }

    fn parts(&self) -> MutexGuard<'_, BTreeMap<String, Part>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says for one part whether it is ready. Dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct Handle {
    readiness: Readiness,
    name: String,
}

impl Handle {
    /// The part is ready.
    pub fn ready(&self) {
        self.set(Ok(()));
    }

    /// The part is not ready, and why.
    pub fn not_ready(&self, why: impl Into<String>) {
        self.set(Err(why.into()));
    }

    fn set(&self, state: Result<(), String>) {
        self.readiness
            .parts()
            .insert(self.name.clone(), Part::Told(state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_missing() {
        let readiness = Readiness::default();
        assert!(readiness.is_ready());
        let crds = readiness.part("definitions");
        let nested = readiness.clone();
        readiness.probe("cache", move || {
            // A probe may use the list itself.
            if nested.parts().is_empty() {
                Ok(())
            } else {
                Err("listing".into())
            }
        });
        assert_eq!(
            readiness.missing().into_iter().collect::<Vec<_>>(),
            [
                ("cache".to_owned(), "listing".to_owned()),
                ("definitions".to_owned(), "not started".to_owned()),
            ]
        );
        readiness.remove("cache");
        crds.ready();
        assert!(readiness.is_ready());
        crds.not_ready("waiting for x");
        assert_eq!(readiness.missing()["definitions"], "waiting for x");
    }
}
