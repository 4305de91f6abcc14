//! The `lakehose` program.

fn main() {}
