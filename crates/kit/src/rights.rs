//! What this process may do at the API server, asked before it begins: a sentence at start is worth more than
//! a refusal in the middle of the work.

use std::{collections::BTreeSet, fmt};

use futures::{StreamExt, stream};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, ResourceRule, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
    SelfSubjectRulesReview, SelfSubjectRulesReviewSpec,
};
use kube::{Api, Client, api::PostParams};

use crate::{answer, client::HEADER_TIMEOUT};

/// Rights that are asked for one by one, after the server's list of rules did not have them; further ones are
/// taken as missing. More than that are only missing where nearly all are.
pub const SINGLE_QUESTIONS: usize = 200;

/// Such questions at a time.
pub const QUESTIONS_AT_A_TIME: usize = 8;

/// One thing that somebody may do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Namespace; `None` for cluster-scoped resources and for all namespaces.
    pub namespace: Option<String>,
    /// API group; empty for the core group.
    pub group: String,
    /// Plural name, with a subresource after a slash.
    pub resource: String,
    /// Name of the one object that it is limited to.
    pub name: Option<String>,
    /// Verb.
    pub verb: String,
}

impl Right {
    /// Whether one of these rules grants it.
    fn is_in(&self, rules: &[ResourceRule]) -> bool {
        let has = |list: Option<&Vec<String>>, wanted: &str| {
            list.is_some_and(|list| list.iter().any(|one| one == wanted || one == "*"))
        };
        let subresource = self.resource.split_once('/').map(|(_, sub)| format!("*/{sub}"));
        rules.iter().any(|rule| {
            let names = rule.resource_names.as_deref().unwrap_or_default();
            has(Some(&rule.verbs), &self.verb)
                && has(rule.api_groups.as_ref(), &self.group)
                && (has(rule.resources.as_ref(), &self.resource)
                    || subresource
                        .as_ref()
                        .is_some_and(|sub| has(rule.resources.as_ref(), sub)))
                && (names.is_empty() || self.name.as_ref().is_some_and(|name| names.contains(name)))
        })
    }

    fn question(&self) -> ResourceAttributes {
        let (resource, subresource) = match self.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
            None => (self.resource.as_str(), None),
        };
        ResourceAttributes {
            group: Some(self.group.clone()),
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            resource: Some(resource.to_owned()),
            subresource,
            verb: Some(self.verb.clone()),
            ..ResourceAttributes::default()
        }
    }
}

/// What the right is about: resource, group, name, namespace.
impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => Ok(()),
        }
    }
}

/// Which of these rights the holder of `client` does not have. Rights without a namespace are looked for
/// among the rules of namespace `home` first, since the server lists rules by namespace only.
///
/// # Errors
/// If the server does not tell.
pub async fn missing(client: &Client, home: &str, wanted: Vec<Right>) -> Result<Vec<Right>, String> {
    let mut open = vec![];
    let namespaces: BTreeSet<&str> = wanted
        .iter()
        .map(|right| right.namespace.as_deref().unwrap_or(home))
        .collect();
    for namespace in namespaces {
        let rules = rules(client, namespace).await?;
        let here = wanted
            .iter()
            .filter(|right| right.namespace.as_deref().unwrap_or(home) == namespace);
        open.extend(here.filter(|right| !right.is_in(&rules)).cloned());
    }
    // The list need not be complete: other authorizers than RBAC may not tell theirs. The single answer
    // counts.
    let rest = open.split_off(open.len().min(SINGLE_QUESTIONS));
    let mut answers = stream::iter(open)
        .map(async |right| {
            let allowed = allowed(client, &right).await;
            (right, allowed)
        })
        .buffered(QUESTIONS_AT_A_TIME);
    let mut missing = vec![];
    while let Some((right, allowed)) = answers.next().await {
        if !allowed? {
            missing.push(right);
        }
    }
    missing.extend(rest);
    Ok(missing)
}

async fn rules(client: &Client, namespace: &str) -> Result<Vec<ResourceRule>, String> {
    let review = SelfSubjectRulesReview {
        spec: SelfSubjectRulesReviewSpec {
            namespace: Some(namespace.to_owned()),
        },
        ..SelfSubjectRulesReview::default()
    };
    let answer = ask(client, &review).await?;
    Ok(answer
        .status
        .map(|status| status.resource_rules)
        .unwrap_or_default())
}

async fn allowed(client: &Client, right: &Right) -> Result<bool, String> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(right.question()),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let answer = ask(client, &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

async fn ask<K>(client: &Client, review: &K) -> Result<K, String>
where
    K: kube::Resource<DynamicType = ()> + serde::Serialize + serde::de::DeserializeOwned + Clone + fmt::Debug,
{
    let api: Api<K> = Api::all(client.clone());
    match tokio::time::timeout(HEADER_TIMEOUT, api.create(&PostParams::default(), review)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(answer::causes(&error)),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(groups: &[&str], resources: &[&str], names: &[&str], verbs: &[&str]) -> ResourceRule {
        let list = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        ResourceRule {
            api_groups: Some(list(groups)),
            resources: Some(list(resources)),
            resource_names: Some(list(names)),
            verbs: list(verbs),
        }
    }

    #[test]
    fn rules_grant_what_they_say_and_no_more() {
        let right = |resource: &str, name: Option<&str>, verb: &str| Right {
            namespace: None,
            group: "g".to_owned(),
            resource: resource.to_owned(),
            name: name.map(str::to_owned),
            verb: verb.to_owned(),
        };
        let rules = [
            rule(&["g"], &["things"], &[], &["get", "list"]),
            rule(&["g"], &["named"], &["a"], &["*"]),
            rule(&["*"], &["*/status"], &[], &["patch"]),
        ];
        for (wanted, granted) in [
            (right("things", None, "get"), true),
            (right("things", Some("x"), "list"), true),
            (right("things", None, "watch"), false),
            (right("other", None, "get"), false),
            (right("named", Some("a"), "watch"), true),
            (right("named", Some("b"), "watch"), false),
            (right("named", None, "watch"), false),
            (right("things/status", None, "patch"), true),
            (right("things/scale", None, "patch"), false),
        ] {
            assert_eq!(wanted.is_in(&rules), granted, "{wanted:?}");
        }
        assert_eq!(right("things", None, "get").to_string(), "things.g");
        let mut named = right("named", Some("a"), "get");
        named.namespace = Some("ns".to_owned());
        assert_eq!(named.to_string(), "named.g \"a\" in namespace ns");
    }
}
