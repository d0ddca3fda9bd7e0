//! The node is a cluster: pods, services, names, images.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use testkit::run;
use testkit::wait::eventually;

use super::node;

/// How long what takes a second or two may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);

#[test]
#[ignore = "needs root on Linux: make test-node"]
fn a_deployment_serves_through_a_service_that_has_a_name() -> Result<()> {
    run(async {
        let node = node().await?;
        let shown = node.kubectl(&["get", "nodes"]).await?;
        assert!(shown.contains(" Ready "), "{shown}");
        let labels = json!({ "app": "web" });
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "namespace": "default" },
            "spec": {
                "replicas": 2, "selector": { "matchLabels": labels },
                "template": {
                    "metadata": { "labels": labels },
                    "spec": { "terminationGracePeriodSeconds": 0, "containers": [{
                        "name": "web", "image": node.busybox(),
                        "args": ["httpd", "-f", "-p", "8080", "-h", "/www"],
                        "readinessProbe": { "periodSeconds": 1, "httpGet": { "path": "/", "port": 8080 } },
                    }] },
                },
            },
        });
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web", "namespace": "default" },
            "spec": { "selector": labels, "ports": [{ "port": 80, "targetPort": 8080 }] },
        });
        node.plane()
            .apply_yaml(&format!("{deployment}\n---\n{service}\n"))
            .await?;
        let timeout = format!("--timeout={}s", SOON.as_secs());
        node.kubectl(&["rollout", "status", "deployment/web", &timeout])
            .await?;
        // Of busybox's clients, linked statically, only nslookup can look names up.
        let asked = "for i in $(seq 20); do
                ip=$(nslookup web.default.svc.cluster.local | awk '/^Address/ { ip = $2 } END { print ip }')
                printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 $ip 80 2>/dev/null && exit
                sleep 0.2
            done; exit 1";
        let client = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "client", "namespace": "default" },
            "spec": { "restartPolicy": "Never", "containers": [{
                "name": "client", "image": node.busybox(), "args": ["sh", "-c", asked],
            }] },
        });
        node.plane().apply_yaml(&client.to_string()).await?;
        let phase = ["get", "pod", "client", "-o", "jsonpath={.status.phase}"];
        let ended = eventually("the client has ended", SOON, async || {
            let phase = node.kubectl(&phase).await?;
            Ok(matches!(phase.as_str(), "Succeeded" | "Failed").then_some(phase))
        });
        let ended = ended.await?;
        let said = node.kubectl(&["logs", "client"]).await?;
        assert_eq!(ended, "Succeeded", "{said}");
        assert!(
            said.starts_with("HTTP/1.1 200") && said.lines().any(|line| line == "ready"),
            "{said}"
        );

        // A container's process can be reached from here.
        let pods = [
            "get",
            "pods",
            "-l",
            "app=web",
            "-o",
            "jsonpath={.items[0].metadata.name}",
        ];
        let pod = node.kubectl(&pods).await?;
        let container = node.container("default", &pod, "web").await?;
        assert!(container.rss()? > 0);
        container.kill()?;
        let restarts = [
            "get",
            "pod",
            &pod,
            "-o",
            "jsonpath={.status.containerStatuses[0].restartCount}",
        ];
        eventually("the container was restarted", SOON, async || {
            Ok((node.kubectl(&restarts).await? == "1").then_some(()))
        })
        .await?;
        node.kubectl(&[
            "delete",
            "deployment/web",
            "service/web",
            "pod/client",
            "--wait=false",
        ])
        .await?;
        Ok(())
    })
}

#[test]
#[ignore = "needs root on Linux: make test-node"]
fn an_image_is_pulled_by_digest() -> Result<()> {
    run(async {
        let node = node().await?;
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("bin"))?;
        std::fs::copy("/bin/busybox", folder.path().join("bin/busybox"))?;
        let config = json!({ "Entrypoint": ["/bin/busybox", "sleep", "1000"], "User": "1000" });
        let image = testkit::node::images::from_folder(folder.path(), config)?;
        node.registry().push("made-here", "1", &image).await?;
        let by_digest = node.registry().reference("made-here", &image.digest());
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "by-digest", "namespace": "default" },
            "spec": { "terminationGracePeriodSeconds": 0, "containers": [{
                "name": "only", "image": by_digest, "imagePullPolicy": "Always",
            }] },
        });
        node.plane().apply_yaml(&pod.to_string()).await?;
        let timeout = format!("--timeout={}s", SOON.as_secs());
        node.kubectl(&["wait", "pod/by-digest", "--for=condition=Ready", &timeout])
            .await?;
        let used = [
            "get",
            "pod",
            "by-digest",
            "-o",
            "jsonpath={.status.containerStatuses[0].imageID}",
        ];
        let used = node.kubectl(&used).await?;
        assert!(
            used.ends_with(&image.digest()),
            "{used} was pulled, {by_digest} was asked for"
        );
        node.kubectl(&["delete", "pod/by-digest", "--wait=false"]).await?;
        Ok(())
    })
}

#[test]
#[ignore = "needs root on Linux: make test-node"]
fn a_server_of_the_test_process_is_reached_from_inside() -> Result<()> {
    run(async {
        let node = node().await?;
        let outside = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let inside = node.namespace().expose(outside.local_addr()?).await?;
        let ask = format!("echo question | nc -w 5 {} {}", inside.ip(), inside.port());
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "asker", "namespace": "default" },
            "spec": { "restartPolicy": "Never", "containers": [{
                "name": "only", "image": node.busybox(), "args": ["sh", "-c", ask],
            }] },
        });
        node.plane().apply_yaml(&pod.to_string()).await?;
        let (stream, _) = tokio::time::timeout(SOON, outside.accept()).await??;
        let mut line = String::new();
        let mut reader = tokio::io::BufReader::new(stream);
        tokio::io::AsyncBufReadExt::read_line(&mut reader, &mut line).await?;
        assert_eq!(line, "question\n");
        node.kubectl(&["delete", "pod/asker", "--wait=false"]).await?;
        Ok(())
    })
}
