//! The `ocm` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    ocm::cli::main()
}
