//! Child processes that never outlive the test process.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

/// How often a waiting test looks whether a child has ended.
const POLL: Duration = Duration::from_millis(10);
/// How long all threads may take to stand still after SIGSTOP: those in a system call finish it first.
const STOPPED: Duration = Duration::from_secs(5);
/// How long a wrapper may take to start what it wraps, and a killed process to be gone.
const MOMENT: Duration = Duration::from_secs(5);
/// How much of the end of a log goes into an error message: enough for a panic and what came before it.
const LOG_TAIL: u64 = 8 << 10;

/// What to start.
#[derive(Clone, Debug)]
pub struct Spec {
    /// For messages: `kube-apiserver`.
    pub name: String,
    /// Path of the program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Environment variables that are set (beside the inherited ones).
    pub env: Vec<(String, OsString)>,
    /// Where both output streams are appended.
    pub log: PathBuf,
    /// How long the process may take to end after SIGTERM when the handle is dropped; zero: SIGKILL at once.
    pub grace: Duration,
    /// What it is started through, if anything.
    pub wrapper: Option<Wrapper>,
}

/// A program that starts another one in other namespaces: `nsenter`, `unshare`.
#[derive(Clone, Debug)]
pub struct Wrapper {
    /// The program and its arguments, without those of what it starts.
    pub command: Vec<OsString>,
    /// Whether it stays, as the parent of what it starts; else it becomes that. Signals and figures are those
    /// of the child.
    pub stays: bool,
}

impl Spec {
    /// A process without arguments that is killed at once when dropped.
    pub fn new(name: &str, program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            log: log.into(),
            grace: Duration::ZERO,
            wrapper: None,
        }
    }

    /// Starts it through another program.
    pub fn through(mut self, wrapper: Wrapper) -> Self {
        self.wrapper = Some(wrapper);
        self
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }
}

/// A running (or ended) child process; ended when dropped.
#[derive(Debug)]
pub struct Process {
    spec: Spec,
    pid: Pid,
    child: Arc<Mutex<Child>>,
    /// The child of a wrapper that stays.
    inner: Option<Arc<OwnedFd>>,
}

/// Kills one process.
#[derive(Clone, Debug)]
pub struct Killer {
    child: Arc<Mutex<Child>>,
    inner: Option<Arc<OwnedFd>>,
}

impl Killer {
    /// Sends SIGKILL and waits for the end. It may have ended already.
    pub fn kill(&self) -> Result<()> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if child.try_wait()?.is_none() {
            if let Some(inner) = &self.inner {
                end_wrapped(inner, &mut child)?;
            }
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }
}

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// The thread that starts all children. The kernel sends the parent-death signal when the *thread* that
/// started the child ends, and test threads end with their test.
static SPAWNER: LazyLock<mpsc::Sender<Order>> = LazyLock::new(|| {
    let (sender, orders) = mpsc::channel::<Order>();
    std::thread::Builder::new()
        .name("testkit-spawner".to_owned())
        .spawn(move || {
            for (mut command, reply) in orders {
                reply.send(command.spawn()).ok();
            }
        })
        .expect("a thread can be started");
    sender
});

impl Process {
    /// Starts a process. It is killed by the kernel when the test process dies.
    pub fn start(spec: Spec) -> Result<Self> {
        let name = &spec.name;
        if !spec.program.exists() {
            bail!("cannot start {name}: {} does not exist", spec.program.display());
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&spec.log)
            .with_context(|| format!("cannot open the log {} of {name}", spec.log.display()))?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .args(spec.wrapper.iter().flat_map(|w| &w.command))
            .arg(&spec.program)
            .args(&spec.args)
            .envs(spec.env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let (reply, answer) = mpsc::channel();
        SPAWNER
            .send((command, reply))
            .map_err(|_| anyhow!("the thread that starts processes is gone"))?;
        let mut child = answer
            .recv()
            .context("the thread that starts processes is gone")?
            .with_context(|| {
                format!("cannot start {name}: this needs setpriv (Debian package util-linux)")
            })?;
        let mut pid = pid_of(child.id())?;
        let mut inner = None;
        if spec.wrapper.as_ref().is_some_and(|w| w.stays) {
            pid = wrapped(&mut child).with_context(|| {
                let log = tail(&spec.log).unwrap_or_default();
                format!("cannot start {name}; the end of its log:\n{log}")
            })?;
            inner = Some(Arc::new(pidfd_open(pid, PidfdFlags::empty())?));
        }
        Ok(Self {
            spec,
            pid,
            child: Arc::new(Mutex::new(child)),
            inner,
        })
    }

    /// For messages.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// How it was started.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The log file.
    pub fn log(&self) -> &Path {
        &self.spec.log
    }

    /// The end of the log, for messages.
    pub fn log_tail(&self) -> String {
        tail(&self.spec.log).unwrap_or_else(|e| format!("(no log: {e})"))
    }

    /// How it ended; `None` while it runs.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .try_wait()
            .ok()
            .flatten()
    }

    /// Whether it still runs (also when stopped by SIGSTOP).
    pub fn is_running(&self) -> bool {
        self.exit_status().is_none()
    }

