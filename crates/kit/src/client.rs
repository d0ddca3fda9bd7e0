//! The connection to the API server.

mod gate;

use std::{
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::Future;
use http::{HeaderValue, Request, Response, header::USER_AGENT};
use http_body_util::{BodyExt, BodyStream, StreamBody, combinators::UnsyncBoxBody};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use tokio_stream::StreamExt;
use tower::{BoxError, Layer, Service};

use self::gate::Gate;
use crate::{fence::Fence, reach::Reach};

/// How long a TCP and TLS connection may take to come up: a machine that is gone must not hold a reconcile.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the API server may take to send the head of an answer. It allows itself 60 s for a request with
/// webhooks; beyond half of that, trying again later is better than waiting.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an answer's body may stand still. Watches are exempt: they are silent between bookmarks.
pub const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the first request may take, so that a wrong address is an answer and not a silence.
pub const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Flags that say which API server to talk to and as whom.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ClientArgs {
    /// Kubeconfig file. Without it: KUBECONFIG, then the pod's service account, then ~/.kube/config.
    #[arg(long, value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig to use instead of its current one.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// User to impersonate.
    #[arg(long = "as", value_name = "USER")]
    pub impersonate: Option<String>,
    /// Group to impersonate; may be given several times.
    #[arg(long = "as-group", value_name = "GROUP", requires = "impersonate")]
    pub impersonate_group: Vec<String>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The kubeconfig that was named cannot be used.
    #[error("the kubeconfig {} cannot be used: {why}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, without any of its content: that may be a key.
        why: String,
    },
    /// Nothing says where the API server is.
    #[error(
        "no API server is configured: no --kubeconfig, no usable KUBECONFIG or ~/.kube/config, \
         and this is not a pod with a service account: {why}"
    )]
    Unconfigured {
        /// What is wrong with the kubeconfig that was looked for, without any of its content.
        why: String,
    },
    /// The service account of this pod cannot be used.
    #[error("the pod's service account cannot be used; is its token mounted?")]
    InCluster {
        /// What is missing.
        source: kube::config::InClusterError,
    },
    /// The user agent cannot stand in a header.
    #[error("the user agent {agent:?} cannot be sent; use printable ASCII characters")]
    UserAgent {
        /// As given.
        agent: String,
    },
    /// Certificates or credentials of the configuration cannot be used.
    #[error("the certificates or credentials for the API server {url} cannot be used")]
    Setup {
        /// URL of the API server.
        url: String,
        /// What is wrong.
        source: kube::Error,
    },
    /// No answer to the first request.
    #[error("the API server {url} does not answer ({why}); check that it runs and can be reached from here")]
    Unreachable {
        /// URL of the API server.
        url: String,
        /// The innermost cause.
        why: String,
    },
    /// The credentials are not accepted.
    #[error("the API server {url} does not accept the credentials; renew the token or certificate")]
    Unauthorized {
        /// URL of the API server.
        url: String,
    },
}

/// Connects and makes one request, so that a wrong address or credential is known at once.
///
/// The client does not retry by itself, bounds every request but watches by [`HEADER_TIMEOUT`] and
/// [`BODY_IDLE_TIMEOUT`], and names itself `user_agent`. A rustls provider must have been installed by the
/// caller.
pub async fn connect(args: &ClientArgs, user_agent: &str) -> Result<Client, ClientError> {
    let config = config(args, user_agent).await?;
    let url = config.cluster_url.to_string();
    let setup = |source| ClientError::Setup {
        url: url.clone(),
        source,
    };
    let builder = ClientBuilder::try_from(config).map_err(setup)?;
    answering(builder, Reach::default(), &url).await
}

/// As [`connect`]; the client also tells `reach` what it meets, and sends nothing once `fence` has lapsed, whatever was
/// asked of it before: its connections break. Who renews the lease needs another one.
pub async fn connect_behind(
    args: &ClientArgs,
    user_agent: &str,
    fence: &Fence,
    reach: &Reach,
) -> Result<Client, ClientError> {
    let config = config(args, user_agent).await?;
    let url = config.cluster_url.to_string();
    let setup = |source| ClientError::Setup {
        url: url.clone(),
        source,
    };
    let builder = ClientBuilder::try_from((config, Gate::new(fence.clone()))).map_err(setup)?;
    answering(builder, reach.clone(), &url).await
}

