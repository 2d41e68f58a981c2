//! Zstandard for the data files of a `pg_dump` that does not know it: file by file, each proved by reading it again.

use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// The level that PostgreSQL 16 and later are told to use as well.
const LEVEL: i32 = 3;

/// How a file with a table's rows ends: the mark of COPY, and the lines after it. `pg_restore` takes any end for it.
///
/// Source: `WriteDataChunksForTocEntry` and `dumpTableData_copy` in `src/bin/pg_dump`, PostgreSQL 14 and 15.
const END_OF_ROWS: &[u8] = b"\\.\n\n\n";

/// Compresses every data file of a dump to `<name>.zst`; tables of contents stay as they are, as `pg_dump` keeps them.
pub(super) fn compress_below(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "dat") && path.file_stem().is_some_and(|s| s != "toc")
        {
            compress(&path)?;
        }
    }
    Ok(())
}

/// Reads every file that `pg_dump` has compressed with Zstandard to the end of its frame.
///
/// `pg_restore` takes the end of the file for the end of the rows, even where the frame goes on.
pub(super) fn read_frames_below(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        // A large object may be empty.
        if path.extension().is_some_and(|extension| extension == "zst") && path.metadata()?.len() > 0 {
            pass(zstd::Decoder::new(File::open(&path)?)?, |_| Ok(())).map_err(|error| {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                io::Error::new(error.kind(), format!("{name}: {error}"))
            })?;
        }
    }
    Ok(())
}

fn compress(path: &Path) -> io::Result<()> {
    let mut target = path.as_os_str().to_owned();
    target.push(".zst");
    let mut encoder = zstd::Encoder::new(File::create(&target)?, LEVEL)?;
    encoder.include_checksum(true)?;
    let mut end = Vec::new();
    let written = pass(BufReader::with_capacity(1 << 20, File::open(path)?), |chunk| {
        end.extend_from_slice(&chunk[chunk.len().saturating_sub(END_OF_ROWS.len())..]);
        end.drain(..end.len().saturating_sub(END_OF_ROWS.len()));
        encoder.write_all(chunk)
    })?;
    let holds_rows =
        path.file_name().is_some_and(|name| name.as_encoded_bytes().first().is_some_and(u8::is_ascii_digit));
    if holds_rows && end != END_OF_ROWS {
        return Err(io::Error::other(format!("{} cannot be read: it ends before its rows do", path.display())));
    }
    encoder.finish()?;
    let read = pass(zstd::Decoder::new(File::open(&target)?)?, |_| Ok(()))?;
    if read != written {
        return Err(io::Error::other(format!("{} reads differently after it was compressed", path.display())));
    }
    std::fs::remove_file(path)
}

/// Passes everything on, and gives back the checksum of it.
fn pass(mut source: impl Read, mut to: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<[u8; 32]> {
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 256 << 10]);
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            count => {
                let chunk = &buffer[..count];
                hasher.update(chunk);
                to(chunk)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_cut_short_are_not_compressed() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("3001.dat");
        for text in ["", "1\n2\n", "1\n\\.\n\n", "\n\n"] {
            std::fs::write(&file, text).expect("written");
            let error = compress(&file).expect_err(text).to_string();
            assert!(error.ends_with("it ends before its rows do"), "{error}");
        }
        std::fs::write(&file, "\\.\n\n\n").expect("written");
        compress(&file).expect("a table without rows");
    }

    #[test]
    fn data_files_are_compressed_and_tables_of_contents_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let rows = "a row\n".repeat(10_000) + "\\.\n\n\n";
        for (name, text) in [("3001.dat", rows.as_str()), ("blob_7.dat", ""), ("toc.dat", "toc"), ("blobs.toc", "b")] {
            std::fs::write(path(name), text).expect("written");
        }
        compress_below(folder.path()).expect("compressed");
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["3001.dat.zst", "blob_7.dat.zst", "blobs.toc", "toc.dat"]);
        let packed = std::fs::read(path("3001.dat.zst")).expect("readable");
        assert!(packed.len() < rows.len() / 10);
        assert_eq!(zstd::decode_all(packed.as_slice()).expect("unpacked"), rows.as_bytes());
        read_frames_below(folder.path()).expect("whole");
        std::fs::write(path("3001.dat.zst"), &packed[..packed.len() - 3]).expect("cut");
        assert!(read_frames_below(folder.path()).expect_err("cut").to_string().starts_with("3001.dat.zst"));
    }
}
