//! PostgreSQL's client tools for the product to find: the real ones of a major, or ones that misbehave on command.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::Major;

/// A folder with the client tools of a major, each with the libraries that it was built with.
pub fn client_tools(major: &Major) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["pg_dump", "pg_dumpall", "pg_restore"] {
        let line = format!("exec \"{}\" \"$@\"", major.program(name).display());
        write_tool(folder.path(), name, &with_libraries(major, &line));
    }
    folder
}

/// Lines of a shell script in which programs of a major find their libraries.
pub fn with_libraries(major: &Major, lines: &str) -> String {
    format!("LD_LIBRARY_PATH=\"{}\"; export LD_LIBRARY_PATH\n{lines}", major.library_path().display())
}

/// Puts a shell script in the place of a tool; it says the same version as ever.
pub fn write_tool(folder: &Path, name: &str, lines: &str) {
    let path = folder.join(name);
    let fresh = folder.join(format!(".{name}.new"));
    fs::write(&fresh, format!("#!/bin/sh\n{lines}\n")).unwrap();
    fs::set_permissions(&fresh, Permissions::from_mode(0o755)).unwrap();
    fs::rename(fresh, path).unwrap();
}