/// Makes the client and its first request.
async fn answering<S, B>(builder: ClientBuilder<S>, reach: Reach, url: &str) -> Result<Client, ClientError>
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: axum::body::HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let url = url.to_owned();
    let client = builder.with_layer(&Deadlines { reach }).build();
    let refused = |why: String| ClientError::Unreachable {
        url: url.clone(),
        why,
    };
    match tokio::time::timeout(FIRST_REQUEST_TIMEOUT, client.apiserver_version()).await {
        Err(_) => Err(refused(format!(
            "no answer within {} s",
            FIRST_REQUEST_TIMEOUT.as_secs()
        ))),
        Ok(Err(kube::Error::Api(status))) if status.code == 401 => Err(ClientError::Unauthorized { url }),
        // Any other answer is an answer: who may not read the version may still do what it came for.
        Ok(Ok(_) | Err(kube::Error::Api(_))) => Ok(client),
        Ok(Err(error)) => Err(refused(innermost(&error))),
    }
}

/// The configuration that [`connect`] uses.
pub async fn config(args: &ClientArgs, user_agent: &str) -> Result<Config, ClientError> {
    let options = KubeConfigOptions {
        context: args.context.clone(),
        ..KubeConfigOptions::default()
    };
    let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    let told = args.context.is_some() || std::env::var_os("KUBECONFIG").is_some();
    let mut config = match &args.kubeconfig {
        Some(path) => {
            let failed = |error| ClientError::Kubeconfig {
                path: path.clone(),
                why: without_content(&error),
            };
            let file = Kubeconfig::read_from(path).map_err(failed)?;
            Config::from_custom_kubeconfig(file, &options)
                .await
                .map_err(failed)?
        }
        None if in_pod && !told => Config::incluster().map_err(|source| ClientError::InCluster { source })?,
        None => Config::from_kubeconfig(&options)
            .await
            .map_err(|error| ClientError::Unconfigured {
                why: match &error {
                    KubeconfigError::ReadConfig(_, path) => {
                        format!("{}: {}", path.display(), without_content(&error))
                    }
                    other => without_content(other),
                },
            })?,
    };
    let agent = HeaderValue::from_str(user_agent).map_err(|_| ClientError::UserAgent {
        agent: user_agent.to_owned(),
    })?;
    config.headers.push((USER_AGENT, agent));
    // HTTPS_PROXY is in the configuration already; an API server on this machine is never meant.
    if config.cluster_url.host().is_some_and(is_loopback) {
        config.proxy_url = None;
    }
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.write_timeout = Some(HEADER_TIMEOUT);
    if args.impersonate.is_some() {
        config.auth_info.impersonate.clone_from(&args.impersonate);
        config.auth_info.impersonate_groups =
            (!args.impersonate_group.is_empty()).then(|| args.impersonate_group.clone());
    }
    Ok(config)
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// What is wrong with a kubeconfig. The parser's own words quote lines of the file, which may hold a token or a key.
fn without_content(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::ReadConfig(error, _) => format!("{error}; check the path"),
        KubeconfigError::Parse(_) => "it is no YAML of a kubeconfig; check its content".to_owned(),
        other => other.to_string().lines().next().unwrap_or_default().to_owned(),
    }
}

/// The last error in the chain: for connections it is the one that says something.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// Time bounds around every request but watches; what breaks is remembered.
#[derive(Clone, Debug, Default)]
struct Deadlines {
    reach: Reach,
}

impl<S> Layer<S> for Deadlines {
    type Service = Deadlined<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Deadlined {
            inner,
            reach: self.reach.clone(),
        }
    }
}

#[derive(Clone, Debug)]
struct Deadlined<S> {
    inner: S,
    reach: Reach,
}

/// A bound of this module was reached.
#[derive(Debug, thiserror::Error)]
#[error("the API server sent nothing for {} s", after.as_secs())]
pub struct Stalled {
    /// The bound.
    pub after: Duration,
}

type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

