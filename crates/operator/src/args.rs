//! Flags and environment of `gantry-operator`: the reference's names where they mean the same (behaviour 7.3).

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::preinstall::Wanted;
use crate::quantity;
use crate::runtime_mode::PackageRuntime;

/// The Gantry operator: installs, upgrades, checks and removes packages.
#[derive(Clone, Debug, Parser)]
#[command(name = "gantry-operator", version, about, max_term_width = 110)]
#[allow(clippy::struct_excessive_bools, reason = "flags are what they are")]
pub struct Args {
    /// How to reach the API server.
    #[command(flatten)]
    pub client: kit::client::ClientArgs,

    /// Namespace of this operator: pull secrets are read there, its Lease lives there.
    #[arg(short = 'n', long, env = "POD_NAMESPACE", default_value = api::DEFAULT_NAMESPACE, value_parser = label)]
    pub namespace: String,

    /// Service account whose imagePullSecrets are used beside those of packages.
    #[arg(long, env = "POD_SERVICE_ACCOUNT", default_value = api::OPERATOR)]
    pub service_account: String,

    /// Folder of the content store. Losing it costs time, nothing else.
    #[arg(
        short = 'c',
        long,
        visible_alias = "cache-dir",
        env = "XPKG_CACHE_DIR",
        default_value = "/cache/xpkg",
        value_name = "DIR"
    )]
    pub xpkg_cache_dir: PathBuf,

    /// Bytes that the content store may use; what active revisions need is kept beyond that.
    #[arg(long, default_value = "1Gi", value_parser = quantity::bytes, value_name = "BYTES")]
    pub cache_size: u64,

    /// PEM file with certificates to trust beside the system's when speaking to registries.
    #[arg(long, env = "CA_BUNDLE_PATH", value_name = "FILE")]
    pub ca_bundle_path: Option<PathBuf>,

    /// User agent for registries and the API server.
    #[arg(long, env = "USER_AGENT", default_value = concat!("gantry/", env!("CARGO_PKG_VERSION")))]
    pub user_agent: String,

    /// Registry host (host or host:port) that is spoken to without TLS. May be given several times; loopback needs none.
    #[arg(long = "plain-http", value_name = "HOST")]
    pub plain_http: Vec<String>,

    /// Who runs the controllers of packages: `None`, `External`, or per kind `Provider=External;Function=None`.
    #[arg(long, env = "PACKAGE_RUNTIME", default_value = "None")]
    pub package_runtime: PackageRuntime,

    /// Pause between polls of a tag for packages with pull policy Always, seconds.
    #[arg(long, default_value = "60s", value_parser = pause, value_name = "TIME")]
    pub tag_poll_interval: Duration,

    /// Every package and revision is looked at again after this time even if nothing happened.
    #[arg(short = 's', long, default_value = "1h", value_parser = pause, value_name = "TIME")]
    pub sync_interval: Duration,

    /// Packages and revisions worked on at the same time.
    #[arg(long, visible_alias = "max-reconcile-rate", default_value_t = 16, value_parser = workers)]
    pub max_concurrent_reconciles: usize,

    /// Requests to the API server that establish objects at the same time, over all packages.
    #[arg(long, default_value_t = 8, value_parser = establishers)]
    pub max_concurrent_package_establishers: usize,

    /// Only one of several replicas works.
    #[command(flatten)]
    pub election: kit::lease::ElectionArgs,

    /// Write our CRDs at start (`apply`), or only look whether they are there (`check`).
    #[arg(long, value_enum, default_value_t = Crds::Apply)]
    pub crds: Crds,

    /// Version that Gantry counts as when a package states a crossplane.version constraint.
    #[arg(long, default_value = api::CROSSPLANE_VERSION)]
    pub crossplane_version: String,

    /// Namespace in which a package manager of the reference would hold its Lease. May be given several times.
    #[arg(long, default_value = api::REFERENCE_NAMESPACE, value_name = "NAMESPACE", value_parser = label)]
    pub reference_namespace: Vec<String>,

    /// Service account of the reference in these namespaces, which the admission policy must cover for Gantry to lead beside
    /// it. May be given several times.
    #[arg(long, default_values = api::REFERENCE_SERVICE_ACCOUNTS, value_name = "NAME")]
    pub reference_service_account: Vec<String>,

    /// Refuse packages that contain objects of kinds not allowed in their type, instead of leaving those objects out.
    #[arg(long)]
    pub strict_lint: bool,

    /// Provider to install at start: a reference, or JSON `{"package": …, "name": …, "packagePullPolicy": …}` with the
    /// fields of its spec. May be given several times.
    #[arg(long, value_name = "PACKAGE")]
    pub provider: Vec<Wanted>,

    /// Configuration to install at start, as `--provider`.
    #[arg(long, value_name = "PACKAGE")]
    pub configuration: Vec<Wanted>,

    /// Function to install at start, as `--provider`.
    #[arg(long, value_name = "PACKAGE")]
    pub function: Vec<Wanted>,

    /// Do nothing but ask the operator whose probes are at this address whether it is ready, and end.
    #[arg(long, value_name = "HOST:PORT")]
    pub ask_ready: Option<String>,

    /// Where metrics and probes are served.
    #[command(flatten)]
    pub admin: kit::admin::AdminArgs,

    /// Log lines as JSON or as text.
    #[command(flatten)]
    pub telemetry: kit::telemetry::TelemetryArgs,
}

