//! The binary: hands over to [`tidemill::cli`].

fn main() -> std::process::ExitCode {
    tidemill::cli::main()
}
