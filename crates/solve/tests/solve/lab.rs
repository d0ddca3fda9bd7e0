//! A made-up world: repositories, what is installed, and a registry that answers all questions.

use std::collections::BTreeMap;

use gantry_solve::{
    Answer, Catalogue, Change, Dependency, Facts, Metadata, Name, Need, Options, Package, Plan, Request,
    solve,
};
use oci::Digest;

/// `(source, constraint)` of each dependency; sources are short names, `a` is `x.io/a`.
pub(crate) type Needs<'t> = &'t [(&'t str, &'t str)];

#[derive(Clone, Default)]
pub(crate) struct Lab {
    pub(crate) facts: Facts,
    /// By source and tag: the kind, and what it depends on.
    pub(crate) registry: BTreeMap<String, BTreeMap<String, (String, Vec<Dependency>)>>,
    /// What the registry answers instead.
    pub(crate) faults: BTreeMap<Need, (bool, String)>,
}

pub(crate) fn source(name: &str) -> String {
    format!("x.io/{name}")
}

pub(crate) fn digest(name: &str, tag: &str) -> Digest {
    Digest::sha256(format!("{name}:{tag}").as_bytes())
}

pub(crate) fn dependencies(needs: Needs<'_>) -> Vec<Dependency> {
    needs
        .iter()
        .map(|(name, text)| Dependency::new("", &source(name), text))
        .collect()
}

impl Lab {
    /// Publishes a package.
    pub(crate) fn publish(&mut self, name: &str, tag: &str, needs: Needs<'_>) -> &mut Self {
        self.publish_kind("Provider", name, tag, dependencies(needs))
    }

    pub(crate) fn publish_kind(
        &mut self,
        kind: &str,
        name: &str,
        tag: &str,
        needs: Vec<Dependency>,
    ) -> &mut Self {
        let repository = self.registry.entry(source(name)).or_default();
        repository.insert(tag.to_owned(), (kind.to_owned(), needs));
        self
    }

    /// Publishes versions that need nothing.
    pub(crate) fn versions(&mut self, name: &str, tags: &[&str]) -> &mut Self {
        for tag in tags {
            self.publish(name, tag, &[]);
        }
        self
    }

    /// Installs a package that needs something.
    pub(crate) fn install(&mut self, name: &str, tag: &str, needs: Needs<'_>) -> &mut Package {
        self.facts.packages.push(Package {
            name: Name {
                kind: "Provider".to_owned(),
                name: name.to_owned(),
            },
            source: source(name),
            tag: Some(tag.to_owned()),
            digest: Some(digest(&source(name), tag)),
            dependencies: Some(dependencies(needs)),
            ..Package::default()
        });
        self.facts.packages.last_mut().unwrap()
    }

    pub(crate) fn movable(&mut self, name: &str, tag: &str, change: Change) -> &mut Package {
        let package = self.install(name, tag, &[]);
        package.dependencies = None;
        package.change = change;
        package
    }

    pub(crate) fn request(&mut self, name: &str, text: &str) -> &mut Self {
        self.facts.requests.push(Request {
            dependency: Dependency::new("", &source(name), text),
        });
        self
    }

    pub(crate) fn fail(&mut self, need: Need, for_good: bool, why: &str) -> &mut Self {
        self.faults.insert(need, (for_good, why.to_owned()));
        self
    }

    pub(crate) fn tags_of(name: &str) -> Need {
        Need::Tags { source: source(name) }
    }

    pub(crate) fn package_of(name: &str, tag: &str) -> Need {
        Need::Package {
            source: source(name),
            digest: digest(&source(name), tag),
        }
    }

    /// Answers one question.
    pub(crate) fn answer(&self, catalogue: &mut Catalogue, need: &Need) {
        let fault = self.faults.get(need);
        match need {
            Need::Tags { source } => {
                let tags = self.registry.get(source).map(|r| r.keys().cloned().collect());
                catalogue.set_tags(source, wrap(fault, tags));
            }
            Need::Digest { source, tag } => {
                let known = self.registry.get(source).and_then(|r| r.get(tag));
                catalogue.set_digest(source, tag, wrap(fault, known.map(|_| digest(source, tag))));
            }
            Need::Package {
                source,
                digest: wanted,
            } => {
                let repository = self.registry.get(source);
                let package = repository
                    .into_iter()
                    .flatten()
                    .find(|(tag, _)| digest(source, tag) == *wanted);
                let metadata = package.map(|(_, (kind, dependencies))| Metadata {
                    kind: kind.clone(),
                    dependencies: dependencies.clone(),
                });
                catalogue.set_package(source, wanted, wrap(fault, metadata));
            }
        }
    }

    /// All that the registry has.
    pub(crate) fn all(&self) -> Catalogue {
        let mut catalogue = Catalogue::new();
        for (source, tags) in &self.registry {
            self.answer(
                &mut catalogue,
                &Need::Tags {
                    source: source.clone(),
                },
            );
            for tag in tags.keys() {
                let need = Need::Digest {
                    source: source.clone(),
                    tag: tag.clone(),
                };
                self.answer(&mut catalogue, &need);
                let need = Need::Package {
                    source: source.clone(),
                    digest: digest(source, tag),
                };
                self.answer(&mut catalogue, &need);
            }
        }
        catalogue
    }

    /// Asks only what is needed, all of it at once, until nothing is. Returns the plan, and what was asked
    /// in each round.
    pub(crate) fn lazily(&self) -> (Plan, Vec<Vec<Need>>) {
        let mut catalogue = Catalogue::new();
        let mut rounds: Vec<Vec<Need>> = Vec::new();
        loop {
            let plan = solve(&self.facts, &catalogue, &Options::default());
            if plan.needs.is_empty() {
                return (plan, rounds);
            }
            for need in &plan.needs {
                assert!(!catalogue.has(need), "asked twice: {need:?}");
                self.answer(&mut catalogue, need);
            }
            rounds.push(plan.needs);
            assert!(rounds.len() < 1000, "it asks for ever");
        }
    }

    pub(crate) fn plan(&self) -> Plan {
        self.lazily().0
    }
}

fn wrap<T>(fault: Option<&(bool, String)>, found: Option<T>) -> Answer<T> {
    match (fault, found) {
        (Some((true, why)), _) => Answer::Absent(why.clone()),
        (Some((false, why)), _) => Answer::Failed(why.clone()),
        (None, Some(found)) => Answer::Known(found),
        (None, None) => Answer::Absent("404: it is not there".to_owned()),
    }
}

/// The version that a plan has of a source.
pub(crate) fn picked<'p>(plan: &'p Plan, name: &str) -> Option<&'p str> {
    let source = source(name);
    plan.picks
        .iter()
        .find(|p| p.source == source)
        .map(|p| p.version.as_str())
}
