use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::{FutureExt, StreamExt, pin_mut};
use http::Method;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use testkit::process::{Process, Spec};
use testkit::{ControlPlane, Fault, FaultProxy, KillSwitch, Match, Rule, Verdict, run};

use crate::shared;

/// A proxy before the shared control plane, and a client through it that may do anything.
async fn through() -> Result<(&'static ControlPlane, FaultProxy, Api<ConfigMap>)> {
    let plane = shared().await?;
    let token = plane.service_account_token("default", "through-proxy").await?;
    let subject = "--serviceaccount=default:through-proxy";
    plane
        .try_kubectl(
            &[
                "create",
                "clusterrolebinding",
                "through-proxy",
                "--clusterrole=cluster-admin",
                subject,
            ],
            None,
        )
        .await?;
    let proxy = FaultProxy::for_api_server(plane).await?;
    let config = Kubeconfig::read_from(proxy.kubeconfig(&token)?)?;
    let mut config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    let client = kube::Client::try_from(config)?;
    let allowed = async || {
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
        Ok(maps.list(&Default::default()).await.ok().map(|_| maps))
    };
    let maps = testkit::eventually("the role is in force", Duration::from_secs(10), allowed).await?;
    proxy.faults().forget();
    Ok((plane, proxy, maps))
}

fn config_map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    }
}

fn post() -> PostParams {
    PostParams::default()
}

#[test]
fn requests_are_seen_and_counted() -> Result<()> {
    run(async {
        let (_, proxy, maps) = through().await?;
        maps.create(&post(), &config_map("counted")).await?;
        maps.get("counted").await?;
        maps.delete("counted", &DeleteParams::default()).await?;
        assert_eq!(proxy.count(&Match::any()), 3);
        assert_eq!(proxy.count(&Match::mutating()), 2);
        assert_eq!(
            proxy.count(&Match::any().method(Method::GET).path("/configmaps/counted")),
            1
        );
        let seen = proxy.faults().seen();
        assert_eq!(
            seen.iter().map(|s| s.status).collect::<Vec<_>>(),
            [Some(201), Some(200), Some(200)]
        );
        Ok(())
    })
}

#[test]
fn rules_strike_the_requests_they_mean_and_no_others() -> Result<()> {
    run(async {
        let (plane, proxy, maps) = through().await?;
        let direct: Api<ConfigMap> = Api::namespaced(plane.client(), "default");

        let refused = proxy
            .faults()
            .add(Rule::new(Match::mutating(), Fault::status(503)).nth(2));
        maps.create(&post(), &config_map("struck-1")).await?;
        assert!(maps.create(&post(), &config_map("struck-2")).await.is_err());
        assert!(
            direct.get_opt("struck-2").await?.is_none(),
            "a refused request went through"
        );
        maps.create(&post(), &config_map("struck-2")).await?;
        assert_eq!(refused.count(), 1);
        proxy.faults().clear();

        proxy
            .faults()
            .add(Rule::new(Match::mutating(), Fault::Reset).times(1));
        let error = maps.create(&post(), &config_map("struck-3")).await.unwrap_err();
        assert!(
            matches!(error, kube::Error::HyperError(_) | kube::Error::Service(_)),
            "{error:?}"
        );
        assert!(
            direct.get_opt("struck-3").await?.is_none(),
            "a reset request went through"
        );
        proxy.faults().clear();

        proxy
            .faults()
            .add(Rule::new(Match::mutating(), Fault::LoseAnswer).times(1));
        assert!(maps.create(&post(), &config_map("struck-3")).await.is_err());
        direct.get("struck-3").await?;
        proxy.faults().clear();

        let slow = Duration::from_millis(400);
        proxy
            .faults()
            .add(Rule::new(Match::any().method(Method::GET), Fault::Latency(slow)).times(1));
        let start = Instant::now();
        maps.get("struck-3").await?;
        assert!(start.elapsed() >= slow);
        proxy.faults().clear();

        for fault in [Fault::Truncate(40), Fault::ResetAfter(40), Fault::Corrupt(0)] {
            proxy
                .faults()
                .add(Rule::new(Match::any().method(Method::GET), fault.clone()).times(1));
            assert!(maps.get("struck-3").await.is_err(), "{fault:?} was not noticed");
            maps.get("struck-3").await?;
        }
        Ok(())
    })
}

