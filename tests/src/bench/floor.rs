//! The floor: what the API server takes when a client does nothing but send.

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Method;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use testkit::tools::workspace;
use testkit::world::{ACCOUNT, NAMESPACE, USER};
use testkit::{ControlPlane, World, WorldOptions};

use super::bare::{Bare, Call};
use super::figures::Floor;
use super::inputs::{self, Inputs};
use super::observer::Observer;
use super::{CONNECTIONS, ROUNDS, quiet};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Creates the first `size` CRDs; if asked, then patches the metadata of each, and answers how many seconds that took in
/// each round.
pub(super) async fn run(inputs: &Inputs, size: usize, patch: bool) -> Result<(Floor, Vec<f64>)> {
    let options = WorldOptions {
        stand_ins: false,
        ..WorldOptions::default()
    };
    let world = World::start(options).await?;
    let plane = world.plane();
    install_ours(plane).await?;
    let token = plane.service_account_token(NAMESPACE, ACCOUNT).await?;
    let bare = Bare::new(plane.addr(), plane.authority().certificate(), &token)?;
    let objects = inputs.objects(size)?;
    let names = inputs::names(&objects);
    let owners = owners(plane, 2, 0).await?;
    let calls = inputs::bodies(&objects, &owners).into_iter().map(|body| Call {
        method: Method::POST,
        path: format!("{CRDS}?fieldManager=bare-client"),
        content_type: "application/json",
        body: body.into(),
    });
    let calls: Vec<Call> = calls.collect();
    drop(objects);
    quiet(plane).await?;

    let mut observer = Observer::new(plane, &names, USER)?;
    let cpu = plane.api_cpu_seconds()?;
    bare.send_all(calls, CONNECTIONS).await?;
    observer
        .until("all CRDs are established", Observer::all_established)
        .await?;
    let floor = Floor {
        written: observer.writing()?,
        established: observer.establishing()?,
        api_cpu: plane.api_cpu_seconds()? - cpu,
        api_rss: plane.api_rss()?,
    };
    observer.confirm().await?;
    let mut patched = vec![];
    for round in 0..if patch { ROUNDS } else { 0 } {
        // Another owner controls each time: a patch that changes nothing would not be written.
        let owners = self::owners(plane, 3, round % 3).await?;
        quiet(plane).await?;
        let mut observer = Observer::new(plane, &names, USER)?;
        bare.send_all(patches(&names, &owners), CONNECTIONS).await?;
        observer
            .until("all patches are in the log", |seen| seen.count() == names.len())
            .await?;
        patched.push(observer.writing()?);
    }
    Ok((floor, patched))
}

/// Merge patches of nothing but the owners.
fn patches(names: &[String], owners: &Value) -> Vec<Call> {
    let body = Bytes::from(json!({ "metadata": { "ownerReferences": owners } }).to_string());
    let patch = |name: &String| Call {
        method: Method::PATCH,
        path: format!("{CRDS}/{name}?fieldManager=bare-client"),
        content_type: "application/merge-patch+json",
        body: body.clone(),
    };
    names.iter().map(patch).collect()
}

/// The operator's own CRDs are there too when it installs: the API server has them to serve in both runs.
pub(super) async fn install_ours(plane: &ControlPlane) -> Result<()> {
    let folder = workspace().join("deploy/crds");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        plane.apply_yaml(&std::fs::read_to_string(entry?.path())?).await?;
    }
    Ok(())
}

/// Owner references like those of a package manager, to objects that exist, since the garbage collector looks.
pub(super) async fn owners(plane: &ControlPlane, count: usize, controller: usize) -> Result<Value> {
    let api: Api<k8s_openapi::api::rbac::v1::ClusterRole> = Api::all(plane.client());
    let mut owners = Vec::new();
    for n in 0..count {
        let name = format!("provider-bench-owner-{n}");
        let role = serde_json::from_value(json!({ "metadata": { "name": name }, "rules": [] }))?;
        let found = match api.get_opt(&name).await? {
            Some(found) => found,
            None => api.create(&PostParams::default(), &role).await?,
        };
        owners.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "name": name,
            "uid": found.metadata.uid, "controller": n == controller, "blockOwnerDeletion": true,
        }));
    }
    Ok(json!(owners))
}
