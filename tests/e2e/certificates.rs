//! Certificates on a real API server: secrets as they should be, asked for and written only when something is different.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use kit::certificate::{Certificate, Contents, Usage, read, verifies};
use kit::fence::Fence;
use kit::live::Live;
use kit::meta::Owner;
use kit::metrics::{Build, Metrics, WatchCounts, Writes};
use kit::resource::Resource;
use kit::tasks::Tasks;
use kit::watch::{Watch, Watches};
use kit::write::Writer;
use operator::certificates::{AUTHORITY_SECRET, Done, Ensured, Keeper, Rules, Trouble, Want};
use serde_json::Value;
use testkit::{ControlPlane, run};
use tokio_util::sync::CancellationToken;

use crate::plane;
use crate::scene::SOON;

/// A namespace with its own authority.
pub(crate) struct Room {
    pub(crate) plane: &'static ControlPlane,
    pub(crate) namespace: &'static str,
    pub(crate) secrets: Live,
    pub(crate) writer: Writer,
    owner: Owner,
}

impl Room {
    pub(crate) async fn new(namespace: &'static str) -> Result<Self> {
        let plane = plane().await?;
        plane.namespace(namespace).await?;
        plane
            .kubectl(&["create", "configmap", "owner", "-n", namespace])
            .await?;
        let build = Build {
            version: "0",
            revision: "0",
        };
        let metrics = Metrics::new("test", build);
        let tasks = Tasks::new(CancellationToken::new());
        let watches = Watches::new(plane.client(), tasks, WatchCounts::register(&metrics));
        let secrets = watches.metadata(
            &Resource::new("", "v1", "secrets", "Secret"),
            Watch::all().within(namespace),
        );
        secrets.wait_ready(SOON).await?;
        let mut room = Self {
            plane,
            namespace,
            secrets,
            writer: Writer::new(plane.client(), Fence::open(), Writes::register(&metrics)),
            owner: Owner::default(),
        };
        let owner = room.get("configmap", "owner").await?;
        room.owner = Owner {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            name: "owner".into(),
            uid: owner["metadata"]["uid"].as_str().context("a UID")?.into(),
            controller: true,
            block_owner_deletion: true,
        };
        Ok(room)
    }

    fn keeper(&self) -> Keeper {
        let rules = Rules {
            settle: Duration::from_secs(1),
            pause: Duration::from_millis(50),
            writes: 2,
            ..Rules::default()
        };
        Keeper::new(self.writer.clone(), self.secrets.clone(), self.namespace, rules)
    }

    fn wants(&self) -> Vec<Want> {
        let want = |secret: &str, usage, name: &str| Want {
            secret: secret.into(),
            usage,
            names: vec![name.into(), format!("{name}.{}", self.namespace)],
            owners: vec![self.owner.clone()],
            siblings: BTreeSet::new(),
            common: false,
            serving: None,
            callers: None,
            untouched: false,
        };
        vec![
            want("a-tls-server", Usage::Server, "a"),
            want("a-tls-client", Usage::Client, "a-1"),
            want("b-tls-server", Usage::Server, "b"),
        ]
    }

    async fn get(&self, kind: &str, name: &str) -> Result<Value> {
        let args = [
            "get",
            kind,
            name,
            "-n",
            self.namespace,
            "-o",
            "json",
            "--show-managed-fields",
        ];
        Ok(serde_json::from_str(&self.plane.kubectl(&args).await?)?)
    }

    async fn contents(&self, name: &str) -> Result<Contents> {
        let secret = self.get("secret", name).await?;
        let data: BTreeMap<String, k8s_openapi::ByteString> = serde_json::from_value(secret["data"].clone())?;
        Ok(read(
            &data.into_iter().map(|(key, value)| (key, value.0)).collect(),
        ))
    }

    /// Passes as the keeper asks for them, until there is nothing to do soon.
    pub(crate) async fn quiet(&self, keeper: &Keeper) -> Result<(Ensured, Vec<Done>)> {
        let wants = self.wants();
        let mut done = vec![];
        let end = tokio::time::Instant::now() + SOON;
        loop {
            let mut ensured = keeper.ensure(&wants, Timestamp::now()).await?;
            done.append(&mut ensured.done);
            if ensured.look_again > Duration::from_secs(60) {
                return Ok((ensured, done));
            }
            anyhow::ensure!(tokio::time::Instant::now() < end, "never quiet: {ensured:?}");
            tokio::time::sleep(ensured.look_again).await;
        }
    }

    /// Requests for secrets of this namespace but for the watch.
    fn requests(&self, since: testkit::AuditMark) -> Result<Vec<String>> {
        let events = self.plane.audit_since(since)?;
        let ours = events
            .into_iter()
            .filter(|event| event.namespace == self.namespace && event.resource == "secrets");
        let asked = ours.filter(|event| event.verb != "watch" && !event.agent.starts_with("kubectl"));
        Ok(asked
            .map(|event| format!("{} {}", event.verb, event.name))
            .collect())
    }

    /// Until the cache shows that somebody changed something.
    pub(crate) async fn noticed(&self, name: &str, is: impl Fn(Option<&str>) -> bool) -> Result<()> {
        let look = async || {
            let meta = self.secrets.get(name);
            anyhow::Ok(is(meta.as_ref().map(|meta| meta.resource_version.as_str())).then_some(()))
        };
        testkit::eventually("the cache has it", SOON, look).await
    }

