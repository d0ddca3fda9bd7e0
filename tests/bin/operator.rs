//! The operator, so that `cargo test` builds it.

fn main() -> std::process::ExitCode {
    operator::main()
}
