//! The API server's audit log: who asked for what.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;

use super::ControlPlane;

/// The log's name in the control plane's folder.
pub(super) const FILE: &str = "audit.log";

/// Everything, metadata only; an event when a watch starts, and one when a request is done.
pub(super) const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
";

/// A place in the audit log; events after it are those of requests that were done later.
#[derive(Clone, Copy, Debug, Default)]
pub struct AuditMark(u64);

/// One line of the audit log.
#[derive(Clone, Debug)]
pub struct AuditEvent {
    /// Of the request; a client may choose it ([`crate::FaultProxy::audit_id`]).
    pub id: String,
    /// `create`, `patch`, `watch`…
    pub verb: String,
    /// `system:serviceaccount:gantry-system:gantry-operator`.
    pub user: String,
    /// The client's `User-Agent`.
    pub agent: String,
    /// Path and query.
    pub uri: String,
    /// Plural with group, and subresource if any: `providers.pkg.crossplane.io/status`; empty for other
    /// paths.
    pub resource: String,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// Name of the object, empty for lists.
    pub name: String,
    /// `ResponseStarted` (watches) or `ResponseComplete`.
    pub stage: String,
    /// HTTP status, 0 when there was none.
    pub code: u16,
    /// When the request came in.
    pub received: Timestamp,
    /// When this stage was reached.
    pub at: Timestamp,
}

impl AuditEvent {
    /// Whether something was asked to change, dry runs and reviews aside.
    pub fn is_write(&self) -> bool {
        let verb = matches!(
            self.verb.as_str(),
            "create" | "update" | "patch" | "delete" | "deletecollection"
        );
        verb && !self.uri.contains("dryRun=All")
            && !self.resource.ends_with(".authorization.k8s.io")
            && !self.resource.ends_with(".authentication.k8s.io")
            && self.stage == "ResponseComplete"
    }

    /// Whether it is about a Lease.
    pub fn is_lease(&self) -> bool {
        self.resource == "leases.coordination.k8s.io"
    }
}

impl ControlPlane {
    /// All requests so far that were done, or are watches that have started.
    pub fn audit(&self) -> Result<Vec<AuditEvent>> {
        self.audit_since(AuditMark::default())
    }

    /// The present end of the audit log.
    pub fn audit_mark(&self) -> Result<AuditMark> {
        let path = self.folder().join(FILE);
        let file = std::fs::metadata(&path)
            .with_context(|| format!("no audit log at {}: was it asked for?", path.display()))?;
        Ok(AuditMark(file.len()))
    }

    /// The events after `mark`.
    pub fn audit_since(&self, mark: AuditMark) -> Result<Vec<AuditEvent>> {
        let mut mark = mark;
        self.audit_next(&mut mark)
    }

    /// The events after `mark`, which moves behind them: for following a log without reading it twice.
    pub fn audit_next(&self, mark: &mut AuditMark) -> Result<Vec<AuditEvent>> {
        let path = self.folder().join(FILE);
        let mut file = File::open(&path)
            .with_context(|| format!("no audit log at {}: was it asked for?", path.display()))?;
        file.seek(SeekFrom::Start(mark.0))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // The last line may be half written.
        let whole = text
            .rfind('\n')
            .and_then(|end| text.get(..=end))
            .unwrap_or_default();
        let events = whole
            .lines()
            .map(|line| Ok(serde_json::from_str::<Line>(line)?.into()))
            .collect::<Result<Vec<_>>>()?;
        mark.0 += whole.len() as u64;
        Ok(events)
    }

    /// What `user` asked to change after `mark`, Leases aside.
    pub fn writes_since(&self, mark: AuditMark, user: &str) -> Result<Vec<AuditEvent>> {
        let mut events = self.audit_since(mark)?;
        events.retain(|e| e.user == user && e.is_write() && !e.is_lease());
        Ok(events)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    #[serde(rename = "auditID")]
    audit_id: String,
    verb: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    #[serde(default)]
    object_ref: ObjectRef,
    stage: String,
    #[serde(default)]
    response_status: Status,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    resource: String,
    namespace: String,
    name: String,
    api_group: String,
    subresource: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
}

impl From<Line> for AuditEvent {
    fn from(line: Line) -> Self {
        let object = line.object_ref;
        let mut resource = object.resource;
        if !object.api_group.is_empty() {
            resource = format!("{resource}.{}", object.api_group);
        }
        if !object.subresource.is_empty() {
            resource = format!("{resource}/{}", object.subresource);
        }
        Self {
            id: line.audit_id,
            verb: line.verb,
            user: line.user.username,
            agent: line.user_agent,
            uri: line.request_uri,
            resource,
            namespace: object.namespace,
            name: object.name,
            stage: line.stage,
            code: line.response_status.code,
            received: line.request_received_timestamp,
            at: line.stage_timestamp,
        }
    }
}
