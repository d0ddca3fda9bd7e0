//! Each row of the table of faults once, on a small package, in the phase that it hurts most.

use std::path::Path;

use anyhow::{Result, ensure};
use gantry_tests::faults::{Cell, FAULTS, Pace, run_all};

use crate::OPERATOR;

/// CRDs of a package.
const CRDS: usize = 8;
/// Control planes side by side: what takes long here is waiting.
const LANES: usize = 3;

#[test]
fn each_fault_ends_as_if_nothing_had_happened() -> Result<()> {
    testkit::run(async {
        let cell = |row| Cell {
            row,
            phase: row.worst,
            size: CRDS,
        };
        let only = std::env::var("GANTRY_FAULTS").unwrap_or_default();
        let wanted = FAULTS
            .iter()
            .filter(|row| only.is_empty() || only.split(',').any(|key| key == row.key));
        let cells: Vec<Cell> = wanted.map(cell).collect();
        let ended = Box::pin(run_all(Path::new(OPERATOR), &cells, LANES, Pace::Short)).await?;
        let failed: Vec<_> = ended
            .iter()
            .filter(|(_, done)| done.is_err())
            .map(|(cell, _)| cell.row.key)
            .collect();
        ensure!(failed.is_empty(), "these did not end as they should: {failed:?}");
        Ok(())
    })
}
