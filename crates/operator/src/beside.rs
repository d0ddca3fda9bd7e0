//! Whether another package manager is in the way: one of the reference is not while the admission policy of
//! [`api::beside`] keeps it from writing (design §9).

use std::time::Duration;

use api::beside::{self, POLICY, PROBE, REFUSAL};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kit::lease::Rivals;
use kit::live::{Live, Phase};
use kit::metrics::Metrics;
use kit::resource::{Resource, Target};
use kit::tasks::Tasks;
use kit::watch::{Watch, Watches};
use kit::write::Writer;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use serde_json::json;
use tokio::sync::watch;

/// How long the request may take that shows whether the policy is in force.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// First pause before the policy is tried again; API servers learn of a new policy within a second.
pub(crate) const PROBE_FIRST: Duration = Duration::from_secs(1);
/// Longest such pause: the pause doubles.
pub(crate) const PROBE_LONGEST: Duration = Duration::from_secs(30);

/// What is known of the admission policy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Policy {
    /// Nobody needs it, or it was not tried yet.
    Unknown,
    /// It refuses what it should.
    InForce,
    /// It does not, and why.
    Lacking(String),
}

/// Package managers of the reference, and what keeps them from writing.
#[derive(Clone, Debug)]
pub(crate) struct Neighbours {
    rivals: Rivals,
    policy: watch::Receiver<Policy>,
    metrics: NeighbourMetrics,
}

/// Somebody is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Obstacle {
    /// Who, and what to do about it.
    pub(crate) why: String,
    /// Whether that is known, and not only not excluded yet.
    pub(crate) settled: bool,
}

/// Whether another package manager is there.
#[derive(Clone, Debug, Default)]
struct NeighbourMetrics {
    states: Family<StateLabel, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

impl NeighbourMetrics {
    fn register(metrics: &Metrics) -> Self {
        let made = Self::default();
        let help =
            "Whether a Crossplane package manager is absent, kept out by the admission policy, or in the way";
        metrics.register(|registry| registry.register("other_package_manager", help, made.states.clone()));
        made.set("absent");
        made
    }

    fn set(&self, now: &'static str) {
        for state in ["absent", "kept_out", "in_the_way"] {
            self.states
                .get_or_create(&StateLabel { state })
                .set(i64::from(state == now));
        }
    }
}

/// What is needed to judge the policy.
pub(crate) struct Judge {
    /// For the watches on policy and binding.
    pub(crate) watches: Watches,
    /// For the request that shows whether the policy is in force.
    pub(crate) writer: Writer,
    /// Where that request goes: the own namespace.
    pub(crate) namespace: String,
    /// User names that the policy must cover.
    pub(crate) accounts: Vec<String>,
}

impl Neighbours {
    /// Starts judging the policy whenever one of `rivals` is alive; without one nothing is asked.
    pub(crate) fn start(rivals: Rivals, judge: Judge, metrics: &Metrics, tasks: &Tasks) -> Self {
        let (send, policy) = watch::channel(Policy::Unknown);
        let stopping = tasks.stopping().clone();
        let seen = rivals.clone();
        tasks.spawn_job("admission policy", async move {
            stopping.run_until_cancelled(judge.run(seen, send)).await;
        });
        Self {
            rivals,
            policy,
            metrics: NeighbourMetrics::register(metrics),
        }
    }

    /// Who is in the way of one who does not lead yet: also somebody who can't be ruled out.
    pub(crate) fn obstacle(&self) -> Option<Obstacle> {
        self.judged(self.rivals.obstacle())
    }

    /// Who is in the way of one who leads: only somebody who is seen.
    pub(crate) fn alive(&self) -> Option<Obstacle> {
        self.judged(self.rivals.alive())
    }

    /// Who is alive beside us and kept out.
    pub(crate) fn kept_out(&self) -> Option<String> {
        let alive = self.rivals.alive()?;
        (*self.policy.borrow() == Policy::InForce).then_some(alive)
    }

    fn judged(&self, rival: Option<String>) -> Option<Obstacle> {
        let obstacle = rival.and_then(|rival| match &*self.policy.borrow() {
            Policy::InForce => None,
            Policy::Unknown => Some(Obstacle {
                why: rival,
                settled: self.rivals.alive().is_none(),
            }),
            Policy::Lacking(what) => Some(Obstacle {
                why: format!(
                    "{rival}; {what}: apply deploy/beside-crossplane.yaml of version {} (chart value \
                     besideCrossplane.enabled) to work beside it, or stop Crossplane's package manager",
                    env!("CARGO_PKG_VERSION")
                ),
                settled: true,
            }),
        });
        self.metrics.set(match (&obstacle, self.rivals.alive()) {
            (Some(_), _) => "in_the_way",
            (None, Some(_)) => "kept_out",
            (None, None) => "absent",
        });
        obstacle
    }

