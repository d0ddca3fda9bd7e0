//! Which image is really fetched, and with whose credentials: ImageConfigs and pull secrets (behaviour 5).

use std::time::Duration;

use api::condition::Reason;
use api::image_config::{Applied, ImageConfigs};
use api::pkg::LocalObjectReference;
use kit::read;
use kit::resource::{Resource, Target};
use oci::Reference;
use registry::{Keychain, PullSecret, SecretKind};
use serde_json::Value;

use crate::context::Context;
use crate::manager::check::Trouble;
use crate::manager::plan::EffectiveImage;

/// Reading the secrets of one question may take this long: they are small and near.
pub(crate) const SECRETS_TIMEOUT: Duration = Duration::from_secs(10);

const SECRETS: Resource = Resource::new("", "v1", "secrets", "Secret");
const SERVICE_ACCOUNTS: Resource = Resource::new("", "v1", "serviceaccounts", "ServiceAccount");

fn terminal(reason: Reason, message: String) -> Trouble {
    Trouble {
        reason,
        message,
        terminal: true,
        not_before: None,
    }
}

/// Applies ImageConfigs to a reference, from the cache: a changed ImageConfig counts at once.
pub(crate) fn effective(
    cx: &Context,
    image: &str,
    secrets: Option<&[LocalObjectReference]>,
) -> Result<EffectiveImage, Trouble> {
    let applied = apply(cx, image)?;
    let reference = Reference::parse(&applied.resolved).map_err(|error| {
        let what = match applied.resolved == image {
            true => format!("cannot parse package reference {image}: {error}"),
            false => format!(
                "cannot parse resolved package reference {}: {error}",
                applied.resolved
            ),
        };
        terminal(Reason::InvalidReference, what)
    })?;
    let credentials = secret_names(secrets, &applied)
        .into_iter()
        .map(|name| match cx.caches.secrets.get(&name) {
            Some(meta) => format!("{name}@{}", meta.resource_version),
            None => name,
        })
        .collect::<Vec<_>>()
        .join(",");
    Ok(EffectiveImage {
        reference,
        applied: applied.refs,
        credentials,
    })
}

/// All ImageConfigs, as they are now.
pub(crate) fn configs(cx: &Context) -> ImageConfigs<Config> {
    cx.caches.image_configs.all().into_iter().map(Config).collect()
}

fn apply(cx: &Context, image: &str) -> Result<Applied, Trouble> {
    configs(cx).apply(image).map_err(|error| {
        terminal(
            Reason::InvalidImageConfig,
            format!("cannot get image rewrite config for {image}: {error}"),
        )
    })
}

/// A cached config, seen through a reference count.
pub(crate) struct Config(std::sync::Arc<api::image_config::ImageConfig>);

impl std::borrow::Borrow<api::image_config::ImageConfig> for Config {
    fn borrow(&self) -> &api::image_config::ImageConfig {
        &self.0
    }
}

