//! The form of a row that outlives a user's own types and a dump: what digests are kept of, beside the rows.
//!
//! The binary form of an array or a row of a user's types holds their numbers, which are others after a dump was restored, and
//! that of an enumeration or of `regclass` a name that may be another one by then: of those the text counts. A dump is text, too,
//! in which every NaN is the same one, whatever its sign and its payload were: here they are the same.

use super::digest::{RowHash, RowHasher};
use super::shape::{Carrier, Column, Shape};

/// What the server makes of the text `NaN`.
const NAN_4: [u8; 4] = f32::NAN.to_bits().to_be_bytes();
const NAN_8: [u8; 8] = f64::NAN.to_bits().to_be_bytes();

/// How the lasting form of a row is made of its fields.
#[derive(Debug, Clone)]
pub struct Lasting {
    /// Where each column stands.
    places: Vec<usize>,
    /// Whether those are the columns themselves.
    is_own: bool,
    floats: Vec<Floats>,
}

/// Floating-point numbers in the binary form of a column.
#[derive(Debug, Clone, Copy)]
struct Floats {
    column: usize,
    /// How many bytes come before the first.
    skip: usize,
    /// How many bytes each has.
    width: usize,
}

impl Lasting {
    /// Of rows of every column, and then the texts of these.
    pub fn of<'t>(shape: &Shape, texts: impl Iterator<Item = (usize, &'t Column)>) -> Self {
        let mut lasting = Self::shown(shape);
        for (nth, (place, column)) in texts.enumerate() {
            if column.is_shown_as_text() {
                lasting.places[place] = shape.columns.len() + nth;
                lasting.is_own = false;
            }
        }
        lasting
    }

    /// Of rows as the archive shows them.
    pub fn shown(shape: &Shape) -> Self {
        let floats = shape.columns.iter().enumerate().filter_map(|(column, of)| {
            let (skip, width) = floats_in(of)?;
            Some(Floats { column, skip, width })
        });
        Self { places: (0..shape.columns.len()).collect(), is_own: true, floats: floats.collect() }
    }

    /// How many columns a row has.
    pub fn columns(&self) -> usize {
        self.places.len()
    }

    /// The hash of a row in the lasting form; `own` is that of its columns as they are.
    pub fn hash(&self, own: RowHash, fields: &[Option<&[u8]>], hasher: &mut RowHasher) -> RowHash {
        let odd =
            self.floats.iter().filter_map(|floats| Some((floats.column, floats.settled(fields[floats.column]?)?)));
        let odd: Vec<(usize, Vec<u8>)> = odd.collect();
        if self.is_own && odd.is_empty() {
            return own;
        }
        hasher.hash(self.places.iter().enumerate().map(|(column, place)| {
            let settled = odd.iter().find(|(of, _)| *of == column).map(|(_, field)| field.as_slice());
            settled.or(fields[*place])
        }))
    }
}

impl Floats {
    /// The field with every NaN as the same one, where one of them is not.
    fn settled(self, field: &[u8]) -> Option<Vec<u8>> {
        let is_odd = |word: &[u8]| match word.try_into().map(f64::from_be_bytes) {
            Ok(word_8) => word_8.is_nan() && word != NAN_8,
            Err(_) => word.try_into().map(f32::from_be_bytes).is_ok_and(f32::is_nan) && word != NAN_4,
        };
        if !field.get(self.skip..)?.chunks_exact(self.width).any(is_odd) {
            return None;
        }
        let mut settled = field.to_vec();
        for word in settled[self.skip..].chunks_exact_mut(self.width) {
            if is_odd(word) {
                word.copy_from_slice(if self.width == 8 { &NAN_8 } else { &NAN_4 });
            }
        }
        Some(settled)
    }
}

/// Where floating-point numbers stand in the binary form of a column's type: after how many bytes, each of how many.
fn floats_in(column: &Column) -> Option<(usize, usize)> {
    if column.carrier == Carrier::Text {
        return None;
    }
    match column.stored.as_str() {
        "real" => Some((0, 4)),
        "double precision" | "point" | "line" | "lseg" | "box" | "circle" => Some((0, 8)),
        // The number of points.
        "polygon" => Some((4, 8)),
        // Whether it is closed, too.
        "path" => Some((5, 8)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nan_is_the_same_and_other_values_are_as_they_are() {
        let eight = Floats { column: 0, skip: 0, width: 8 };
        let negative = (-f64::NAN).to_be_bytes();
        let payload = f64::from_bits(0x7ff0_0000_0000_0001).to_be_bytes();
        assert_eq!(eight.settled(&negative), Some(NAN_8.to_vec()));
        assert_eq!(eight.settled(&payload), Some(NAN_8.to_vec()));
        for value in [0.0, -0.0, 1.5, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, 5e-324, f64::NAN] {
            assert_eq!(eight.settled(&value.to_be_bytes()), None, "{value}");
        }
        let four = Floats { width: 4, ..eight };
        assert_eq!(four.settled(&(-f32::NAN).to_be_bytes()), Some(NAN_4.to_vec()));
        assert_eq!(four.settled(&f32::NAN.to_be_bytes()), None);
        let path = Floats { skip: 5, ..eight };
        let points = [&[1, 0, 0, 0, 1][..], &1.0_f64.to_be_bytes(), &negative].concat();
        let expected = [&[1, 0, 0, 0, 1][..], &1.0_f64.to_be_bytes(), &NAN_8].concat();
        assert_eq!(path.settled(&points), Some(expected));
        assert_eq!(path.settled(&[]), None);
    }
}
