//! `make bench`: measures Gantry beside a bare client and writes BENCHMARKS.md.

fn main() -> std::process::ExitCode {
    gantry_tests::bench::main()
}
