//! The distribution registry as a child process.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION};
use http::{Method, Request, Response, StatusCode};
use serde_json::json;
use tempfile::TempDir;

use crate::http_client::Target;
use crate::image::{DOCKER_MANIFEST, Image, OCI_INDEX, OCI_MANIFEST};
use crate::node::{ADDRESS, Namespace};
use crate::pki::{Authority, client_config};
use crate::port;
use crate::process::{Process, Spec};
use crate::tools::Tools;

/// The user of a registry with [`RegistryOptions::password`].
pub const USER: &str = "gantry";
/// Its password.
pub const PASSWORD: &str = "gantry-test-password";
/// `htpasswd -B` of the two.
const HTPASSWD: &str = "gantry:$2b$04$DgsUaxZYuc/CWLxeMDpPcOkvXNHtLIQe3zmrwOvLLz9HfyL7Hpmmq\n";

/// How long the registry may take to answer after its start.
const READY: Duration = Duration::from_secs(20);
/// How often a start is tried again when somebody took the port meanwhile.
const STARTS: usize = 4;

/// How a registry is set up.
#[derive(Clone, Debug, Default)]
pub struct RegistryOptions {
    /// Whether it asks for [`USER`] and [`PASSWORD`] by Basic.
    pub password: bool,
    /// Whether it speaks TLS, with a certificate of [`Registry::authority`].
    pub tls: bool,
    /// The node's network that it is in, and its port there. Its references are for pods then.
    pub inside: Option<(Arc<Namespace>, u16)>,
}

/// A running distribution registry on 127.0.0.1 or inside a node, content on disk. Ends when dropped.
pub struct Registry {
    process: Mutex<Process>,
    addr: SocketAddr,
    authority: Option<Authority>,
    target: Target,
    password: bool,
    _folder: TempDir,
}

impl Registry {
    /// Starts a registry without TLS and authentication.
    pub async fn distribution() -> Result<Self> {
        Self::start(RegistryOptions::default()).await
    }

    /// Starts a registry.
    pub async fn start(options: RegistryOptions) -> Result<Self> {
        let tools = Tools::find()?;
        let mut tries = 1;
        loop {
            match Self::try_start(&tools, &options).await {
                Ok(registry) => return Ok(registry),
                Err(error) if tries < STARTS && format!("{error:#}").contains("address already in use") => {
                    tries += 1;
                }
                Err(error) => return Err(error.context("cannot start a registry")),
            }
        }
    }