    /// Sends SIGTERM.
    pub fn term(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&self) -> Result<()> {
        self.killer().kill()
    }

    /// A handle that can kill it and nothing else, for hooks that outlive a borrow.
    pub fn killer(&self) -> Killer {
        Killer {
            child: self.child.clone(),
            inner: self.inner.clone(),
        }
    }

    /// Freezes it (SIGSTOP): sockets stay open, nothing answers. It stands still when this returns.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        // The signal reaches the threads one by one; until then they answer.
        let deadline = Instant::now() + STOPPED;
        while !self.all_threads_stopped()? {
            if Instant::now() >= deadline {
                bail!(
                    "{} does not stand still {STOPPED:?} after SIGSTOP",
                    self.spec.name
                );
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Lets a frozen one go on (SIGCONT).
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `timeout`.
    pub async fn wait(&self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.exit_status() {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("{} still runs after {timeout:?}", self.spec.name);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// CPU time used so far by all its threads, user and system, in seconds.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let path = format!("/proc/{}/stat", self.pid());
        let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        // proc_pid_stat(5): the second field is the name in parentheses, utime and stime are fields 14 and
        // 15.
        let ticks: Option<u64> = stat.rsplit_once(") ").and_then(|(_, rest)| {
            let mut fields = rest.split_whitespace().skip(11);
            Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
        });
        let ticks = ticks.with_context(|| format!("{path} is not as expected"))?;
        Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Resident memory now, in bytes.
    pub fn rss(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most resident memory it ever had (VmHWM), in bytes.
    pub fn vm_hwm(&self) -> Result<u64> {
        self.memory("VmHWM:")
    }

    fn all_threads_stopped(&self) -> Result<bool> {
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            // A thread may end meanwhile.
            let Ok(stat) = std::fs::read_to_string(thread?.path().join("stat")) else {
                continue;
            };
            if !stat
                .rsplit_once(") ")
                .is_some_and(|(_, state)| state.starts_with('T'))
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn memory(&self, field: &str) -> Result<u64> {
        memory(self.pid(), field).with_context(|| format!("has {} ended?", self.spec.name))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        // Under the lock nobody reaps the child, so that its pid cannot have become somebody else's.
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(status) = child.try_wait()? {
            bail!("{} has ended already: {status}", self.spec.name);
        }
        let sent = match &self.inner {
            None => kill_process(self.pid, signal),
            Some(inner) => {
                // The wrapper stops with its child, and has to be woken too.
                if signal == Signal::CONT {
                    kill_process(pid_of(child.id())?, signal)?;
                }
                pidfd_send_signal(inner, signal)
            }
        };
        sent.with_context(|| format!("cannot signal {}", self.spec.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.spec.grace.is_zero() && self.is_running() && self.term().is_ok() {
            self.thaw().ok();
            let deadline = Instant::now() + self.spec.grace;
            while self.is_running() && Instant::now() < deadline {
                std::thread::sleep(POLL);
            }
        }
        self.kill().ok();
    }
}

/// A figure of `/proc/<pid>/status`, such as `VmRSS:`, in bytes.
pub(crate) fn memory(pid: u32, field: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kib = status
        .lines()
        .find_map(|line| {
            line.strip_prefix(field)?
                .trim()
                .strip_suffix(" kB")?
                .parse::<u64>()
                .ok()
        })
        .with_context(|| format!("no {field} in {path}"))?;
    Ok(kib * 1024)
}

/// When a process started, in clock ticks after boot: with its id this names it for good.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    // proc_pid_stat(5): field 22; the second field is the name in parentheses.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split_whitespace().nth(19)?.parse().ok()
}

fn pid_of(id: u32) -> Result<Pid> {
    i32::try_from(id)
        .ok()
        .and_then(Pid::from_raw)
        .context("a child without a pid")
}

/// The only child of a wrapper, as soon as there is one.
fn wrapped(wrapper: &mut Child) -> Result<Pid> {
    let id = wrapper.id();
    let children = format!("/proc/{id}/task/{id}/children");
    let deadline = Instant::now() + MOMENT;
    loop {
        let text = std::fs::read_to_string(&children).unwrap_or_default();
        if let Some(child) = text.split_whitespace().next() {
            return pid_of(child.parse()?);
        }
        if let Some(status) = wrapper.try_wait()? {
            bail!("it ended at once: {status}");
        }
        if Instant::now() >= deadline {
            wrapper.kill()?;
            wrapper.wait()?;
            bail!("nothing was started within {MOMENT:?}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Kills what a wrapper started, and waits until both are gone; the wrapper may be standing still.
fn end_wrapped(inner: &OwnedFd, wrapper: &mut Child) -> Result<()> {
    // It may be gone already.
    pidfd_send_signal(inner, Signal::KILL).ok();
    let moment = Timespec::try_from(MOMENT)?;
    let mut gone = [PollFd::new(inner, PollFlags::IN)];
    if poll(&mut gone, Some(&moment))? == 0 {
        bail!("a killed process is still there after {MOMENT:?}");
    }
    kill_process(pid_of(wrapper.id())?, Signal::CONT).ok();
    // Whoever started it is to reap it.
    let deadline = Instant::now() + MOMENT;
    while wrapper.try_wait()?.is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
