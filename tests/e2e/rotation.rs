//! Another authority while clients and servers with certificates of the former call each other: nobody is refused.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use operator::certificates::{AUTHORITY_SECRET, Keeper, Rules};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use testkit::run;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::certificates::Room;

/// Calls come that often: 50 times a second.
const BETWEEN_CALLS: Duration = Duration::from_millis(20);
/// A mount shows a change of its secret after so long at most; the rules of this test wait for three times that.
const MOUNT_LAG: Duration = Duration::from_millis(1_000);

/// What a pod finds in its mount, which follows the secret some time later.
struct Mount<T> {
    now: Mutex<Arc<T>>,
}

impl<T> Mount<T> {
    fn read(&self) -> Arc<T> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

type Data = BTreeMap<String, ByteString>;

fn certificates(data: &Data, key: &str) -> Result<Vec<CertificateDer<'static>>> {
    let pem = data.get(key).with_context(|| format!("no {key}"))?;
    Ok(CertificateDer::pem_slice_iter(&pem.0).collect::<Result<_, _>>()?)
}

fn key(data: &Data) -> Result<PrivateKeyDer<'static>> {
    Ok(PrivateKeyDer::from_pem_slice(
        &data.get("tls.key").context("no key")?.0,
    )?)
}

fn roots(data: &Data) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(data, "ca.crt")? {
        roots.add(authority)?;
    }
    Ok(roots)
}

fn server(data: &Data) -> Result<ServerConfig> {
    let provider = Arc::new(default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots(data)?.into(), provider.clone()).build()?;
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.with_client_cert_verifier(verifier);
    Ok(builder.with_single_cert(certificates(data, "tls.crt")?, key(data)?)?)
}

fn client(data: &Data) -> Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?;
    let builder = builder.with_root_certificates(roots(data)?);
    Ok(builder.with_client_auth_cert(certificates(data, "tls.crt")?, key(data)?)?)
}

/// Follows a secret, a lag later.
async fn mount<T: Send + Sync + 'static>(
    secrets: Api<Secret>,
    name: &'static str,
    read: fn(&Data) -> Result<T>,
) -> Result<Arc<Mount<T>>> {
    let get = async move || anyhow::Ok(secrets.get(name).await?.data.unwrap_or_default());
    let mut seen = get().await?;
    let mount = Arc::new(Mount {
        now: Mutex::new(Arc::new(read(&seen)?)),
    });
    let mounted = mount.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let data = get().await?;
            if data != seen {
                let lag = MOUNT_LAG.mul_f64(fastrand::f64());
                tokio::time::sleep(lag.saturating_sub(Duration::from_millis(100))).await;
                *mounted.now.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(read(&data)?);
                seen = data;
            }
        }
        #[allow(unreachable_code, reason = "gives the block its type")]
        anyhow::Ok(())
    });
    Ok(mount)
}

async fn serve(listener: TcpListener, mount: Arc<Mount<ServerConfig>>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let acceptor = TlsAcceptor::from(mount.read());
        tokio::spawn(async move {
            let mut stream = acceptor.accept(stream).await?;
            let byte = stream.read_u8().await?;
            stream.write_u8(byte).await?;
            stream.shutdown().await
        });
    }
}

async fn call(port: u16, config: Arc<ClientConfig>) -> Result<()> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut stream = TlsConnector::from(config)
        .connect(ServerName::try_from("a")?, stream)
        .await?;
    stream.write_u8(7).await?;
    ensure!(stream.read_u8().await? == 7);
    Ok(())
}

#[test]
fn a_rotation_under_traffic_costs_no_call() -> Result<()> {
    run(async {
        let room = Room::new("rotation").await?;
        let rules = Rules {
            settle: 3 * MOUNT_LAG,
            pause: Duration::from_millis(50),
            writes: 1,
            ..Rules::default()
        };
        let keeper = Keeper::new(room.writer.clone(), room.secrets.clone(), room.namespace, rules);
        room.quiet(&keeper).await?;
        let first = room.authority().await?;
        let secrets: Api<Secret> = Api::namespaced(room.plane.client(), room.namespace);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let served = tokio::spawn(serve(
            listener,
            mount(secrets.clone(), "a-tls-server", server).await?,
        ));
        let mounted = mount(secrets.clone(), "a-tls-client", client).await?;
        let (done, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let traffic = {
            let (done, calls) = (done.clone(), calls.clone());
            tokio::spawn(async move {
                let mut ticks = tokio::time::interval(BETWEEN_CALLS);
                while !done.load(Ordering::Relaxed) {
                    ticks.tick().await;
                    call(port, mounted.read())
                        .await
                        .with_context(|| format!("call {} failed", calls.load(Ordering::Relaxed)))?;
                    calls.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            })
        };
        let ask =
            serde_json::json!({"metadata": {"annotations": {api::annotation::ROTATE_REQUESTED_AT: "now"}}});
        let params = kube::api::PatchParams::default();
        let asked = secrets
            .patch(AUTHORITY_SECRET, &params, &kube::api::Patch::Merge(ask))
            .await?;
        let version = asked.metadata.resource_version.unwrap_or_default();
        room.noticed(AUTHORITY_SECRET, |now| now == Some(&version))
            .await?;
        loop {
            room.quiet(&keeper).await?;
            let authority = room.authority().await?;
            if authority != first && room.all_by(&authority).await? {
                break;
            }
            ensure!(!traffic.is_finished(), "{:?}", traffic.await);
        }
        // Until the last mount has followed.
        tokio::time::sleep(2 * MOUNT_LAG).await;
        done.store(true, Ordering::Relaxed);
        traffic.await??;
        served.abort();
        let calls = calls.load(Ordering::Relaxed);
        println!("a rotation under {calls} calls");
        ensure!(calls > 300, "only {calls} calls: is this traffic?");
        Ok(())
    })
}
