//! Builds anew when a migration is added: the macro that brings them in does not watch the folder.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
