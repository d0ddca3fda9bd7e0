//! From flags to a running process, and its orderly end.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use api::pkg::PackageKind;
use clap::Parser;
use kit::admin::Admin;
use kit::events::Events;
use kit::fence::Fence;
use kit::lease::{self, Election, RivalLease, Rivals};
use kit::metrics::{Build, Leading, Metrics, Reconciles, WatchCounts, Writes};
use kit::queue::Queue;
use kit::reach::Reach;
use kit::ready::Readiness;
use kit::shutdown::Shutdown;
use kit::tasks::Tasks;
use kit::watch::Watches;
use kit::write::Writer;
use registry::{Client, ClientConfig, ConfigError, Proxies, Registry, Store, StoreConfig};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::args::Args;
use crate::beside::{Judge, Neighbours};
use crate::context::{Context, Options};
use crate::definitions::DefinitionMetrics;
use crate::lead::Lead;
use crate::metrics::{InMemory, PackageFigures, ReadyTimes, RegistryMetrics, StoreFigures, WorkFigures};
use crate::{preinstall, rights, wiring};

/// Runs the operator with the flags of this process.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return misread(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&anyhow::Error::new(error).context("threads can't be started")),
    };
    let ended = runtime.block_on(run(args));
    // What still hangs after the drain is given up.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&error),
    }
}

/// Help and version are printed as they are; a wrong command line is one sentence.
#[allow(
    clippy::print_stderr,
    reason = "a person is told what is wrong with the command line"
)]
fn misread(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let sentence = first.split_whitespace().collect::<Vec<_>>().join(" ");
    let sentence = sentence.trim_start_matches("error: ");
    eprintln!("gantry-operator: {sentence}; see --help");
    ExitCode::from(2)
}

/// One sentence on stderr.
#[allow(
    clippy::print_stderr,
    reason = "the one place where a person is told why the process ends"
)]
fn refuse(error: &anyhow::Error) -> ExitCode {
    eprintln!("gantry-operator: {error:#}");
    ExitCode::FAILURE
}

