//! The place in the machine's control groups under which a node's pods have theirs.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::process::start_time;

/// Where the hierarchies are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// Start of the names; the rest tells whose it is: process id, its start time, a number.
const PREFIX: &str = "gantry-node-";
/// How long processes that were killed may take to leave their group.
const EMPTY: Duration = Duration::from_secs(10);

/// One directory in each hierarchy; all are removed when this is dropped, at the latest when the test process
/// has died or the next node starts.
#[derive(Debug)]
pub(super) struct Cgroup {
    name: String,
    folders: Vec<PathBuf>,
    /// Its end tells the janitor that this process is gone.
    _janitor: Option<ChildStdin>,
}

impl Cgroup {
    /// Makes the directories, and removes those whose owner is gone.
    pub(super) fn new() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        sweep();
        let me = std::process::id();
        let started = start_time(me).context("cannot read /proc/self/stat")?;
        let name = format!("{PREFIX}{me}-{started}-{}", NUMBER.fetch_add(1, Ordering::SeqCst));
        let hierarchies = hierarchies()?;
        let mut group = Self {
            folders: hierarchies.iter().map(|h| h.join(&name)).collect(),
            name,
            _janitor: None,
        };
        group._janitor = Some(janitor(&group.folders)?);
        for folder in &group.folders {
            fs::create_dir(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(group)
    }

    /// As the kubelet's `cgroupRoot` has it.
    pub(super) fn path(&self) -> String {
        format!("/{}", self.name)
    }

    /// Process ids, as the machine sees them, in groups whose path ends with `suffix`.
    pub(super) fn processes(&self, suffix: &str) -> Vec<u32> {
        let mut found = Vec::new();
        for folder in self.folders.iter().flat_map(|f| tree(f)) {
            if folder.to_string_lossy().ends_with(suffix) {
                found.extend(members(&folder));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The directories.
    pub(super) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Removes the directories.
    ///
    /// # Errors
    /// When there are still processes in them after a while.
    pub(super) fn remove(&self) -> Result<()> {
        let deadline = Instant::now() + EMPTY;
        loop {
            let left: Vec<PathBuf> = self.folders.iter().filter(|f| !remove(f)).cloned().collect();
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("cannot remove {left:?}: there are still processes in them");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.remove().ok();
    }
}

/// One hierarchy on version 2; one per controller on version 1.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let root = Path::new(ROOT);
    if root.join("cgroup.controllers").exists() {
        enable(root)?;
        return Ok(vec![root.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(root).with_context(|| format!("cannot read {ROOT}"))? {
        // `cpu` may be a link to `cpu,cpuacct`.
        let entry = entry?;
        if entry.file_type()?.is_dir() && entry.path().join("cgroup.procs").exists() {
            found.push(entry.path());
        }
    }
    if found.is_empty() {
        bail!("no control groups are mounted at {ROOT}: a node needs them");
    }
    Ok(found)
}

/// Lets groups below the root of version 2 have the controllers that it has, as the kubelet does.
fn enable(root: &Path) -> Result<()> {
    let controllers = fs::read_to_string(root.join("cgroup.controllers"))?;
    let control = root.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&control)?;
    for controller in controllers.split_whitespace() {
        if !enabled.split_whitespace().any(|e| e == controller) {
            fs::write(&control, format!("+{controller}"))
                .with_context(|| format!("cannot enable {controller} in {}", control.display()))?;
        }
    }
    Ok(())
}

/// The directory and all below it, deepest first.
fn tree(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            found.extend(tree(&entry.path()));
        }
    }
    found.push(folder.to_owned());
    found
}

fn members(folder: &Path) -> Vec<u32> {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Whether the directory is gone now.
fn remove(folder: &Path) -> bool {
    for folder in tree(folder) {
        fs::remove_dir(folder).ok();
    }
    matches!(fs::symlink_metadata(folder), Err(error) if error.kind() == ErrorKind::NotFound)
}

/// Whether the process that made a directory of this name is gone.
fn is_stale(name: &str) -> bool {
    let mut parts = name.strip_prefix(PREFIX).unwrap_or_default().split('-');
    let (Some(Ok(pid)), Some(Ok(started))) = (parts.next().map(str::parse), parts.next().map(str::parse))
    else {
        return false;
    };
    start_time(pid) != Some(started)
}

/// Removes what owners left who died together with their janitors. Processes in it would be of a namespace
/// that outlived its owner, which the kernel does not allow; should there be any, they are ended.
fn sweep() {
    let Ok(hierarchies) = hierarchies() else { return };
    for entry in hierarchies
        .iter()
        .flat_map(|h| fs::read_dir(h).into_iter().flatten().flatten())
    {
        if !is_stale(&entry.file_name().to_string_lossy()) {
            continue;
        }
        for pid in tree(&entry.path()).iter().flat_map(|f| members(f)) {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                kill_process(pid, Signal::KILL).ok();
            }
        }
        remove(&entry.path());
    }
}

/// Waits for the end of its input, then removes the directories that it was given, for 10 s at most.
const JANITOR: &str = r#"
cat >/dev/null
for _ in $(seq 100); do
    left=
    for folder; do
        [ -d "$folder" ] || continue
        find "$folder" -depth -type d -exec rmdir {} \;
        [ ! -d "$folder" ] || left=yes
    done
    [ "$left" ] || exit 0
    sleep 0.1
done"#;

/// A process that removes the directories when this one is gone. The kernel ends what is in them meanwhile.
fn janitor(folders: &[PathBuf]) -> Result<ChildStdin> {
    let mut janitor = Command::new("sh")
        .args(["-c", JANITOR, "janitor"])
        .args(folders)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot start sh to clean up later")?;
    janitor.stdin.take().context("a janitor without input")
}
