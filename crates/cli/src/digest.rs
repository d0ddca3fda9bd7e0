//! `gantry digest`.

use anyhow::Context as _;
use clap::Args;
use oci::Reference;
use registry::Deadline;
use serde::Serialize;

use crate::limits::ASK_DEADLINE;
use crate::output::{Form, Output};
use crate::remote::{Remote, runtime};
use crate::surroundings::Surroundings;

/// Show the digest that a registry has for a tag.
#[derive(Args, Debug)]
pub(crate) struct Digest {
    /// Image with registry and tag: registry.example.org/team/name:v1.0.0.
    #[arg(value_name = "REF")]
    reference: String,
    #[command(flatten)]
    remote: Remote,
    /// Form of the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    reference: String,
    digest: String,
    media_type: String,
    size: u64,
}

impl Digest {
    pub(crate) fn run(&self, surroundings: &Surroundings, output: &mut Output<'_>) -> anyhow::Result<()> {
        let reference = Reference::parse(&self.reference)
            .with_context(|| format!("{:?} is not a reference of an image", self.reference))?;
        let client = self.remote.client(surroundings)?;
        let described = runtime()?.block_on(async {
            let keychain = self.remote.keychain(&reference, surroundings, output).await;
            client
                .head(&reference, &keychain, Deadline::after(ASK_DEADLINE))
                .await
        })?;
        let report = Report {
            reference: reference.to_string(),
            digest: described.digest.to_string(),
            media_type: described.media_type,
            size: described.size,
        };
        output.result(self.output, &report, |report| format!("{}\n", report.digest))
    }
}