    /// Waits for a change of what the others say; `false` once the process stops.
    pub(crate) async fn changed(&mut self) -> bool {
        tokio::select! {
            going = self.rivals.changed() => going,
            changed = self.policy.changed() => changed.is_ok(),
        }
    }

    /// Waits until nobody is in the way.
    pub(crate) async fn clear(&mut self) {
        while self.obstacle().is_some() && self.changed().await {}
    }
}

type Policies = Live<ValidatingAdmissionPolicy>;
type Bindings = Live<ValidatingAdmissionPolicyBinding>;

/// Which policy and binding were tried: UID and generation of both.
type Tried = [(Option<String>, Option<i64>); 2];

impl Judge {
    async fn run(self, mut rivals: Rivals, send: watch::Sender<Policy>) {
        loop {
            while rivals.alive().is_none() {
                if !rivals.changed().await {
                    return;
                }
            }
            let watch = || Watch::all().named(POLICY);
            let policies: Policies = self.watches.objects((), watch(), |_| vec![]);
            let bindings: Bindings = self.watches.objects((), watch(), |_| vec![]);
            if !self.follow(&policies, &bindings, &mut rivals, &send).await {
                return;
            }
            say(&send, Policy::Unknown);
        }
    }

    /// Judges until nobody is alive any more; `false` once the process stops.
    async fn follow(
        &self,
        policies: &Policies,
        bindings: &Bindings,
        rivals: &mut Rivals,
        send: &watch::Sender<Policy>,
    ) -> bool {
        let (mut of_policy, mut of_binding) = (policies.subscribe(), bindings.subscribe());
        let (mut policy_phase, mut binding_phase) = (policies.phases(), bindings.phases());
        let mut proven: Option<Tried> = None;
        let mut pause = PROBE_FIRST;
        loop {
            let again = match self.verdict(policies, bindings) {
                Verdict::Await(policy) => {
                    proven = None;
                    say(send, policy);
                    false
                }
                Verdict::Sound(tried) if proven.as_ref() == Some(&tried) => {
                    say(send, Policy::InForce);
                    false
                }
                Verdict::Sound(tried) => {
                    if proven.take().is_some() {
                        say(send, Policy::Unknown);
                    }
                    match self.try_it().await {
                        Ok(()) => {
                            proven = Some(tried);
                            pause = PROBE_FIRST;
                            // What changed meanwhile is looked at before anybody relies on it.
                            continue;
                        }
                        Err(why) => {
                            say(send, Policy::Lacking(why));
                            true
                        }
                    }
                }
            };
            tokio::select! {
                _ = of_policy.next() => {}
                _ = of_binding.next() => {}
                Ok(()) = policy_phase.changed() => {}
                Ok(()) = binding_phase.changed() => {}
                () = tokio::time::sleep(pause), if again => pause = (pause * 2).min(PROBE_LONGEST),
                going = rivals.changed() => {
                    if !going {
                        return false;
                    }
                    if rivals.alive().is_none() {
                        return true;
                    }
                }
            }
        }
    }

    fn verdict(&self, policies: &Policies, bindings: &Bindings) -> Verdict {
        if let Some(awaited) = awaited(policies).or_else(|| awaited(bindings)) {
            return Verdict::Await(awaited);
        }
        let (policy, binding) = (policies.get(POLICY), bindings.get(POLICY));
        match judge(policy.as_deref(), binding.as_deref(), &self.accounts) {
            Ok(tried) => Verdict::Sound(tried),
            Err(why) => Verdict::Await(Policy::Lacking(why)),
        }
    }

    /// Asks the API server for what the policy must refuse; as a dry run, so that nothing is made if it does
    /// not.
    async fn try_it(&self) -> Result<(), String> {
        let leases = Resource::new("coordination.k8s.io", "v1", "leases", "Lease");
        let target = Target::namespaced(leases, &self.namespace, PROBE);
        let owner = json!({
            "apiVersion": api::API_VERSION, "kind": "Provider", "name": PROBE,
            "uid": "00000000-0000-0000-0000-000000000000",
        });
        let body = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": PROBE, "namespace": self.namespace, "ownerReferences": [owner]},
        });
        let writer = self.writer.dry_run();
        let request = writer.create(api::FIELD_MANAGER_CRDS, &target, &body);
        match tokio::time::timeout(PROBE_TIMEOUT, request).await {
            Ok(Err(error)) if error.refusal().is_some_and(|r| r.message.contains(REFUSAL)) => Ok(()),
            Ok(Ok(_)) => Err(format!(
                "admission policy {POLICY} is there, but the API server does not enforce it"
            )),
            Ok(Err(error)) => Err(format!("admission policy {POLICY} could not be tried: {error}")),
            Err(_) => Err(format!(
                "admission policy {POLICY} could not be tried: no answer in time"
            )),
        }
    }
}

