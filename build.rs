//! Builds anew when a migration is added: the macro that brings them in does not watch the folder.

#![expect(clippy::print_stdout, reason = "how a build script speaks")]

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
