//! What it ran on.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use testkit::Tools;

/// The machine and the programs.
pub(crate) struct Machine {
    cores: usize,
    cpu: String,
    memory_gib: f64,
    kernel: String,
    load: String,
    kubernetes: String,
    etcd: String,
    gantry: String,
}

/// Looks at the machine.
pub(crate) fn describe(operator: &Path) -> Result<Machine> {
    let tools = Tools::find()?;
    let read = |path: &str| std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':'));
        value.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let memory = field(&read("/proc/meminfo")?, "MemTotal");
    let kib: f64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
    Ok(Machine {
        cores: std::thread::available_parallelism()?.get(),
        cpu: field(&read("/proc/cpuinfo")?, "model name"),
        memory_gib: kib / f64::from(1 << 20),
        kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        load: read("/proc/loadavg")?
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned(),
        kubernetes: version(&tools.path("kube-apiserver"))?,
        etcd: version(&tools.path("etcd"))?,
        gantry: version(operator)?,
    })
}

/// The first line that a program prints about its version.
fn version(program: &Path) -> Result<String> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

impl Machine {
    /// All in one line.
    pub(crate) fn line(&self) -> String {
        let Self {
            cores,
            cpu,
            memory_gib,
            kernel,
            load,
            kubernetes,
            etcd,
            gantry,
        } = self;
        format!(
            "{cores} cores ({cpu}), {memory_gib:.0} GiB, Linux {kernel}, load {load} at the start; {kubernetes}; {etcd}; \
             {gantry}"
        )
    }

    /// Whether it is like the machine of the reference figures: only then they can be compared.
    pub(crate) fn is_like_reference(&self) -> bool {
        self.cores == 2
    }

    /// Whether others were at work when the run began.
    pub(crate) fn was_busy(&self) -> bool {
        self.load.parse::<f64>().is_ok_and(|load| load > 0.5)
    }
}