async fn run(args: Args) -> anyhow::Result<()> {
    let Args {
        client,
        namespace,
        service_account,
        xpkg_cache_dir,
        cache_size,
        ca_bundle_path,
        user_agent,
        plain_http,
        package_runtime,
        tag_poll_interval,
        sync_interval,
        max_concurrent_reconciles,
        max_concurrent_package_establishers,
        election,
        crds,
        crossplane_version,
        reference_namespace,
        reference_service_account,
        strict_lint,
        provider,
        configuration,
        function,
        ask_ready,
        admin,
        telemetry,
    } = args;
    if let Some(address) = ask_ready {
        return kit::admin::ask::ready(&address).await.map_err(anyhow::Error::msg);
    }
    let runtime = package_runtime;
    solve::Version::parse(&crossplane_version)
        .with_context(|| format!("--crossplane-version {crossplane_version:?} is no version"))?;
    let timing = election.timing()?;
    let packages = preinstall::all([
        (PackageKind::Provider, provider),
        (PackageKind::Configuration, configuration),
        (PackageKind::Function, function),
    ])?;
    let log = kit::telemetry::init(&telemetry)?;
    // Both TLS users of this process take the same provider; a second installation would be an error, not a danger.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let metrics = Metrics::new(
        "gantry",
        Build {
            version: env!("CARGO_PKG_VERSION"),
            revision: "",
        },
    );
    let registries = registries(&user_agent, ca_bundle_path.as_deref(), plain_http, &metrics)?;
    let shutdown = Shutdown::install()?;
    let elects = election.enabled(true);
    let fence = if elects { Fence::closed() } else { Fence::open() };
    // The lease has connections of its own: those of the rest break when it has lapsed.
    let leases = kit::client::connect(&client, &user_agent).await?;
    let reach = Reach::default();
    let client = kit::client::connect_behind(&client, &user_agent, &fence, &reach).await?;
    rights::check(&client, &namespace, elects, runtime.runs_any()).await?;

    let readiness = Readiness::default();
    // Watches, the admin server and the election outlive the controllers: they stop when these have drained.
    let late = CancellationToken::new();
    let base = Tasks::new(late.clone());
    let tasks = Tasks::new(shutdown.stopping.clone());
    let leading = readiness.part("leadership");
    let bound = Admin {
        metrics: metrics.clone(),
        readiness: readiness.clone(),
        log: Some(log),
    }
    .serve(&admin, &base)
    .await?;
    tracing::info!(metrics = %bound.metrics, probes = %bound.probes, version = env!("CARGO_PKG_VERSION"), "started");

    let registry = Registry::new(
        registries,
        Store::open(
            &xpkg_cache_dir,
            StoreConfig {
                max_bytes: cache_size,
                ..StoreConfig::default()
            },
        ),
    );
    StoreFigures::register(&metrics, registry.store().clone());

    Leading::register(&metrics, fence.clone());
    let writer = Writer::new(client.clone(), fence.clone(), Writes::register(&metrics));
    let watches = Watches::new(client.clone(), base.clone(), WatchCounts::register(&metrics));
    let caches = wiring::caches(&watches, &namespace, runtime.runs_any());
    caches.register(&readiness);
    let reconciles = Reconciles::register(&metrics);
    let identity = lease::identity();
    let (events, recorder) = Events::new(writer.clone(), "gantry", &identity, late.clone());
    base.spawn_job("events", recorder);
    let cx = Arc::new(Context {
        client: client.clone(),
        reach,
        writer,
        caches,
        registry,
        contents: Default::default(),
        freshness: Default::default(),
        pace: Default::default(),
        works: Default::default(),
        carriers: Default::default(),
        checks: Default::default(),
        packages: Queue::new("manager", Some(reconciles.clone())),
        revisions: Queue::new("revision", Some(reconciles.clone())),
        dependencies: Queue::new("dependencies", Some(reconciles.clone())),
        running: Queue::new("runtime", Some(reconciles)),
        runtimes: Default::default(),
        certificates_wanted: Default::default(),
        runtime_freshness: Default::default(),
        events,
        work_figures: WorkFigures::register(&metrics),
        ready_times: ReadyTimes::register(&metrics),
        requests: Arc::new(Semaphore::new(max_concurrent_package_establishers)),
        tasks: tasks.clone(),
        options: Options {
            namespace: namespace.clone(),
            service_account,
            runtime,
            crossplane_version,
            strict_lint,
            poll_interval: tag_poll_interval,
            sync_interval,
            packages,
        },
    });
    PackageFigures::register(&metrics, cx.clone());

    metrics.register(|shown| shown.register_collector(Box::new(InMemory(cx.clone()))));

    let elected = CancellationToken::new();
    let mut election = elects.then(|| {
        let election = Election::new(leases, &namespace, api::OPERATOR, identity, timing, fence);
        tokio::spawn(election.run(elected.clone()))
    });
    let judge = Judge {
        watches,
        writer: cx.writer.clone(),
        namespace: namespace.clone(),
        accounts: api::beside::accounts(&reference_namespace, &reference_service_account),
    };
    let references = reference_namespace.into_iter().map(|namespace| RivalLease {
        namespace,
        name: api::REFERENCE_LEASE.to_owned(),
    });
    let rivals = Rivals::start(client, &base, references.collect());
    let lead = Lead {
        cx: cx.clone(),
        tasks: tasks.clone(),
        neighbours: Neighbours::start(rivals, judge, &metrics, &base),
        mine: RivalLease {
            namespace,
            name: api::OPERATOR.to_owned(),
        },
        mode: crds,
        leading,
        definitions: DefinitionMetrics::register(&metrics),
    };
    tasks.spawn_fallible("lead", lead.run(max_concurrent_reconciles));

    let ended = tokio::select! {
        () = shutdown.stopping.cancelled() => Ok(()),
        failure = tasks.first_failure() => Err(anyhow::Error::new(failure)),
        failure = base.first_failure() => Err(anyhow::Error::new(failure)),
        lost = lost(&mut election) => lost,
    };
    shutdown.stopping.cancel();
    if !shutdown
        .drain(async { _ = tasks.drain(kit::shutdown::DRAIN_DEADLINE).await })
        .await
    {
        tracing::warn!("stopped with work under way; it is taken up again by whoever leads next");
    }
    // The lease goes last, when nothing writes any more.
    elected.cancel();
    if let Some(election) = election {
        let _ = tokio::time::timeout(lease::LEASE_TIMEOUT, election).await;
    }
    late.cancel();
    ended
}

/// Ends when leadership is lost; never without an election.
async fn lost(
    election: &mut Option<tokio::task::JoinHandle<Result<(), lease::LeaseError>>>,
) -> anyhow::Result<()> {
    let Some(running) = election else {
        return std::future::pending().await;
    };
    let ended = running.await;
    *election = None;
    Ok(ended.context("the election panicked")??)
}

/// The client for registries; that its certificates can't be read is known before anything else is begun.
fn registries(
    user_agent: &str,
    ca_bundle: Option<&Path>,
    plain_http: Vec<String>,
    metrics: &Metrics,
) -> anyhow::Result<Client> {
    let unreadable = |path: &Path| format!("the CA bundle {} can't be read", path.display());
    let bytes = match ca_bundle {
        Some(path) => Some(std::fs::read(path).with_context(|| unreadable(path))?),
        None => None,
    };
    let config = ClientConfig {
        user_agent: user_agent.to_owned(),
        ca_bundle: bytes,
        plain_http_hosts: plain_http.into_iter().collect(),
        proxies: Proxies::from_env(|name| std::env::var(name).ok())?,
        metrics: Arc::new(RegistryMetrics::register(metrics)),
        clock: Arc::new(kit::clock::steady),
        ..ClientConfig::default()
    };
    Client::new(config).map_err(|error| match (&error, ca_bundle) {
        (
            ConfigError::CaBundle { .. } | ConfigError::EmptyCaBundle | ConfigError::LargeCaBundle,
            Some(path),
        ) => anyhow::Error::new(error).context(unreadable(path)),
        _ => error.into(),
    })
}
