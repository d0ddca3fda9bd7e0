//! What all steps share: the world, the programs, and how they are shown.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use testkit::World;
use testkit::wait::PAUSE;
use testkit::world::condition_of;
use tokio::process::Command;

use super::operator::Place;
use super::table::Table;
use super::terminal::Terminal;

/// How long anything but the large package may take, on a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(90);
/// Pause between two looks at the packages that are shown while one waits.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// The host that the examples' packages are published at; the ImageConfig puts this world's registry in its
/// place.
pub(super) const PUBLISHED_AT: &str = "registry.nimbus.invalid";

/// What shows packages and revisions.
const PACKAGES: [&str; 2] = ["get", "packages,packagerevisions"];

/// The running demonstration.
pub(super) struct Stage<'a> {
    terminal: &'a mut Terminal,
    /// Declared first of what holds processes: operator and servers end before their folder goes.
    pub(super) world: World,
    pub(super) place: Place,
    pub(super) programs: Programs,
    folder: tempfile::TempDir,
    /// Packages and revisions as they were shown last.
    table: RefCell<Table>,
    /// CPU seconds of operators that ended.
    pub(super) spent: f64,
    /// UID of the custom resource that must survive everything.
    pub(super) office: String,
}

/// Ours, as built beside this program.
pub(super) struct Programs {
    pub(super) operator: PathBuf,
    gantry: PathBuf,
}

impl Programs {
    pub(super) fn find() -> Result<Self> {
        let here = std::env::current_exe().context("cannot tell where this program is")?;
        let beside = |name: &str| {
            let path = here.with_file_name(name);
            ensure!(
                path.exists(),
                "{} is not there: run `make demo`, which builds it",
                path.display()
            );
            Ok(path)
        };
        Ok(Self {
            operator: beside("gantry-operator")?,
            gantry: beside("gantry")?,
        })
    }
}

impl<'a> Stage<'a> {
    pub(super) fn new(terminal: &'a mut Terminal, world: World, place: Place) -> Result<Self> {
        Ok(Self {
            terminal,
            world,
            place,
            programs: Programs::find()?,
            folder: testkit::folder("demo")?,
            table: RefCell::default(),
            spent: 0.0,
            office: String::new(),
        })
    }

    pub(super) fn step(&mut self, title: &str) {
        self.terminal.step(title);
    }

    pub(super) fn holds(&mut self, shown: &str) {
        self.terminal.holds(shown);
    }

    pub(super) fn note(&self, text: &str) {
        self.terminal.note(text);
    }

    pub(super) fn command(&self, command: &str) {
        self.terminal.command(command);
    }

    pub(super) fn plain(&self, text: &str) {
        self.terminal.plain(text);
    }

    /// A folder for built packages.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs kubectl, shows the command and what it said.
    pub(super) async fn kubectl(&self, args: &[&str]) -> Result<()> {
        let shown: Vec<String> = args.iter().map(|a| quoted(a)).collect();
        self.terminal.command(&format!("kubectl {}", shown.join(" ")));
        let said = self.world.plane().kubectl(args).await?;
        self.terminal.output(&said);
        Ok(())
    }

    /// Applies a file of `examples/manifests`, with this world's registry in the place of the example's.
    pub(super) async fn apply(&self, file: &str) -> Result<()> {
        let path = testkit::tools::workspace().join("examples/manifests").join(file);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let text = text.replace("registry.local:5000", &self.world.registry().host());
        self.terminal
            .command(&format!("kubectl apply -f examples/manifests/{file}"));
        let said = self
            .world
            .plane()
            .try_kubectl(&["apply", "-f", "-"], Some(&text))
            .await?;
        if !said.success {
            bail!("kubectl apply -f {}: {}", path.display(), said.stderr.trim());
        }
        self.terminal.output(&said.stdout);
        Ok(())
    }

    /// Runs `gantry` in a folder, shows the command and what it said, answers the first digest in that.
    pub(super) async fn gantry(&self, within: &Path, args: &[&str]) -> Result<String> {
        let home = self.folder.path().display().to_string();
        let shown: Vec<String> = args.iter().map(|a| quoted(&a.replace(&home, "demo"))).collect();
        self.terminal.command(&format!("gantry {}", shown.join(" ")));
        let output = Command::new(&self.programs.gantry)
            .args(args)
            .current_dir(within)
            .env("NO_PROXY", "127.0.0.1")
            .kill_on_drop(true)
            .output()
            .await
            .context("cannot run gantry")?;
        let (said, problem) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        self.terminal
            .output(&format!("{problem}{said}").replace(&home, "demo"));
        ensure!(
            output.status.success(),
            "gantry {} ended with {}",
            args.join(" "),
            output.status
        );
        let digest = said.lines().find(|line| line.starts_with("sha256:"));
        Ok(digest
            .with_context(|| format!("no digest in what gantry said: {said}"))?
            .to_owned())
    }

