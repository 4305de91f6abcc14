//! The `lakehose` program; all of it is in the library.

fn main() -> std::process::ExitCode {
    lakehose::cli::run()
}
