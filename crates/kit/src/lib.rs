//! Plumbing that any controller process needs, whatever it controls.
//!
//! | to … | use |
//! |---|---|
//! | connect | [`client`], and see by [`rights`] what this process may do |
//! | write | [`mod@write`], which asks the [`fence`] |
//! | read | [`read`] for one object, [`definition`] for many CRDs, [`watch`] and [`live`] for what changes |
//! | decide what to do next | [`queue`], [`backoff`], [`clock`] |
//! | do what keeps a core busy | [`work`] |
//! | speak TLS | [`certificate`] |
//! | lead | [`lease`] among replicas, [`claim`] among installations |
//! | run and stop | [`tasks`], [`shutdown`] |
//! | be observed | [`admin`], [`ready`], [`metrics`], [`telemetry`], [`events`] |
//!
//! All bounds are in [`limits`].

pub mod admin;
pub mod answer;
pub mod backoff;
pub mod certificate;
pub mod changes;
pub mod claim;
pub mod client;
pub mod clock;
pub mod definition;
pub mod events;
pub mod fence;
pub mod lease;
pub mod limits;
pub mod live;
pub mod meta;
pub mod metrics;
pub mod queue;
pub mod reach;
pub mod read;
pub mod ready;
pub mod resource;
pub mod rights;
pub mod shutdown;
pub mod span;
pub mod tasks;
pub mod telemetry;
pub mod watch;
pub mod work;
pub mod write;

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    /// A program that has all the flags of this crate.
    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        client: client::ClientArgs,
        #[command(flatten)]
        election: lease::ElectionArgs,
        #[command(flatten)]
        admin: admin::AdminArgs,
        #[command(flatten)]
        telemetry: telemetry::TelemetryArgs,
    }

    #[test]
    fn flags_go_together() {
        Program::command().debug_assert();
        let line = "x -l -d --as me --as-group a --as-group b --metrics-bind-address :0 --log-format text \
                    --leader-election-lease-duration 1m";
        let program = Program::try_parse_from(line.split_whitespace()).unwrap();
        assert!(program.election.enabled(false) && program.telemetry.debug);
        assert_eq!(program.client.impersonate_group, ["a", "b"]);
        assert_eq!(program.admin.metrics_bind_address.port(), 0);
        assert_eq!(program.election.timing().unwrap().lease_duration.as_secs(), 60);
        let off = Program::try_parse_from(["x", "--leader-election=false"]).unwrap();
        assert!(!off.election.enabled(true));
        for bad in [
            "--leader-election=maybe",
            "--leader-election-retry-period=2",
            "--as-group=a",
            "--log-format=x",
        ] {
            assert!(Program::try_parse_from(["x", bad]).is_err(), "{bad}");
        }
    }
}
