//! The operator from its image, as an administrator would have it run.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use gantry_tests::pod::{self, OperatorPod};
use serde_json::json;
use testkit::wait::eventually;
use testkit::{Node, NodeOptions, PackageFixture, run};

use crate::OPERATOR;

/// How long what takes a second or two may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);

#[test]
#[ignore = "needs root on Linux: make test-node"]
fn the_operator_works_from_its_image_without_rights_on_the_node() -> Result<()> {
    run(async {
        let node = Node::start(NodeOptions::default()).await?;
        let program = std::env::var("GANTRY_OPERATOR").unwrap_or_else(|_| OPERATOR.to_owned());
        let image = pod::image(Path::new(&program))?;
        let operator = OperatorPod::start(&node, &image).await?;

        let container = operator.container().await?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", container.pid()))?;
        let field = |name: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(|values| values.split_whitespace().collect::<Vec<_>>().join(" "))
        };
        assert_eq!(field("Uid").context("no Uid")?, "65532 65532 65532 65532");
        assert_eq!(field("CapBnd").context("no CapBnd")?, "0000000000000000");
        assert_eq!(field("NoNewPrivs").context("no NoNewPrivs")?, "1");
        assert_eq!(field("Seccomp").context("no Seccomp")?, "2");

        let fixture = PackageFixture::provider("first")
            .crd("image.example.org", "Thing")
            .build()?;
        node.registry().push("first", "v1", &fixture).await?;
        // By name: the resolver of the image's libc works without the rest of a distribution.
        let reference = format!("{}/first:v1", pod::REGISTRY);
        let provider = json!({
            "apiVersion": "pkg.crossplane.io/v1", "kind": "Provider", "metadata": { "name": "first" },
            "spec": { "package": reference },
        });
        node.plane().apply_yaml(&provider.to_string()).await?;
        let timeout = format!("--timeout={}s", SOON.as_secs());
        let healthy = node
            .kubectl(&["wait", "provider/first", "--for=condition=Healthy", &timeout])
            .await;
        if let Err(error) = healthy {
            return Err(error.context(operator.log().await.unwrap_or_default()));
        }
        node.kubectl(&["get", "crd", "things.image.example.org"]).await?;

        // Another pod in its place, on a node that has the image: the store is a new one, and nothing is fetched or
        // written again.
        let mark = node.plane().audit_mark()?;
        let seconds = operator.restart().await?;
        eventually("the next pod leads", SOON, async || {
            let lease = [
                "-n",
                "gantry-system",
                "get",
                "lease",
                "gantry-operator",
                "-o",
                "jsonpath={.spec.holderIdentity}",
            ];
            let holder = node.kubectl(&lease).await?;
            let pod = [
                "-n",
                "gantry-system",
                "get",
                "pods",
                "-o",
                "jsonpath={.items[*].metadata.name}",
            ];
            let pod = node.kubectl(&pod).await?;
            Ok((!pod.contains(' ') && holder.contains(&pod)).then_some(()))
        })
        .await?;
        let container = operator.container().await?;
        let written = node.plane().writes_since(mark, testkit::world::USER)?;
        assert!(written.is_empty(), "a restart wrote: {written:#?}");
        println!(
            "image: {:.1} MB, {:.1} MB to pull; ready {seconds:.2} s after the process's start; {:.0} MiB resident",
            image.files as f64 / 1e6,
            image.pulled() as f64 / 1e6,
            container.rss()? as f64 / f64::from(1 << 20),
        );
        super::oom::an_upgrade_that_does_not_fit_into_memory(&node, &operator).await?;
        node.stop()
    })
}
