//! COPY's binary format, read and written.
//!
//! Source: PostgreSQL documentation, COPY, "Binary Format", and `array_send` in `src/backend/utils/adt/arrayfuncs.c`
//! for arrays.

/// How a stream that claims to be COPY's binary format is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// It does not begin as it must.
    #[error("the server's copy stream does not begin with the binary format's signature")]
    Signature,
    /// A row has another number of fields than was asked for.
    #[error("the server's copy stream has a row of {found} fields where {expected} were asked for")]
    Fields {
        /// How many there are.
        found: i16,
        /// How many there should be.
        expected: usize,
    },
    /// It ends in the middle of a row.
    #[error("the server's copy stream ends before its last row does")]
    Cut,
}

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// Signature, flags, and the length of an extension that no version has.
const HEADER: usize = SIGNATURE.len() + 8;

/// Takes a stream apart into rows, however it is cut into pieces.
#[derive(Debug)]
pub struct Rows {
    fields: usize,
    begun: bool,
    ended: bool,
    rest: Vec<u8>,
}

impl Rows {
    /// For rows of so many fields.
    pub const fn of(fields: usize) -> Self {
        Self { fields, begun: false, ended: false, rest: Vec::new() }
    }

    /// Takes a piece, and hands on each row that is complete with it.
    ///
    /// # Errors
    /// When the stream is not what it should be, or the receiver fails.
    pub fn push<E: From<CopyError>>(
        &mut self,
        piece: &[u8],
        mut row: impl FnMut(&[Option<&[u8]>]) -> Result<(), E>,
    ) -> Result<(), E> {
        // A server sends whole rows, so there is seldom a rest.
        let joined;
        let mut input = if self.rest.is_empty() {
            piece
        } else {
            self.rest.extend_from_slice(piece);
            joined = std::mem::take(&mut self.rest);
            &joined[..]
        };
        if !self.begun {
            if input.len() < HEADER {
                self.rest = input.to_vec();
                return Ok(());
            }
            if !input.starts_with(SIGNATURE) {
                return Err(CopyError::Signature.into());
            }
            self.begun = true;
            input = &input[HEADER..];
        }
        let mut fields: Vec<Option<&[u8]>> = Vec::with_capacity(self.fields);
        while !self.ended && !input.is_empty() {
            match self.next_row(input, &mut fields)? {
                Some(used) if self.ended => input = &input[used..],
                Some(used) => {
                    row(&fields)?;
                    input = &input[used..];
                }
                None => break,
            }
        }
        self.rest = input.to_vec();
        Ok(())
    }

    /// Reads one row; gives back how many bytes it takes, or nothing when it is not complete.
    fn next_row<'a>(
        &mut self,
        input: &'a [u8],
        fields: &mut Vec<Option<&'a [u8]>>,
    ) -> Result<Option<usize>, CopyError> {
        fields.clear();
        let Some(count) = input.first_chunk::<2>().map(|bytes| i16::from_be_bytes(*bytes)) else { return Ok(None) };
        if count == -1 {
            self.ended = true;
            return Ok(Some(2));
        }
        if usize::try_from(count) != Ok(self.fields) {
            return Err(CopyError::Fields { found: count, expected: self.fields });
        }
        let mut at = 2;
        for _ in 0..self.fields {
            let Some(bytes) = input.get(at..).and_then(|rest| rest.first_chunk::<4>()) else { return Ok(None) };
            at += 4;
            match usize::try_from(i32::from_be_bytes(*bytes)) {
                Err(_) => fields.push(None),
                Ok(length) => {
                    let Some(field) = input.get(at..at + length) else { return Ok(None) };
                    fields.push(Some(field));
                    at += length;
                }
            }
        }
        Ok(Some(at))
    }

    /// Says that the stream is over.
    ///
    /// # Errors
    /// When it was cut.
    pub const fn finish(&self) -> Result<(), CopyError> {
        if self.ended && self.rest.is_empty() { Ok(()) } else { Err(CopyError::Cut) }
    }
}

/// A stream in the making.
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// A stream with nothing in it.
    pub fn begin() -> Self {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend_from_slice(&[0; 8]);
        Self { bytes }
    }

    /// Begins a row.
    pub fn row(&mut self, fields: usize) {
        self.bytes.extend_from_slice(&i16::try_from(fields).unwrap_or(i16::MAX).to_be_bytes());
    }

    /// A field in its type's binary form.
    pub fn field(&mut self, field: Option<&[u8]>) {
        match field {
            None => self.length(None),
            Some(bytes) => {
                self.length(Some(bytes.len()));
                self.bytes.extend_from_slice(bytes);
            }
        }
    }

    /// A one-dimensional array; nothing for an array without elements that are not null.
    pub fn array<'a>(&mut self, element_oid: u32, elements: impl ExactSizeIterator<Item = Option<&'a [u8]>>) {
        let count = elements.len();
        let start = self.bytes.len();
        self.length(Some(0));
        let (mut nulls, mut values) = (false, false);
        for word in [1_u32, 0, element_oid, u32::try_from(count).unwrap_or(u32::MAX), 1] {
            self.bytes.extend_from_slice(&word.to_be_bytes());
        }
        for element in elements {
            nulls |= element.is_none();
            values |= element.is_some();
            self.field(element);
        }
        if !values {
            self.bytes.truncate(start);
            self.length(None);
            return;
        }
        if nulls {
            self.bytes[start + 11] = 1;
        }
        let length = i32::try_from(self.bytes.len() - start - 4).unwrap_or(i32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// The whole stream.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&(-1_i16).to_be_bytes());
        self.bytes
    }

    fn length(&mut self, length: Option<usize>) {
        let length = length.map_or(-1, |length| i32::try_from(length).unwrap_or(i32::MAX));
        self.bytes.extend_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(rows: &[Vec<Option<Vec<u8>>>]) -> Vec<u8> {
        let mut writer = Writer::begin();
        for row in rows {
            writer.row(row.len());
            for field in row {
                writer.field(field.as_deref());
            }
        }
        writer.finish()
    }

    proptest! {
        #[test]
        fn rows_come_back_however_the_stream_is_cut(
            rows in prop::collection::vec(prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..9)), 3), 0..9),
            cut in 1..40_usize,
        ) {
            let mut found: Vec<Vec<Option<Vec<u8>>>> = Vec::new();
            let mut reader = Rows::of(3);
            for piece in stream(&rows).chunks(cut) {
                reader.push(piece, |row| {
                    found.push(row.iter().map(|field| field.map(<[u8]>::to_vec)).collect());
                    Ok::<_, CopyError>(())
                }).expect("a good stream");
            }
            prop_assert_eq!(reader.finish(), Ok(()));
            prop_assert_eq!(found, rows);
        }
    }

    #[test]
    fn a_stream_that_is_cut_or_foreign_is_refused() {
        let bytes = stream(&[vec![Some(b"abc".to_vec())]]);
        let mut reader = Rows::of(1);
        reader.push(&bytes[..bytes.len() - 3], |_| Ok::<_, CopyError>(())).expect("so far so good");
        assert_eq!(reader.finish(), Err(CopyError::Cut));
        let fields = Rows::of(2).push(&bytes, |_| Ok::<_, CopyError>(()));
        assert_eq!(fields, Err(CopyError::Fields { found: 1, expected: 2 }));
        let foreign = Rows::of(1).push(&[b'x'; 40], |_| Ok::<_, CopyError>(()));
        assert_eq!(foreign, Err(CopyError::Signature));
    }
}
