//! `make demo`.

fn main() -> std::process::ExitCode {
    gantry_tests::demo::main()
}