impl<S, B> Service<Request<Body>> for Deadlined<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: axum::body::HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<AnswerBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let watch = is_watch(&request);
        let answer = self.inner.call(request);
        let reach = self.reach.clone();
        Box::pin(async move {
            let answer = within(HEADER_TIMEOUT, answer)
                .await
                .inspect_err(|_| reach.broke())?;
            Ok(answer.map(|body| {
                let told = move |frame: Result<_, BoxError>| frame.inspect_err(|_| reach.broke());
                let frames = BodyStream::new(body).map(|frame| frame.map_err(Into::into));
                // The watcher has its own idle bound.
                if watch {
                    return StreamBody::new(frames.map(told)).boxed_unsync();
                }
                let bounded = frames.timeout(BODY_IDLE_TIMEOUT).map(|frame| match frame {
                    Ok(frame) => frame,
                    Err(_) => Err(BoxError::from(Stalled {
                        after: BODY_IDLE_TIMEOUT,
                    })),
                });
                StreamBody::new(bounded.map(told)).boxed_unsync()
            }))
        })
    }
}

async fn within<T, E: Into<BoxError>>(
    bound: Duration,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, BoxError> {
    match tokio::time::timeout(bound, answer).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err(Stalled { after: bound }.into()),
    }
}

fn is_watch(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query
        .split('&')
        .any(|pair| matches!(pair, "watch=true" | "watch=1" | "follow=true"))
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::Full;
    use kube::config::Config;
    use tower::ServiceExt;

    use super::*;

    fn request(query: &str) -> Request<Body> {
        Request::get(format!("/api/v1/things{query}"))
            .body(Body::empty())
            .unwrap()
    }

    /// A server that sends its head after `head`, and of its body one frame and then nothing more.
    async fn ask(query: &str, head: Duration) -> Result<Response<AnswerBody>, BoxError> {
        let server = tower::service_fn(move |_: Request<Body>| async move {
            tokio::time::sleep(head).await;
            let frame = Ok::<_, BoxError>(hyper::body::Frame::data(Bytes::from_static(b"x")));
            let frames = futures::StreamExt::chain(stream::iter([frame]), stream::pending());
            Ok::<_, BoxError>(Response::new(StreamBody::new(frames)))
        });
        Deadlines::default().layer(server).oneshot(request(query)).await
    }

    #[test]
    fn this_machine_needs_no_proxy() {
        for (host, expected) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("[::1]", true),
            ("10.0.0.1", false),
            ("localhost.example.org", false),
        ] {
            assert_eq!(is_loopback(host), expected, "{host}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_come_is_an_error_for_all() {
        for query in ["", "?watch=true"] {
            let error = ask(query, HEADER_TIMEOUT + Duration::from_secs(1))
                .await
                .unwrap_err();
            assert_eq!(error.to_string(), "the API server sent nothing for 30 s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stands_still_is_an_error_but_for_watches() {
        let slow = HEADER_TIMEOUT - Duration::from_secs(1);
        let body = ask("?limit=5", slow).await.unwrap().into_body();
        assert!(body.collect().await.unwrap_err().is::<Stalled>());
        let watch = ask("?limit=5&watch=true", slow).await.unwrap().into_body();
        let hour = Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, watch.collect()).await.is_err());
    }

    #[tokio::test]
    async fn a_whole_answer_passes() {
        let server = tower::service_fn(async |_: Request<Body>| {
            Ok::<_, BoxError>(Response::new(Full::new(Bytes::from_static(b"whole"))))
        });
        let answer = Deadlines::default()
            .layer(server)
            .oneshot(request(""))
            .await
            .unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "whole");
    }

    #[tokio::test]
    async fn says_in_a_sentence_what_is_wrong() {
        let missing = ClientArgs {
            kubeconfig: Some("/nowhere/config".into()),
            ..ClientArgs::default()
        };
        let error = connect(&missing, "test").await.map(drop).unwrap_err();
        let sentence = "the kubeconfig /nowhere/config cannot be used: No such file or directory (os error 2); check the path";
        assert_eq!(error.to_string(), sentence);
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let config = format!(
            r#"{{"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{{"name": "c", "cluster": {{"server": "http://{port}"}}}}],
            "contexts": [{{"name": "c", "context": {{"cluster": "c", "user": "u"}}}}],
            "users": [{{"name": "u", "user": {{}}}}]}}"#
        );
        std::fs::write(&path, config).unwrap();
        let dead = ClientArgs {
            kubeconfig: Some(path),
            ..ClientArgs::default()
        };
        let error = connect(&dead, "test").await.map(drop).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("the API server http://{port}/ does not answer (")),
            "{error}"
        );
        let error = super::config(&dead, "bad\nagent").await.unwrap_err();
        assert!(matches!(error, ClientError::UserAgent { .. }));
        let config: Config = super::config(&dead, "good/1").await.unwrap();
        assert!(!config.default_retry);
    }
}
