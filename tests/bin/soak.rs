//! `make soak`: churn and faults for as long as one likes, and a verdict.

fn main() -> std::process::ExitCode {
    gantry_tests::soak::main()
}