    async fn try_start(tools: &Tools, options: &RegistryOptions) -> Result<Self> {
        let folder = crate::folder("registry")?;
        let at = folder.path();
        let (addr, near) = match &options.inside {
            None => {
                let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()?));
                (addr, addr)
            }
            Some((namespace, port)) => {
                let addr = SocketAddr::from((ADDRESS, *port));
                (addr, namespace.forward(addr).await?)
            }
        };
        let mut http = json!({ "addr": addr.to_string(), "secret": "not-a-secret" });
        let authority = if options.tls {
            Some(Authority::new("gantry-test-registry")?)
        } else {
            None
        };
        if let Some(authority) = &authority {
            let identity = authority.server(&[&addr.ip().to_string()])?;
            std::fs::write(at.join("server.crt"), identity.certificate)?;
            std::fs::write(at.join("server.key"), identity.key)?;
            http["tls"] = json!({ "certificate": at.join("server.crt"), "key": at.join("server.key") });
        }
        let mut config = json!({
            "version": 0.1,
            "log": { "level": "info", "accesslog": { "disabled": false } },
            "storage": {
                "filesystem": { "rootdirectory": at.join("data") },
                "delete": { "enabled": true },
                "maintenance": { "uploadpurging": { "enabled": false } },
            },
            "http": http,
        });
        if options.password {
            std::fs::write(at.join("htpasswd"), HTPASSWD)?;
            config["auth"] = json!({ "htpasswd": { "realm": "test", "path": at.join("htpasswd") } });
        }
        std::fs::write(at.join("config.yaml"), serde_json::to_vec_pretty(&config)?)?;
        let mut spec = Spec::new("registry", tools.path("registry"), at.join("registry.log"))
            .arg("serve")
            .arg(at.join("config.yaml"))
            .env("OTEL_TRACES_EXPORTER", "none");
        spec.grace = Duration::ZERO;
        if let Some((namespace, _)) = &options.inside {
            spec = spec.through(namespace.network());
        }
        let tls = authority
            .as_ref()
            .map(|a| client_config(a.certificate(), None))
            .transpose()?;
        let registry = Self {
            process: Mutex::new(Process::start(spec)?),
            addr,
            authority,
            target: Target { addr: near, tls },
            password: options.password,
            _folder: folder,
        };
        registry.await_ready().await?;
        Ok(registry)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Host and port, as references have it: `127.0.0.1:5000`.
    pub fn host(&self) -> String {
        self.addr.to_string()
    }

    /// Host and port by which this process reaches it: those of [`Registry::host`], or outside a node another port.
    pub fn outer_host(&self) -> String {
        self.target.addr.to_string()
    }

    /// The authority that signed its certificate, if it speaks TLS.
    pub fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    /// `<host>/<repository>:<tag>`; with a digest instead of a tag, `@`.
    pub fn reference(&self, repository: &str, tag: &str) -> String {
        let separator = if tag.contains(':') { '@' } else { ':' };
        format!("{}/{repository}{separator}{tag}", self.addr)
    }

    /// The content of a pull secret (`.dockerconfigjson`) for it.
    pub fn docker_config(&self) -> String {
        let auth = STANDARD.encode(format!("{USER}:{PASSWORD}"));
        json!({ "auths": { self.host(): { "auth": auth } } }).to_string()
    }

    /// Pushes an image, answers its reference by tag.
    pub async fn push(&self, repository: &str, tag: &str, image: &Image) -> Result<String> {
        for blob in &image.blobs {
            let path = format!("/v2/{repository}/blobs/{}", blob.digest);
            if self.send(Method::HEAD, &path, None).await?.status() == StatusCode::OK {
                continue;
            }
            let opened = self
                .send(Method::POST, &format!("/v2/{repository}/blobs/uploads/"), None)
                .await?;
            let location = opened.headers().get(LOCATION).and_then(|l| l.to_str().ok());
            let location =
                location.with_context(|| format!("no upload location for {repository}: {opened:?}"))?;
            let uri: http::Uri = location.parse()?;
            let query = uri.query().map(|q| format!("{q}&")).unwrap_or_default();
            let path = format!("{}?{query}digest={}", uri.path(), blob.digest);
            let body = ("application/octet-stream", blob.bytes.clone());
            expect(
                self.send(Method::PUT, &path, Some(body)).await?,
                StatusCode::CREATED,
                &path,
            )?;
        }
        self.put_manifest(repository, tag, &image.media_type, &image.manifest)
            .await?;
        Ok(self.reference(repository, tag))
    }

    /// Lets a tag name a manifest that is there already; answers the reference by tag.
    pub async fn set_tag(&self, repository: &str, tag: &str, digest: &str) -> Result<String> {
        let path = format!("/v2/{repository}/manifests/{digest}");
        let found = expect(self.send(Method::GET, &path, None).await?, StatusCode::OK, &path)?;
        let media_type = found
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|t| t.to_str().ok())
            .unwrap_or(OCI_MANIFEST);
        self.put_manifest(repository, tag, media_type, found.body())
            .await?;
        Ok(self.reference(repository, tag))
    }

    /// Puts any bytes as a manifest under a tag or digest: an index, or something broken.
    pub async fn put_manifest(
        &self,
        repository: &str,
        tag: &str,
        media_type: &str,
        bytes: &Bytes,
    ) -> Result<()> {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let answer = self
            .send(Method::PUT, &path, Some((media_type, bytes.clone())))
            .await?;
        expect(answer, StatusCode::CREATED, &path)?;
        Ok(())
    }

    /// Kills it: connections are refused. Content stays.
    pub fn stop(&self) -> Result<()> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).kill()
    }

    /// Starts it again on the same port.
    pub async fn start_again(&self) -> Result<()> {
        {
            let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
            process.kill()?;
            *process = Process::start(process.spec().clone())?;
        }
        self.await_ready().await
    }

    /// Freezes it: connections are accepted, nothing is answered.
    pub fn freeze(&self) -> Result<()> {
        self.process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .freeze()
    }

    /// Lets it go on.
    pub fn thaw(&self) -> Result<()> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).thaw()
    }

    async fn await_ready(&self) -> Result<()> {
        let deadline = Instant::now() + READY;
        loop {
            if self
                .send(Method::GET, "/v2/", None)
                .await
                .is_ok_and(|answer| answer.status() == StatusCode::OK)
            {
                return Ok(());
            }
            {
                let process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
                if !process.is_running() || Instant::now() >= deadline {
                    bail!(
                        "the registry does not answer; the end of its log:\n{}",
                        process.log_tail()
                    );
                }
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    async fn send(&self, method: Method, path: &str, body: Option<(&str, Bytes)>) -> Result<Response<Bytes>> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(ACCEPT, format!("{OCI_MANIFEST}, {OCI_INDEX}, {DOCKER_MANIFEST}"));
        if self.password {
            request = request.header(
                AUTHORIZATION,
                format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}"))),
            );
        }
        let bytes = match body {
            None => Bytes::new(),
            Some((media_type, bytes)) => {
                request = request.header(CONTENT_TYPE, media_type);
                bytes
            }
        };
        self.target.send(request.body(bytes)?).await
    }
}

fn expect(answer: Response<Bytes>, status: StatusCode, path: &str) -> Result<Response<Bytes>> {
    if answer.status() != status {
        let body = String::from_utf8_lossy(answer.body()).into_owned();
        bail!(
            "the registry answered {} to {path}, {status} was expected: {body}",
            answer.status()
        );
    }
    Ok(answer)
}