fn secret_names(secrets: Option<&[LocalObjectReference]>, applied: &Applied) -> Vec<String> {
    let mut names: Vec<String> = secrets
        .into_iter()
        .flatten()
        .map(|s| s.name.clone())
        .chain(applied.pull_secret.clone())
        .filter(|name| !name.is_empty())
        .collect();
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// Names of the secrets that an image is pulled with: the package's, then the ImageConfig's. An ImageConfig that can't be
/// used names none.
pub(crate) fn pull_secrets(
    cx: &Context,
    image: &str,
    secrets: Option<&[LocalObjectReference]>,
) -> Vec<String> {
    secret_names(secrets, &apply(cx, image).unwrap_or_default())
}

/// Whether a secret is among those that a reference is fetched with, but for those of our service account.
pub(crate) fn names_secret(
    cx: &Context,
    image: &str,
    secrets: Option<&[LocalObjectReference]>,
    name: &str,
) -> bool {
    apply(cx, image).is_ok_and(|applied| secret_names(secrets, &applied).iter().any(|used| used == name))
}

/// Reads the credentials for one question: the package's secrets, the ImageConfig's, then those of our service account.
/// Secrets that don't exist are left out, as in the reference; the registry's answer then says what is missing.
pub(crate) async fn keychain(
    cx: &Context,
    image: &str,
    secrets: Option<&[LocalObjectReference]>,
) -> Result<Keychain, Trouble> {
    let read = read_secrets(cx, image, secrets);
    match tokio::time::timeout(SECRETS_TIMEOUT, read).await {
        Ok(keychain) => keychain,
        Err(_) => Err(waiting(format!(
            "the pull secrets for {image} could not be read in time"
        ))),
    }
}

fn waiting(message: String) -> Trouble {
    Trouble {
        reason: Reason::InvalidPullSecret,
        message,
        terminal: false,
        not_before: None,
    }
}

async fn read_secrets(
    cx: &Context,
    image: &str,
    secrets: Option<&[LocalObjectReference]>,
) -> Result<Keychain, Trouble> {
    let mut names = secret_names(secrets, &apply(cx, image)?);
    let account = Target::namespaced(
        SERVICE_ACCOUNTS,
        &cx.options.namespace,
        &cx.options.service_account,
    );
    match read::value(&cx.client, &account).await {
        Ok(account) => {
            let more = account
                .as_ref()
                .and_then(|a| a.get("imagePullSecrets"))
                .and_then(Value::as_array);
            names.extend(
                more.into_iter()
                    .flatten()
                    .filter_map(|s| s.get("name")?.as_str().map(str::to_owned)),
            );
        }
        Err(error) => tracing::warn!(%error, "the service account's pull secrets are not used"),
    }
    let mut found = vec![];
    for name in names {
        let target = Target::namespaced(SECRETS, &cx.options.namespace, &name);
        match read::value(&cx.client, &target).await {
            Ok(Some(secret)) => found.extend(pull_secret(&name, &secret)),
            Ok(None) => {}
            Err(error) => return Err(waiting(format!("pull secret {name} could not be read: {error}"))),
        }
    }
    let (keychain, problems) = Keychain::from_secrets(&found);
    for problem in problems {
        tracing::warn!(%image, %problem, "a pull secret is not used in full");
    }
    Ok(keychain)
}

/// Secrets of other types are ignored, as in the reference.
fn pull_secret(name: &str, secret: &Value) -> Option<PullSecret> {
    let (kind, key) = match secret.get("type")?.as_str()? {
        "kubernetes.io/dockerconfigjson" => (SecretKind::DockerConfigJson, ".dockerconfigjson"),
        "kubernetes.io/dockercfg" => (SecretKind::DockerCfg, ".dockercfg"),
        _ => return None,
    };
    let data: k8s_openapi::ByteString = serde_json::from_value(secret.get("data")?.get(key)?.clone()).ok()?;
    Some(PullSecret {
        name: name.to_owned(),
        kind,
        data: data.0,
    })
}

/// A registry's error as the trouble of a package.
pub(crate) fn trouble(error: &registry::Error, now: jiff::Timestamp) -> Trouble {
    let not_before = match error {
        registry::Error::RateLimited { until, .. } => Some(*until),
        _ => None,
    };
    Trouble {
        reason: reason(error.reason()),
        message: error.to_string(),
        terminal: !error.is_transient() && not_before.is_none_or(|at| at <= now),
        not_before,
    }
}

/// The same for pull policy `Never`, under which nothing but the store is asked (the reference's words come first).
pub(crate) fn not_stored(error: &registry::Error, now: jiff::Timestamp) -> Trouble {
    let mut trouble = trouble(error, now);
    trouble.message = format!(
        "package not in cache and pull policy is Never: {}",
        trouble.message
    );
    trouble
}

/// The condition's word for each thing that a registry can do wrong.
fn reason(reason: registry::Reason) -> Reason {
    use registry::Reason as R;
    match reason {
        R::InvalidReference => Reason::InvalidReference,
        R::HostNotFound => Reason::HostUnknown,
        R::ConnectionFailed | R::ProxyRefused => Reason::Unreachable,
        R::TlsUnknownAuthority | R::TlsNameMismatch | R::TlsFailed => Reason::TlsFailed,
        R::Unauthenticated | R::CredentialsRefused | R::Forbidden => Reason::Unauthorized,
        R::NotFound => Reason::NotFound,
        R::DigestMismatch | R::SizeMismatch => Reason::ContentMismatch,
        R::TooLarge => Reason::LimitExceeded,
        R::RateLimited => Reason::RateLimited,
        R::Timeout => Reason::TimedOut,
        R::StoreMiss => Reason::NotInStore,
        R::NoPlatform | R::UnsupportedMediaType | R::InvalidManifest => Reason::InvalidPackage,
        _ => Reason::RegistryFailed,
    }
}