/// Most requests that establish objects at a time: beyond them the API server's own work is what takes the time.
pub const MOST_ESTABLISHERS: usize = 64;
/// Shortest pause between polls and between looks at everything: less is a mistake and not a wish.
pub const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

fn count(text: &str, most: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=most).contains(&count) => Ok(count),
        _ => Err(format!("it takes a number from 1 to {most}")),
    }
}

fn workers(text: &str) -> Result<usize, String> {
    count(text, kit::queue::MOST_WORKERS)
}

fn establishers(text: &str) -> Result<usize, String> {
    count(text, MOST_ESTABLISHERS)
}

fn pause(text: &str) -> Result<Duration, String> {
    let pause = kit::span::parse(text)?;
    if pause < SHORTEST_PAUSE {
        return Err(format!("it takes at least {} s", SHORTEST_PAUSE.as_secs()));
    }
    Ok(pause)
}

/// What can be the name of a namespace.
fn label(text: &str) -> Result<String, String> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let sound = !text.is_empty() && text.len() <= 63 && text.bytes().all(fits);
    if !sound || text.starts_with('-') || text.ends_with('-') {
        return Err("a namespace has 1 to 63 lower-case letters, digits and hyphens".to_owned());
    }
    Ok(text.to_owned())
}

/// What happens to our own CRDs at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Crds {
    /// The leader writes them; never downgrades.
    Apply,
    /// They are never written; what is missing is named.
    Check,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_the_reference_are_understood() {
        let args = [
            "gantry-operator",
            "-n",
            "ns",
            "-c",
            "/tmp/x",
            "--package-runtime=Function=External",
            "-l",
        ];
        let args = Args::parse_from(args);
        assert_eq!(
            (args.namespace.as_str(), args.election.enabled(false)),
            ("ns", true)
        );
        assert!(
            !Args::parse_from(["gantry-operator", "--leader-election=false"])
                .election
                .enabled(true)
        );
        assert!(Args::try_parse_from(["gantry-operator", "--package-runtime=Nope"]).is_err());
        let packages = [
            "gantry-operator",
            "--provider",
            "r.example.org/a:v1",
            r#"--function={"package": "r.example.org/b:v1", "name": "b"}"#,
            "--provider=r.example.org/c:v1",
        ];
        let args = Args::parse_from(packages);
        assert_eq!(
            (args.provider.len(), args.function.len(), args.cache_size),
            (2, 1, 1 << 30)
        );
    }

    #[test]
    fn what_a_flag_can_not_mean_is_refused() {
        let parse = |flag: &str| Args::try_parse_from(["gantry-operator", flag]);
        for (flag, part) in [
            ("--max-concurrent-reconciles=0", "1 to 256"),
            ("--max-concurrent-reconciles=257", "1 to 256"),
            ("--max-concurrent-package-establishers=0", "1 to 64"),
            ("--max-concurrent-package-establishers=65", "1 to 64"),
            ("--tag-poll-interval=0s", "at least 1 s"),
            ("--sync-interval=10ms", "at least 1 s"),
            ("--namespace=", "1 to 63"),
            ("--namespace=Upper", "lower-case"),
            ("--reference-namespace=a/b", "lower-case"),
        ] {
            let said = parse(flag).unwrap_err().to_string();
            assert!(said.contains(part), "{flag}: {said}");
        }
        let args = parse("--max-concurrent-package-establishers=64").unwrap();
        assert_eq!(args.reference_service_account, api::REFERENCE_SERVICE_ACCOUNTS);
        assert!(parse("--namespace=a-1").is_ok() && parse("--tag-poll-interval=1s").is_ok());
    }
}
