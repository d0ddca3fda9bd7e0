//! `make demo` and `make demo-cluster`: show what Gantry does, and check what they show. The first on a real API server and
//! a real registry, with the operator beside them; the second on a whole node, with the operator installed by Helm. The
//! story is one.
//!
//! One file per chapter: [`prepare`] (start, build, push), [`install`], [`upgrade`], [`outage`]. Who runs the operator is
//! known to [`operator`] only.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

mod install;
mod operator;
mod outage;
mod prepare;
mod source;
mod stage;
mod table;
mod terminal;
mod upgrade;

use operator::Place;
use terminal::Terminal;

/// Exit status after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

/// Shows what Gantry does, and checks what it shows. DEMO_EXIT=1 in the environment ends it at the end.
#[derive(Debug, Parser)]
#[command(name = "gantry-demo")]
struct Args {
    /// On a whole node, with the operator installed by Helm. Needs root on Linux.
    #[arg(long)]
    cluster: bool,
}

/// Runs the demonstration. The exit status is 0 only if every step showed what it says.
pub fn main() -> ExitCode {
    let place = if Args::parse().cluster {
        Place::Cluster
    } else {
        Place::Loopback
    };
    let mut terminal = Terminal::new();
    let shown = testkit::run(async {
        tokio::select! {
            shown = show(place, &mut terminal) => Some(shown),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    match shown {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            terminal.failed(&error);
            ExitCode::FAILURE
        }
        None if terminal.is_done() => {
            terminal.plain("\nStopping everything.");
            ExitCode::SUCCESS
        }
        None => {
            terminal.plain("\nInterrupted; everything that was started is stopped.");
            ExitCode::from(INTERRUPTED)
        }
    }
}

async fn show(place: Place, terminal: &mut Terminal) -> Result<()> {
    let mut stage = match place {
        Place::Loopback => {
            terminal.step("Start an API server, a registry, and the operator with its own rights");
            prepare::on_loopback(terminal).await?
        }
        Place::Cluster => {
            terminal.step("Start a node with pods and a registry, and install the operator by Helm");
            prepare::on_a_node(terminal).await?
        }
    };

    stage.step("Build three packages and push them");
    prepare::publish(&mut stage).await?;

    stage.step("Install a Provider and a Configuration that needs it");
    install::small(&mut stage).await?;

    stage.step("Install a Provider of real size");
    install::large(&mut stage).await?;

    stage.step("Move the Provider's tag, and ask for a check");
    upgrade::requested(&mut stage).await?;

    stage.step("Move the Configuration's tag, and touch nothing in the cluster");
    upgrade::polled(&mut stage).await?;

    stage.step("Go to the next version; the oldest revision is collected");
    upgrade::collected(&mut stage).await?;

    stage.step("Ask for a version that cannot work here");
    upgrade::refused(&mut stage).await?;

    stage.step("Stop the registry, and roll back");
    outage::rollback(&mut stage).await?;

    stage.step("Kill the operator and delete a CRD, while the registry is down");
    outage::repair(&mut stage).await?;

    stage.step("Start the registry again");
    outage::recovery(&mut stage).await?;

    stage.summary().await?;
    if std::env::var_os("DEMO_EXIT").is_none_or(|v| v.is_empty()) {
        stage.look_around();
        // Until Ctrl-C, for which the caller waits.
        std::future::pending::<()>().await;
    }
    Ok(())
}
