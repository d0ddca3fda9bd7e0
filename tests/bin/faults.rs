//! `make faults`: lets everything go wrong that the table has, and writes docs/reliability.md.

fn main() -> std::process::ExitCode {
    gantry_tests::faults::main()
}
