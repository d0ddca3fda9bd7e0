//! `make demo` and `make demo-cluster`.

fn main() -> std::process::ExitCode {
    gantry_tests::demo::main()
}
