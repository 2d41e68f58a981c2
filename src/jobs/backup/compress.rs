//! The data files of a dump: whether each comes to its end, and Zstandard for those of a `pg_dump` that does not know it.

use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// The level that PostgreSQL 16 and later are told to use as well.
const LEVEL: i32 = 3;

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

/// What every table's data ends with, even an empty one's.
const END: &[u8] = b"\\.\n\n\n";

/// The first data file of a table that does not come to its end, if there is one.
///
/// `pg_restore` takes a compressed file that is cut short for one with fewer rows, and one of no bytes for one of no rows.
/// A file in gzip is only looked at for being empty: there `pg_restore` sees the cut.
pub(super) fn first_cut(folder: &Path) -> io::Result<Option<String>> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Those of tables have a number for a name; a large object may hold anything.
        if !name.starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        let is_whole = match Path::new(&name).extension().and_then(|extension| extension.to_str()) {
            Some("zst") => ends_well(zstd::Decoder::new(File::open(entry.path())?)?),
            Some("dat") => ends_well(File::open(entry.path())?),
            _ => Ok(entry.metadata()?.len() > 0),
        };
        if !is_whole.unwrap_or(false) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn ends_well(source: impl Read) -> io::Result<bool> {
    let mut tail: Vec<u8> = Vec::new();
    pass(source, |chunk| {
        tail.extend_from_slice(chunk);
        tail.drain(..tail.len().saturating_sub(END.len()));
        Ok(())
    })?;
    Ok(tail == END)
}

fn compress(path: &Path) -> io::Result<()> {
    let mut target = path.as_os_str().to_owned();
    target.push(".zst");
    let mut encoder = zstd::Encoder::new(File::create(&target)?, LEVEL)?;
    encoder.include_checksum(true)?;
    let written = checksum(BufReader::with_capacity(1 << 20, File::open(path)?), |chunk| encoder.write_all(chunk))?;
    encoder.finish()?;
    let read = checksum(zstd::Decoder::new(File::open(&target)?)?, |_| Ok(()))?;
    if read != written {
        return Err(io::Error::other(format!("{} reads differently after it was compressed", path.display())));
    }
    std::fs::remove_file(path)
}

/// Passes everything on, and gives back the checksum of it.
fn checksum(source: impl Read, mut to: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    pass(source, |chunk| {
        hasher.update(chunk);
        to(chunk)
    })?;
    Ok(hasher.finalize().into())
}

fn pass(mut source: impl Read, mut to: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(()),
            count => to(&buffer[..count])?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_files_are_compressed_and_tables_of_contents_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let rows = "a row\n".repeat(10_000);
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
    }

    #[test]
    fn a_data_file_that_is_cut_anywhere_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let rows = [b"a row\n".repeat(1000).as_slice(), END].concat();
        std::fs::write(folder.path().join("blob_1.dat"), "").expect("written");
        let packed = zstd::encode_all(rows.as_slice(), LEVEL).expect("packed");
        for (name, whole) in [("3001.dat", rows), ("3002.dat.zst", packed)] {
            let path = folder.path().join(name);
            std::fs::write(&path, &whole).expect("written");
            assert_eq!(first_cut(folder.path()).expect("readable"), None);
            for length in 0..whole.len() {
                std::fs::write(&path, &whole[..length]).expect("written");
                assert_eq!(first_cut(folder.path()).expect("readable").as_deref(), Some(name), "{length} bytes");
            }
            std::fs::write(&path, &whole).expect("written");
        }
    }
}
