//! The values of Crossplane's chart, and what became of each here.

/// What stands above the table.
pub(super) const INTRODUCTION: &str = "
## Coming from Crossplane's chart

Every value of Crossplane's chart (2.4 line). *Same* means the same name and meaning; defaults differ where the text says so.
Names with `Crossplane` in them lose it: this chart has one program.
";

/// One value, or several that belong together.
pub(super) struct Row {
    /// Their names in Crossplane's chart.
    pub(super) theirs: &'static str,
    /// What became of it.
    pub(super) relation: Relation,
}

/// What became of a value; with what to know about it.
pub(super) enum Relation {
    /// Same name, same meaning.
    Same(&'static str),
    /// There is something else for it.
    Different(&'static str),
    /// Gantry has nothing that it would be about.
    NotApplicable(&'static str),
}

use Relation::{Different, NotApplicable, Same};

const fn row(theirs: &'static str, relation: Relation) -> Row {
    Row { theirs, relation }
}

/// All of them.
pub(super) const TABLE: &[Row] = &[
    row("`replicas`", Same("")),
    row("`revisionHistoryLimit`", Same("")),
    row("`deploymentStrategy`", Same("")),
    row("`image.repository`", Same("Gantry's image by default")),
    row(
        "`image.tag`",
        Same("also `image.digest`, which decides; empty means `v` and the chart's version"),
    ),
    row("`image.pullPolicy`", Same("")),
    row("`image.ignoreTag`", Same("")),
    row("`nodeSelector`", Same("")),
    row("`tolerations`", Same("")),
    row("`affinity`", Same("")),
    row(
        "`topologySpreadConstraints`",
        Same("a constraint without `labelSelector` gets that of the Deployment"),
    ),
    row("`hostNetwork`", Same("")),
    row("`dnsPolicy`", Same("also `dnsConfig`")),
    row("`priorityClassName`", Same("")),
    row("`runtimeClassName`", Same("")),
    row("`customLabels`", Same("on all objects")),
    row("`customAnnotations`", Same("")),
    row("`serviceAccount.create`", Same("")),
    row("`serviceAccount.name`", Same("")),
    row("`serviceAccount.customAnnotations`", Same("")),
    row(
        "`imagePullSecrets`",
        Same("names, or objects with `name`; they count for all packages, as there"),
    ),
    row("`leaderElection`", Same("")),
    row("`args`", Same("flags of `gantry-operator`: docs/operations.md")),
    row(
        "`extraEnvVarsCrossplane`",
        Different("`extraEnvVars`; `extraEnv` for `valueFrom`"),
    ),
    row(
        "`extraEnvVarsCrossplaneInit`",
        NotApplicable("there is no init container; the operator does its work"),
    ),
    row(
        "`extraEnvVarsRBACManager`",
        NotApplicable("there is no second process yet"),
    ),
    row("`extraVolumesCrossplane`", Different("`extraVolumes`")),
    row("`extraVolumeMountsCrossplane`", Different("`extraVolumeMounts`")),
    row("`sidecarsCrossplane`", Different("`sidecars`")),
    row("`extraObjects`", Same("")),
    row(
        "`provider.packages`",
        Same("also objects with options: `package`, `name`, and fields of the spec"),
    ),
    row("`configuration.packages`", Same("also objects with options")),
    row("`function.packages`", Same("also objects with options")),
    row(
        "`provider.defaultActivations`",
        NotApplicable("Gantry applies CRDs as CRDs and makes no activation policy"),
    ),
    row("`registryCaBundleConfig.name`", Same("")),
    row("`registryCaBundleConfig.key`", Same("default `ca-bundle.crt`")),
    row("`packageCache.medium`", Same("")),
    row(
        "`packageCache.sizeLimit`",
        Same("default `2Gi` instead of `20Mi`; the store itself keeps to `packageCache.size`"),
    ),
    row("`packageCache.pvc`", Same("")),
    row(
        "`packageCache.configMap`",
        Different(
            "it holds files of Gantry's content store, put in place by `packageCache.configMapItems`; read only",
        ),
    ),
    row("`functionCache.*`", NotApplicable("Gantry calls no functions")),
    row(
        "`webhooks.enabled`, `webhooks.port`",
        NotApplicable("Gantry serves no webhooks"),
    ),
    row(
        "`service.customAnnotations`",
        Same("on the Service for metrics and probes"),
    ),
    row(
        "`secrets.customAnnotations`",
        NotApplicable("the chart makes no Secrets"),
    ),
    row(
        "`metrics.enabled`",
        Same(
            "default `true`; it also makes the port of the Service. Off, metrics are served on loopback only",
        ),
    ),
    row("`metrics.port`", Same("the annotation follows it")),
    row("`readiness.port`", Same("")),
    row(
        "`resourcesCrossplane`",
        Different("`resources`, with other defaults"),
    ),
    row(
        "`resourcesRBACManager`",
        NotApplicable("there is no second process yet"),
    ),
    row(
        "`securityContextCrossplane`",
        Different("`securityContext`; the default meets Pod Security \"restricted\""),
    ),
    row(
        "`podSecurityContextCrossplane`",
        Different("`podSecurityContext`; the default meets Pod Security \"restricted\""),
    ),
    row(
        "`securityContextRBACManager`, `podSecurityContextRBACManager`",
        NotApplicable("there is no second process yet"),
    ),
    row("`rbacManager.*`", NotApplicable("there is no second process yet")),
];

#[cfg(test)]
mod tests {
    use super::super::values;
    use super::*;

    /// Whether the schema has a value of this name, or is a part of one.
    fn is_ours(name: &str) -> bool {
        values::all().unwrap().iter().any(|value| value.path == name)
    }

    #[test]
    fn what_is_the_same_is_there_and_what_is_not_is_not() {
        for row in TABLE {
            for name in row.theirs.split(", ").map(|name| name.trim_matches('`')) {
                match row.relation {
                    Same(_) => assert!(is_ours(name), "{name}"),
                    Different(_) if name == "packageCache.configMap" => assert!(is_ours(name)),
                    Different(note) => {
                        assert!(!is_ours(name), "{name}");
                        let ours = note.split('`').nth(1).unwrap();
                        assert!(is_ours(ours), "{name}: {ours}");
                    }
                    NotApplicable(note) => assert!(!is_ours(name) && !note.is_empty(), "{name}"),
                }
            }
        }
    }
}