    /// Waits until `holds`; meanwhile and at the end `kubectl get packages,packagerevisions` is shown.
    pub(super) async fn watch(
        &self,
        what: &str,
        timeout: Duration,
        holds: impl AsyncFn(&World) -> Result<bool>,
    ) -> Result<Duration> {
        let begun = Instant::now();
        // The first look comes while it happens.
        let mut next = begun + Duration::from_millis(300);
        while !holds(&self.world).await? {
            ensure!(
                begun.elapsed() < timeout,
                "{what}: not after {timeout:?}\n{}",
                self.state().await
            );
            if Instant::now() >= next {
                self.packages().await?;
                next = Instant::now() + SHOW_EVERY;
            }
            tokio::time::sleep(PAUSE).await;
        }
        let took = begun.elapsed();
        self.packages().await?;
        Ok(took)
    }

    /// Shows packages and revisions: what differs from what was shown last.
    pub(super) async fn packages(&self) -> Result<()> {
        let said = self.world.plane().kubectl(&PACKAGES).await?;
        let news = self.table.borrow_mut().news(&said);
        if !news.is_empty() {
            self.terminal.command("kubectl get packages,packagerevisions");
            self.terminal.output(&news);
        }
        Ok(())
    }

    /// Shows packages and revisions, all of them.
    pub(super) async fn all_packages(&self) -> Result<()> {
        *self.table.borrow_mut() = Table::default();
        self.packages().await
    }

    /// Whether a package has this condition with this status, for its present generation.
    pub(super) async fn is(&self, kind: &str, name: &str, condition: &str, status: &str) -> Result<bool> {
        is(&self.world, kind, name, condition, status).await
    }

    /// Fails unless a package has these conditions.
    pub(super) async fn expect(&self, kind: &str, name: &str, expected: &[(&str, &str)]) -> Result<()> {
        for (condition, status) in expected {
            ensure!(
                self.is(kind, name, condition, status).await?,
                "{kind} {name} should have {condition}={status}\n{}",
                self.state().await
            );
        }
        Ok(())
    }

    /// Fails unless the custom resource that was made after the first installation is still the same object.
    pub(super) async fn expect_office(&self) -> Result<()> {
        let uid = self
            .world
            .plane()
            .kubectl(&[
                "get",
                "networks.nimbus.example.org",
                "office",
                "-o",
                "jsonpath={.metadata.uid}",
            ])
            .await?;
        ensure!(
            uid == self.office,
            "the custom resource is another one: {uid}, not {}",
            self.office
        );
        Ok(())
    }

    /// For messages: conditions of everything, and the end of the operator's log.
    async fn state(&self) -> String {
        let args = ["get", "packages,packagerevisions", "-o", "yaml"];
        let objects = self.world.plane().kubectl(&args).await;
        let objects = objects.unwrap_or_else(|e| format!("{e:#}"));
        let log = self.world.operator_log_tail().await;
        format!("--- objects\n{objects}\n--- operator\n{log}")
    }

    /// The end: all times, and what the operator cost.
    pub(super) async fn summary(&mut self) -> Result<()> {
        self.plain("");
        self.all_packages().await?;
        self.terminal.table();
        let cost = self.operator_cost().await?;
        self.note(&cost);
        Ok(())
    }

    /// How to look at what runs.
    pub(super) fn look_around(&self) {
        let plane = self.world.plane();
        let (kubeconfig, tools) = (plane.kubeconfig(), self.world.plane().tools().folder());
        let cache = plane.folder().join("kubectl-cache");
        self.plain(&format!(
            "\nEverything is still running. In another terminal:\n\n  \
             export KUBECONFIG={} KUBECACHEDIR={} PATH={}:$PATH\n  \
             kubectl get packages,packagerevisions\n  \
             kubectl describe provider provider-nimbus\n  \
             kubectl get networks.nimbus.example.org\n{}\n\
             Registry: http://{}/v2/_catalog   Logs: {}\n\nCtrl-C stops everything and cleans up.",
            kubeconfig.display(),
            cache.display(),
            tools.display(),
            self.place.commands(),
            self.world.registry().outer_host(),
            plane
                .folder()
                .parent()
                .unwrap_or_else(|| plane.folder())
                .display(),
        ));
    }
}

/// Whether a package has this condition with this status, for its present generation.
pub(super) async fn is(world: &World, kind: &str, name: &str, condition: &str, status: &str) -> Result<bool> {
    let Some(object) = world.get(kind, name).await? else {
        return Ok(false);
    };
    let found = condition_of(&object, condition);
    let observed = found["observedGeneration"].as_i64();
    let current = observed.is_none() || observed >= object["metadata"]["generation"].as_i64();
    Ok(found["status"] == status && current)
}

/// The digest that a revision stands for.
pub(super) fn digest_of(revision: &Value) -> &str {
    revision["metadata"]["annotations"]["gantry.dev/digest"]
        .as_str()
        .unwrap_or_default()
}

/// The revision of a package that is active and in place, if exactly one is active.
pub(super) async fn serving(world: &World, kind: &str, name: &str) -> Result<Option<Value>> {
    let mut active = world.revisions(kind, name).await?;
    active.retain(|r| r["spec"]["desiredState"] == "Active");
    let one = active.len() == 1;
    Ok(active
        .pop()
        .filter(|r| one && condition_of(r, "RevisionHealthy")["status"] == "True"))
}

/// As a person would type it.
fn quoted(argument: &str) -> String {
    match argument.contains(['{', ' ', '"']) {
        true => format!("'{argument}'"),
        false => argument.to_owned(),
    }
}
