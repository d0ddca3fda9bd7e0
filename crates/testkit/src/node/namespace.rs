//! A network without uplink, with mounts and processes of its own: what a node runs in.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::requirements::program;
use crate::process::{Process, Spec, Wrapper};
use crate::wait::eventually;

/// The node's address in its own network. Every node has the same: networks don't know of each other.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 1);

/// How long the namespaces may take to be set up: 50 ms on an idle machine.
const READY: Duration = Duration::from_secs(10);
/// Connections that wait to be accepted inside.
const BACKLOG: u32 = 128;

/// Namespaces of network, mounts, processes and IPC, held by a process 1 that does nothing.
///
/// When this is dropped, or the test process dies, the kernel ends all processes inside; network and mounts
/// go with them. Nothing of it has a name on the machine.
pub struct Namespace {
    init: Process,
    network: OwnedFd,
    ended: CancellationToken,
    _guard: DropGuard,
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace")
            .field("init", &self.init.pid())
            .finish()
    }
}

impl Namespace {
    /// Makes namespaces; state that lives on disk goes into `folder`.
    pub(super) async fn start(folder: &Path) -> Result<Self> {
        let script = folder.join("namespace.sh");
        std::fs::write(&script, include_str!("namespace.sh"))?;
        let unshare = [
            "--net",
            "--mount",
            "--ipc",
            "--pid",
            "--fork",
            "--kill-child=KILL",
            "--",
        ];
        let wrapper = Wrapper {
            command: command(program("unshare")?, &unshare),
            stays: true,
        };
        let spec = Spec::new("namespace", program("bash")?, folder.join("namespace.log"))
            .arg(script)
            .arg(folder)
            .arg(ADDRESS.to_string())
            .through(wrapper);
        let init = Process::start(spec)?;
        let ready = folder.join("ready");
        eventually("the node's namespaces are set up", READY, async || {
            if let Some(status) = init.exit_status() {
                bail!("cannot make namespaces: {status}: {}", init.log_tail());
            }
            Ok(ready.exists().then_some(()))
        })
        .await
        .with_context(|| init.log_tail())?;
        let network = format!("/proc/{}/ns/net", init.pid());
        let network = File::open(&network).with_context(|| format!("cannot open {network}"))?;
        let ended = CancellationToken::new();
        Ok(Self {
            init,
            network: network.into(),
            _guard: ended.clone().drop_guard(),
            ended,
        })
    }

    /// Process id of process 1, as the machine sees it: its `/proc/<pid>/ns` shows the namespaces.
    pub fn pid(&self) -> u32 {
        self.init.pid()
    }

    /// Starts a process in the network only: it sees the machine's files and processes.
    pub(crate) fn network(&self) -> Wrapper {
        self.enter(&["--net"], false)
    }

    /// Starts a process in all namespaces: for what mounts, or starts processes that outlive it.
    pub(crate) fn whole(&self) -> Wrapper {
        self.enter(&["--net", "--mount", "--ipc", "--pid"], true)
    }

    fn enter(&self, which: &[&str], stays: bool) -> Wrapper {
        let target = format!("--target={}", self.init.pid());
        let mut args = vec![target.as_str()];
        args.extend(which);
        args.push("--");
        Wrapper {
            command: command("nsenter", &args),
            stays,
        }
    }

    /// A socket inside, whoever uses it.
    fn socket(&self) -> Result<TcpSocket> {
        let network = self.network.as_fd();
        // A socket belongs to the network that its maker is in; only this short-lived thread moves.
        let made = std::thread::scope(|scope| {
            let maker = scope.spawn(|| -> Result<TcpSocket> {
                move_into_link_name_space(network, Some(LinkNameSpaceType::Network))?;
                Ok(TcpSocket::new_v4()?)
            });
            maker.join().map_err(|_| anyhow!("a thread panicked"))
        });
        made?.context("cannot make a socket in the node's network")
    }

    /// Connects to an address inside.
    pub async fn connect(&self, to: SocketAddr) -> Result<TcpStream> {
        let connected = self.socket()?.connect(to).await;
        connected.with_context(|| format!("cannot connect to {to} in the node's network"))
    }

    /// Listens on a port of [`ADDRESS`]; 0: any free one.
    pub async fn listen(&self, port: u16) -> Result<TcpListener> {
        let socket = self.socket()?;
        socket.set_reuseaddr(true)?;
        let at = SocketAddr::from((ADDRESS, port));
        socket
            .bind(at)
            .and_then(|()| socket.listen(BACKLOG))
            .with_context(|| format!("cannot listen on {at} in the node's network"))
    }

    /// An address of loopback, outside, whose connections lead to `to`, inside.
    pub(crate) async fn forward(self: &Arc<Self>, to: SocketAddr) -> Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("cannot listen on 127.0.0.1")?;
        let addr = listener.local_addr()?;
        let way = Arc::downgrade(self);
        self.relay(listener, move || {
            let way = way.clone();
            async move {
                let namespace = way.upgrade().context("the node has ended")?;
                namespace.connect(to).await
            }
        });
        Ok(addr)
    }

    /// An address inside, whose connections lead to `to`, outside: a server of the test process such as a fault
    /// proxy. Its certificate, if it has one, has to be good for [`ADDRESS`].
    pub async fn expose(&self, to: SocketAddr) -> Result<SocketAddr> {
        let listener = self.listen(0).await?;
        let addr = listener.local_addr()?;
        self.relay(listener, move || async move { Ok(TcpStream::connect(to).await?) });
        Ok(addr)
    }

    fn relay<F, R>(&self, listener: TcpListener, dial: F)
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<TcpStream>> + Send + 'static,
    {
        let ended = self.ended.clone();
        let dial = Arc::new(dial);
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = ended.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((mut near, _)) = accepted else { continue };
                let (dial, ended) = (dial.clone(), ended.clone());
                tokio::spawn(async move {
                    let talk = async {
                        let mut far = dial().await?;
                        near.set_nodelay(true)?;
                        far.set_nodelay(true)?;
                        copy_bidirectional(&mut near, &mut far).await?;
                        Ok::<_, anyhow::Error>(())
                    };
                    tokio::select! {
                        () = ended.cancelled() => {}
                        talked = talk => if let Err(error) = talked {
                            tracing::debug!(%error, "connection into or out of the node ended");
                        },
                    }
                });
            }
        });
    }

    /// Ends all processes inside, at once.
    pub(super) fn end(&self) -> Result<()> {
        self.ended.cancel();
        self.init.kill()
    }
}

fn command(program: impl Into<OsString>, args: &[&str]) -> Vec<OsString> {
    let mut all = vec![program.into()];
    all.extend(args.iter().map(OsString::from));
    all
}