/// What is known of the policy while a watch has not listed anything yet.
fn awaited<T: Send + Sync + 'static>(live: &Live<T>) -> Option<Policy> {
    let why = live.not_ready()?;
    Some(match live.phase() {
        Phase::Starting => Policy::Unknown,
        _ => Policy::Lacking(format!("admission policy {POLICY} can't be read: {why}")),
    })
}

enum Verdict {
    /// Nothing to try before something changes.
    Await(Policy),
    /// Policy and binding are as they should be.
    Sound(Tried),
}

fn say(send: &watch::Sender<Policy>, policy: Policy) {
    send.send_if_modified(|said| {
        let changed = *said != policy;
        *said = policy;
        changed
    });
}

/// Whether policy and binding are there and as they should be; which ones they are, or what is wrong.
fn judge(
    policy: Option<&ValidatingAdmissionPolicy>,
    binding: Option<&ValidatingAdmissionPolicyBinding>,
    accounts: &[String],
) -> Result<Tried, String> {
    let Some(policy) = policy else {
        return Err(format!("admission policy {POLICY} is not there"));
    };
    let weakness = match &policy.spec {
        Some(spec) => beside::weakness(spec, accounts),
        None => Some("it is empty".to_owned()),
    };
    if let Some(weakness) = weakness {
        let of = policy.metadata.annotations.as_ref();
        let of = of.and_then(|all| all.get(api::annotation::VERSION));
        let of = of
            .map(|version| format!(" (of version {version})"))
            .unwrap_or_default();
        return Err(format!("admission policy {POLICY}{of} does not do: {weakness}"));
    }
    let warnings = policy.status.as_ref().and_then(|s| s.type_checking.as_ref());
    let warnings = warnings.and_then(|t| t.expression_warnings.as_deref());
    if let Some(first) = warnings.and_then(<[_]>::first) {
        return Err(format!(
            "the API server warns of an expression of admission policy {POLICY}: {}: {}",
            first.field_ref, first.warning
        ));
    }
    let Some(binding) = binding else {
        return Err(format!("the binding of admission policy {POLICY} is not there"));
    };
    let looseness = match &binding.spec {
        Some(spec) => beside::looseness(spec),
        None => Some("it is empty"),
    };
    if let Some(looseness) = looseness {
        return Err(format!(
            "the binding of admission policy {POLICY} does not put it into force: {looseness}"
        ));
    }
    let which = |meta: &ObjectMeta| (meta.uid.clone(), meta.generation);
    Ok([which(&policy.metadata), which(&binding.metadata)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
        serde_json::from_value(value.clone()).unwrap()
    }

    #[test]
    fn only_a_sound_policy_will_do() {
        let accounts = beside::accounts(&["ns"], &["crossplane"]);
        let whose = beside::whose(&serde_json::to_string(&accounts).unwrap());
        let (right, bound) = (beside::policy(&whose), beside::binding());
        let judged =
            |policy: &Value, binding: &Value| judge(Some(&read(policy)), Some(&read(binding)), &accounts);
        assert!(judged(&right, &bound).is_ok());
        let said = judge(None, Some(&read(&bound)), &accounts).unwrap_err();
        assert!(said.contains("is not there"), "{said}");
        let said = judge(Some(&read(&right)), None, &accounts).unwrap_err();
        assert!(said.contains("binding"), "{said}");

        let mut weak = right.clone();
        weak["spec"]["failurePolicy"] = json!("Ignore");
        weak["metadata"]["annotations"]["gantry.dev/version"] = json!("9.9.9");
        let said = judged(&weak, &bound).unwrap_err();
        assert!(said.contains("9.9.9") && said.contains("failurePolicy"), "{said}");
        let mut warned = right.clone();
        let warning = json!({"fieldRef": "spec.validations[0]", "warning": "undeclared"});
        warned["status"] = json!({"typeChecking": {"expressionWarnings": [warning]}});
        let said = judged(&warned, &bound).unwrap_err();
        assert!(said.contains("undeclared"), "{said}");
        let mut loose = bound;
        loose["spec"]["validationActions"] = json!(["Audit"]);
        let said = judged(&right, &loose).unwrap_err();
        assert!(said.contains("Deny"), "{said}");
    }
}
