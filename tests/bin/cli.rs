//! The CLI, so that `cargo test` builds it.

fn main() -> std::process::ExitCode {
    cli::main()
}
