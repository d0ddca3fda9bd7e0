//! The one observer of both: the API server's audit log, which says who wrote what when, and when the API server itself
//! wrote the conditions of a CRD. Looking costs the API server nothing, so that it disturbs neither.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams};
use testkit::ControlPlane;
use testkit::control_plane::{AuditEvent, AuditMark};

use super::figures::seconds;
use super::{LOOK, PATIENCE};

const CRDS: &str = "customresourcedefinitions.apiextensions.k8s.io";
const CRD_STATUS: &str = "customresourcedefinitions.apiextensions.k8s.io/status";
/// Who the API server is to itself.
const API_SERVER: &str = "system:apiserver";
/// The API server writes a fresh CRD's conditions twice: its names are accepted, then it is established. That all are
/// established is read once more when the clock has stopped.
const CONDITION_WRITES: usize = 2;
/// CRDs per page when that is read: they are large.
const PAGE: u32 = 50;

/// What was seen of the writes to a set of CRDs.
pub(super) struct Observer<'a> {
    plane: &'a ControlPlane,
    mark: AuditMark,
    names: BTreeSet<String>,
    /// Who writes.
    user: String,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    written: BTreeSet<String>,
    conditions: BTreeMap<String, (usize, Timestamp)>,
}

impl<'a> Observer<'a> {
    /// Looks at what `user` writes to the CRDs `names` from now on.
    pub(super) fn new(plane: &'a ControlPlane, names: &[String], user: &str) -> Result<Self> {
        Ok(Self {
            plane,
            mark: plane.audit_mark()?,
            names: names.iter().cloned().collect(),
            user: user.to_owned(),
            first: None,
            last: None,
            written: BTreeSet::new(),
            conditions: BTreeMap::new(),
        })
    }

    /// Reads what is new in the log.
    pub(super) fn look(&mut self) -> Result<()> {
        for event in self.plane.audit_next(&mut self.mark)? {
            self.take(&event);
        }
        Ok(())
    }

    fn take(&mut self, event: &AuditEvent) {
        // A create names its object in the answer only; nobody else creates CRDs here.
        let ours = event.user == self.user && event.resource == CRDS && event.is_write();
        if ours && (200..300).contains(&event.code) {
            self.first = Some(
                self.first
                    .map_or(event.received, |first| first.min(event.received)),
            );
            self.last = Some(self.last.map_or(event.at, |last| last.max(event.at)));
            self.written.insert(match event.name.is_empty() {
                true => self.written.len().to_string(),
                false => event.name.clone(),
            });
        }
        let condition = event.user == API_SERVER && event.resource == CRD_STATUS && event.code == 200;
        if condition && self.names.contains(&event.name) {
            let seen = self.conditions.entry(event.name.clone()).or_insert((0, event.at));
            *seen = (seen.0 + 1, seen.1.max(event.at));
        }
    }

    /// How many CRDs were written.
    pub(super) fn count(&self) -> usize {
        self.written.len()
    }

    /// When the first write came in.
    pub(super) fn first(&self) -> Result<Timestamp> {
        self.first.context("nothing was written")
    }

    /// From the first write's arrival to the last one's answer, in seconds.
    pub(super) fn writing(&self) -> Result<f64> {
        Ok(seconds(self.first()?, self.last.context("nothing was written")?))
    }

    /// Whether all CRDs are established.
    pub(super) fn all_established(&self) -> bool {
        let done = |name| {
            self.conditions
                .get(name)
                .is_some_and(|(n, _)| *n >= CONDITION_WRITES)
        };
        self.names.iter().all(done)
    }

    /// From the first write's arrival until all were established, in seconds.
    pub(super) fn establishing(&self) -> Result<f64> {
        let last = self.conditions.values().map(|(_, at)| *at).max();
        Ok(seconds(self.first()?, last.context("nothing was established")?))
    }

    /// Looks until `done`.
    pub(super) async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Result<()> {
        let start = Instant::now();
        loop {
            self.look()?;
            if done(self) {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                bail!(
                    "{what}: not after {PATIENCE:?}; {} written, {} of {} with conditions",
                    self.count(),
                    self.conditions.len(),
                    self.names.len()
                );
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Reads that all CRDs are established: what was concluded from the log is true.
    pub(super) async fn confirm(&self) -> Result<()> {
        let api: Api<CustomResourceDefinition> = Api::all(self.plane.client());
        let mut established = BTreeSet::new();
        let mut token: Option<String> = None;
        loop {
            let mut page = ListParams::default().limit(PAGE);
            page.continue_token = token.take();
            let list = api.list(&page).await?;
            for crd in list.items {
                let conditions = crd.status.and_then(|s| s.conditions).unwrap_or_default();
                if conditions
                    .iter()
                    .any(|c| c.type_ == "Established" && c.status == "True")
                {
                    established.extend(crd.metadata.name);
                }
            }
            token = list.metadata.continue_.filter(|t| !t.is_empty());
            if token.is_none() {
                break;
            }
        }
        match self.names.iter().find(|name| !established.contains(*name)) {
            None => Ok(()),
            Some(name) => bail!("the observer is wrong: {name} is not established"),
        }
    }
}