#[test]
fn hooks_come_before_the_server_and_after_it() -> Result<()> {
    run(async {
        let (plane, proxy, maps) = through().await?;
        let direct: Api<ConfigMap> = Api::namespaced(plane.client(), "default");
        let (before, after) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));

        let (count, look) = (before.clone(), direct.clone());
        proxy.faults().before(Match::mutating(), move |_| {
            let (count, look) = (count.clone(), look.clone());
            async move {
                let there = look.get_opt("hooked").await.unwrap().is_some();
                assert!(!there, "the hook before came after the server");
                count.fetch_add(1, Ordering::SeqCst);
                Verdict::Forward
            }
            .boxed()
        });
        let (count, look) = (after.clone(), direct.clone());
        proxy.faults().after(Match::mutating(), move |seen| {
            let (count, look) = (count.clone(), look.clone());
            async move {
                assert_eq!(seen.status, Some(201));
                let there = look.get_opt("hooked").await.unwrap().is_some();
                assert!(there, "the hook after came before the server");
                count.fetch_add(1, Ordering::SeqCst);
                Verdict::Drop
            }
            .boxed()
        });
        assert!(
            maps.create(&post(), &config_map("hooked")).await.is_err(),
            "the answer was not dropped"
        );
        assert_eq!(
            (before.load(Ordering::SeqCst), after.load(Ordering::SeqCst)),
            (1, 1)
        );
        direct.get("hooked").await?;

        proxy.faults().clear();
        proxy
            .faults()
            .before(Match::mutating(), |_| async { Verdict::Drop }.boxed());
        assert!(maps.create(&post(), &config_map("dropped")).await.is_err());
        assert!(
            direct.get_opt("dropped").await?.is_none(),
            "a dropped request went through"
        );
        Ok(())
    })
}

#[test]
fn a_kill_switch_kills_at_the_write_it_is_set_to() -> Result<()> {
    run(async {
        let (plane, proxy, maps) = through().await?;
        let direct: Api<ConfigMap> = Api::namespaced(plane.client(), "default");
        let at = testkit::folder("killed")?;
        for (before, name) in [(true, "before"), (false, "after")] {
            proxy.faults().clear();
            let set = if before {
                KillSwitch::before
            } else {
                KillSwitch::after
            };
            let switch = set(proxy.faults(), Match::mutating(), 2);
            let victim = Process::start(Spec::new("sleep", "/bin/sleep", at.path().join("log")).arg("600"))?;
            let names = [1, 2].map(|n| format!("kill-{name}-{n}"));
            maps.create(&post(), &config_map(&names[0])).await?;
            assert!(victim.is_running() && !switch.fired());
            let arm = async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                assert!(victim.is_running(), "killed before it was armed");
                switch.arm(&victim);
            };
            let second = config_map(&names[1]);
            let post = post();
            let (result, ()) = tokio::join!(maps.create(&post, &second), arm);
            assert!(result.is_err() && switch.fired() && !victim.is_running());
            assert_eq!(
                direct.get_opt(&names[1]).await?.is_none(),
                before,
                "kill {name} the write"
            );
            assert_eq!(switch.passed(), 2);
        }
        Ok(())
    })
}

#[test]
fn watches_stream_through_and_can_be_cut() -> Result<()> {
    run(async {
        let (plane, proxy, maps) = through().await?;
        let direct: Api<ConfigMap> = Api::namespaced(plane.client(), "default");
        let version = maps
            .list(&Default::default())
            .await?
            .metadata
            .resource_version
            .unwrap();
        let events = maps.watch(&WatchParams::default(), &version).await?;
        pin_mut!(events);
        let mut next = async |name: &str| -> Result<Option<Duration>> {
            let start = Instant::now();
            loop {
                match tokio::time::timeout(Duration::from_secs(10), events.next()).await? {
                    Some(Ok(WatchEvent::Added(map))) if map.metadata.name.as_deref() == Some(name) => {
                        return Ok(Some(start.elapsed()));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Ok(None),
                }
            }
        };
        direct.create(&post(), &config_map("watched-1")).await?;
        assert!(
            next("watched-1")
                .await?
                .is_some_and(|d| d < Duration::from_secs(2))
        );
        proxy.freeze();
        direct.create(&post(), &config_map("watched-2")).await?;
        tokio::spawn({
            let thaw = Duration::from_millis(700);
            let proxy = Arc::new(proxy);
            async move {
                tokio::time::sleep(thaw).await;
                proxy.thaw();
                tokio::time::sleep(thaw).await;
                proxy.cut();
                // Held until the watch has noticed.
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        });
        assert!(
            next("watched-2")
                .await?
                .is_some_and(|d| d > Duration::from_millis(500)),
            "not held back"
        );
        assert!(next("never").await?.is_none(), "the watch was not cut");
        Ok(())
    })
}

#[test]
fn a_stopped_proxy_refuses_and_comes_back() -> Result<()> {
    run(async {
        let (_, proxy, maps) = through().await?;
        proxy.stop();
        assert!(maps.list(&Default::default()).await.is_err());
        proxy.start_again().await?;
        maps.list(&Default::default()).await?;
        Ok(())
    })
}
