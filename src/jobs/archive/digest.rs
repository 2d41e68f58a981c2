//! A digest of a multiset of rows: equal for equal rows in whatever order, each as often as it is there.
//!
//! Each row's binary fields are hashed to 128 bits with XXH3, and the hashes are added up modulo 2^128. A sum, unlike
//! an exclusive or, does not lose rows that are there twice. It guards against our own mistakes and a disk's, not
//! against somebody who forges rows.

use xxhash_rust::xxh3::xxh3_128;

/// The hash of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowHash(u128);

/// Hashes rows, with a buffer that is used again and again.
#[derive(Debug, Default)]
pub struct RowHasher {
    row: Vec<u8>,
}

impl RowHasher {
    /// The hash of a row's fields.
    pub fn hash<'f>(&mut self, fields: impl IntoIterator<Item = Option<&'f [u8]>>) -> RowHash {
        self.row.clear();
        for field in fields {
            // Lengths are hashed, too, so that the borders between fields count.
            let length = field.map_or(u32::MAX, |field| u32::try_from(field.len()).unwrap_or(u32::MAX - 1));
            self.row.extend_from_slice(&length.to_le_bytes());
            self.row.extend_from_slice(field.unwrap_or_default());
        }
        RowHash(xxh3_128(&self.row))
    }
}

/// The digest of some rows, and how many they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest {
    sum: u128,
    /// How many rows it is of.
    pub rows: u64,
}

impl Digest {
    /// Takes a row in.
    pub const fn add(&mut self, row: RowHash) {
        self.sum = self.sum.wrapping_add(row.0);
        self.rows += 1;
    }

    /// Takes other rows in.
    pub const fn merge(&mut self, other: Self) {
        self.sum = self.sum.wrapping_add(other.sum);
        self.rows += other.rows;
    }

    /// The 16 bytes that are kept with the rows.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.sum.to_be_bytes()
    }

    /// A digest that was kept.
    pub fn from_bytes(bytes: &[u8], rows: u64) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self { sum: u128::from_be_bytes(bytes), rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &[&[Option<&[u8]>]]) -> Digest {
        let mut digest = Digest::default();
        for row in rows {
            digest.add(RowHasher::default().hash(row.iter().copied()));
        }
        digest
    }

    #[test]
    fn order_does_not_count_and_everything_else_does() {
        let a: &[Option<&[u8]>] = &[Some(b"1"), Some(b"x")];
        let b: &[Option<&[u8]>] = &[Some(b"2"), None];
        assert_eq!(of(&[a, b]), of(&[b, a]));
        assert_ne!(of(&[a, b]), of(&[a, b, b]));
        assert_ne!(of(&[a, a]), of(&[b, b]));
        assert_ne!(of(&[a, a]), of(&[]), "what is there twice is not lost");
        assert_ne!(of(&[&[Some(b"ab"), Some(b"c")]]), of(&[&[Some(b"a"), Some(b"bc")]]));
        assert_ne!(of(&[&[Some(b"")]]), of(&[&[None]]));
    }

    #[test]
    fn a_digest_survives_being_kept() {
        let digest = of(&[&[Some(b"1")], &[None]]);
        assert_eq!(Digest::from_bytes(&digest.to_bytes(), 2), Some(digest));
        assert_eq!(Digest::from_bytes(b"short", 2), None);
    }
}