    pub(crate) async fn all_by(&self, authority: &Certificate) -> Result<bool> {
        for want in self.wants() {
            let Contents::Whole(leaf) = self.contents(&want.secret).await? else {
                return Ok(false);
            };
            if !verifies(&leaf.chain, &[authority], want.usage, Timestamp::now())
                || leaf.authorities != [authority.clone()]
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(crate) async fn authority(&self) -> Result<Certificate> {
        match self.contents(AUTHORITY_SECRET).await? {
            Contents::Whole(pair) => Ok(pair.chain[0].clone()),
            other => anyhow::bail!("{other:?}"),
        }
    }
}

#[test]
fn certificates_are_made_kept_mended_and_rotated() -> Result<()> {
    run(async {
        let room = Room::new("certificates").await?;
        let keeper = room.keeper();
        let (ensured, done) = room.quiet(&keeper).await?;
        assert_eq!(done.len(), 4, "{done:?}");
        assert!(
            ensured
                .leaves
                .iter()
                .all(|leaf| leaf.ready && leaf.trouble.is_none())
        );
        let first = room.authority().await?;
        assert!(room.all_by(&first).await?);
        let secret = room.get("secret", "a-tls-server").await?;
        assert_eq!(secret["type"], "Opaque");
        assert_eq!(secret["metadata"]["ownerReferences"][0]["name"], "owner");
        let manager = &secret["metadata"]["managedFields"][0]["manager"];
        assert_eq!(manager, api::FIELD_MANAGER_RUNTIME);

        // Idle: nothing is asked. A restart reads each once, and writes nothing.
        let mark = room.plane.audit_mark()?;
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            room.quiet(&keeper).await?;
        }
        assert_eq!(room.requests(mark)?, Vec::<String>::new());
        let keeper = room.keeper();
        let (_, done) = room.quiet(&keeper).await?;
        assert_eq!((done, room.requests(mark)?.len()), (vec![], 4));
        room.quiet(&keeper).await?;
        assert_eq!(room.requests(mark)?.len(), 4);

        // Somebody takes a key away.
        let patch = [
            "patch",
            "secret",
            "a-tls-server",
            "-n",
            room.namespace,
            "-p",
            r#"{"data":{"tls.key":null}}"#,
        ];
        let before = room.secrets.get("a-tls-server").context("cached")?;
        room.plane.kubectl(&patch).await?;
        room.noticed("a-tls-server", |now| now != Some(&before.resource_version))
            .await?;
        let (_, done) = room.quiet(&keeper).await?;
        assert_eq!(done.len(), 1, "{done:?}");
        assert!(room.all_by(&first).await?);

        // Somebody asks for another authority.
        let ask = [
            "annotate",
            "secret",
            AUTHORITY_SECRET,
            "-n",
            room.namespace,
            "gantry.dev/rotate-requested-at=1",
        ];
        let before = room.secrets.get(AUTHORITY_SECRET).context("cached")?;
        room.plane.kubectl(&ask).await?;
        room.noticed(AUTHORITY_SECRET, |now| now != Some(&before.resource_version))
            .await?;
        let (ensured, done) = room.quiet(&keeper).await?;
        let second = room.authority().await?;
        assert!(first != second && !ensured.rotating && room.all_by(&second).await?);
        // Announced to three, issued for three, and the first taken from three; three steps of the authority.
        assert_eq!(done.len(), 12, "{done:?}");
        let secret = room.get("secret", AUTHORITY_SECRET).await?;
        let keys: Vec<_> = secret["data"].as_object().context("data")?.keys().collect();
        assert_eq!(keys, ["tls.crt", "tls.key"]);

        // Somebody deletes it.
        let delete = ["delete", "secret", AUTHORITY_SECRET, "-n", room.namespace];
        room.plane.kubectl(&delete).await?;
        room.noticed(AUTHORITY_SECRET, |now| now.is_none()).await?;
        let (_, done) = room.quiet(&keeper).await?;
        let third = room.authority().await?;
        assert!(second != third && room.all_by(&third).await?);
        assert_eq!(done.len(), 11, "{done:?}");
        Ok(())
    })
}

#[test]
fn what_the_api_server_refuses_is_told_and_holds_up_nothing_else() -> Result<()> {
    run(async {
        let room = Room::new("certificates-refused").await?;
        let made = ["create", "-n", room.namespace, "-f", "-"];
        let fixed = r#"{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a-tls-server"}, "immutable": true}"#;
        room.plane.try_kubectl(&made, Some(fixed)).await?;
        room.noticed("a-tls-server", |now| now.is_some()).await?;
        let keeper = room.keeper();
        let mut ensured = keeper.ensure(&room.wants(), Timestamp::now()).await?;
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            ensured = keeper.ensure(&room.wants(), Timestamp::now()).await?;
        }
        let ready: Vec<bool> = ensured.leaves.iter().map(|leaf| leaf.ready).collect();
        assert_eq!(ready, [false, true, true], "{ensured:?}");
        let trouble = ensured.leaves[0].trouble.as_ref().context("trouble")?;
        assert!(
            matches!(trouble, Trouble::NotWritten { transient: false, .. }),
            "{trouble:?}"
        );
        assert!(trouble.to_string().contains("immutable"), "{trouble}");
        assert!(ensured.look_again <= Duration::from_secs(60));
        Ok(())
    })
}
