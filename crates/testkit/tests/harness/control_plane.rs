use std::time::{Duration, Instant};

use anyhow::Result;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use testkit::{ControlPlane, ControlPlaneOptions, run};

use crate::shared;

fn config_map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    }
}

#[test]
fn two_run_side_by_side_and_start_soon() -> Result<()> {
    run(async {
        let start = Instant::now();
        let start_one = || ControlPlane::start(ControlPlaneOptions::default());
        let (one, two) = tokio::try_join!(start_one(), start_one())?;
        let took = start.elapsed();
        assert!(
            took < Duration::from_secs(20),
            "two control planes took {took:?} to start"
        );
        assert_ne!(one.addr(), two.addr());
        one.namespace("only-here").await?;
        assert!(one.kubectl(&["get", "namespaces"]).await?.contains("only-here"));
        assert!(!two.kubectl(&["get", "namespaces"]).await?.contains("only-here"));
        assert!(one.api_cpu_seconds()? > 0.0 && one.api_rss()? > 50 << 20);
        let version = one.kubectl(&["version", "-o", "json"]).await?;
        let version: serde_json::Value = serde_json::from_str(&version)?;
        let minor: u32 = version["serverVersion"]["minor"].as_str().unwrap().parse()?;
        assert!(minor >= 33, "Kubernetes 1.{minor}");
        Ok(())
    })
}

#[test]
fn the_stand_ins_are_served_and_keep_every_field() -> Result<()> {
    run(async {
        let plane = shared().await?;
        plane.install_stand_ins().await?;
        for (plural, _) in testkit::stand_in::ALL {
            let text = plane
                .kubectl(&["get", "crd", "-l", "gantry.dev/stand-in=true", "-o", "name"])
                .await?;
            assert!(text.contains(&format!("/{plural}.")), "{plural} is not in {text}");
        }
        let fixture = testkit::PackageFixture::configuration("x");
        let fixture = fixture.xrd("harness.example.org", "Bucket").composition(
            "buckets",
            "harness.example.org",
            "Bucket",
        );
        let yaml = fixture.yaml()?;
        let objects: Vec<&str> = yaml
            .split("---\n")
            .filter(|d| d.contains("apiextensions."))
            .collect();
        assert_eq!(objects.len(), 2);
        plane.apply_yaml(&objects.join("---\n")).await?;
        let size = "jsonpath={.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.size.type}";
        assert_eq!(
            plane
                .kubectl(&["get", "xrd", "xbuckets.harness.example.org", "-o", size])
                .await?,
            "integer"
        );
        let v2 = "compositeresourcedefinitions.v2.apiextensions.crossplane.io";
        assert_eq!(
            plane
                .kubectl(&["get", v2, "xbuckets.harness.example.org", "-o", size])
                .await?,
            "integer"
        );
        Ok(())
    })
}

#[test]
fn the_audit_log_tells_who_wrote_what() -> Result<()> {
    run(async {
        let plane = shared().await?;
        let mark = plane.audit_mark()?;
        let kubeconfig = plane.service_account_kubeconfig("default", "audited").await?;
        let kubeconfig = kubeconfig.to_str().unwrap();
        let refused = plane
            .try_kubectl(
                &["--kubeconfig", kubeconfig, "create", "configmap", "audited"],
                None,
            )
            .await?;
        assert!(
            !refused.success && refused.stderr.contains("forbidden"),
            "{refused:?}"
        );
        plane
            .kubectl(&["create", "configmap", "audited", "--dry-run=server"])
            .await?;
        let maps: Api<ConfigMap> = Api::namespaced(plane.client(), "default");
        maps.create(&PostParams::default(), &config_map("audited"))
            .await?;

        let user = "system:serviceaccount:default:audited";
        let writes = plane.writes_since(mark, user)?;
        assert_eq!(writes.len(), 1, "{writes:#?}");
        let write = &writes[0];
        assert_eq!(
            (write.verb.as_str(), write.resource.as_str(), write.code),
            ("create", "configmaps", 403)
        );
        let admins = plane.writes_since(mark, "admin")?;
        assert!(
            admins
                .iter()
                .any(|e| e.resource == "configmaps" && e.name == "audited" && e.code == 201)
        );
        assert!(
            admins.iter().all(|e| !e.uri.contains("dryRun")),
            "a dry run counts as a write"
        );
        assert!(
            plane
                .audit_since(mark)?
                .iter()
                .any(|e| e.resource == "serviceaccounts/token")
        );
        Ok(())
    })
}

#[test]
fn what_belongs_to_a_deleted_owner_is_collected() -> Result<()> {
    run(async {
        let plane = shared().await?;
        let maps: Api<ConfigMap> = Api::namespaced(plane.client(), "default");
        let owner = maps.create(&PostParams::default(), &config_map("owner")).await?;
        let mut owned = config_map("owned");
        owned.metadata.owner_references = Some(vec![
            kube::Resource::owner_ref(&owner, &()).expect("the owner has a uid"),
        ]);
        maps.create(&PostParams::default(), &owned).await?;
        maps.delete("owner", &DeleteParams::background()).await?;
        let gone = async || Ok(maps.get_opt("owned").await?.is_none().then_some(()));
        testkit::eventually("the owned object is collected", Duration::from_secs(40), gone).await
    })
}

#[test]
fn the_api_server_and_etcd_can_go_away_and_come_back() -> Result<()> {
    run(async {
        let plane = ControlPlane::start(ControlPlaneOptions {
            audit: false,
            ..Default::default()
        })
        .await?;
        let maps: Api<ConfigMap> = Api::namespaced(plane.client(), "default");
        maps.create(&PostParams::default(), &config_map("kept")).await?;

        plane.kill_api_server()?;
        assert!(maps.get("kept").await.is_err(), "a dead API server answered");
        plane.restart_api_server().await?;
        maps.get("kept").await?;

        plane.stop_etcd()?;
        let write = async { maps.create(&PostParams::default(), &config_map("late")).await };
        let write = tokio::time::timeout(Duration::from_secs(2), write);
        assert!(write.await.is_err(), "a write went through while etcd was frozen");
        plane.cont_etcd()?;
        let written = async || Ok(maps.get_opt("late").await.ok().flatten().map(|_| ()));
        if testkit::eventually("the held back write", Duration::from_secs(5), written)
            .await
            .is_err()
        {
            // Its request was given up by the client; a new one works.
            maps.create(&PostParams::default(), &config_map("late")).await?;
        }

        plane.stop_api_server()?;
        let read = tokio::time::timeout(Duration::from_secs(1), maps.get("kept"));
        assert!(read.await.is_err(), "a frozen API server answered");
        plane.cont_api_server()?;
        maps.get("kept").await?;
        Ok(())
    })
}
