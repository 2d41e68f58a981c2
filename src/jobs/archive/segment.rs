//! Segments: how the rows of a group become one row of the archive, with an array for each of their columns.
//!
//! A segment holds rows of one group, so that a group is restored and removed by itself. Its rows stand in series; what
//! is constant in a series stands once for it. `layout.rs` is the other side: the columns that are written here in the
//! same order, and the SQL that reads them.

use super::batch::{Batch, Group, Series, Values};
use super::copy::Writer;
use super::digest::Digest;
use super::narrow::{Byte, Progression, Width, scaled, single};
use super::shape::{Carrier, Column, Role, Shape};

/// About how many rows a segment has, where a group has so many.
const ROWS: usize = 8192;
/// About how many bytes of values at most.
const BYTES: usize = 1 << 20;
/// Series that are shorter on average are not worth their own constants; their columns then vary by row.
const SHORT: usize = 8;

const CHAR: u32 = 18;
const INT2: u32 = 21;
const INT4: u32 = 23;
const INT8: u32 = 20;
const FLOAT4: u32 = 700;
const FLOAT8: u32 = 701;

/// Segments, ready to be copied into their table.
#[derive(Debug)]
pub struct Segments {
    /// A stream in COPY's binary format.
    pub stream: Vec<u8>,
    /// The digest of each segment; they are numbered from 0.
    pub digests: Vec<Digest>,
    /// How many rows each group has here.
    pub groups: Vec<(String, u64)>,
}

/// A run of a series' rows.
#[derive(Debug, Clone, Copy)]
struct Slice<'a> {
    series: &'a Series,
    from: usize,
    to: usize,
}

impl Slice<'_> {
    const fn rows(&self) -> usize {
        self.to - self.from
    }
}

/// Encodes a batch; `group_ids` gives each group's number, `byte` is what the server can dump.
///
/// # Errors
/// When a group has no number.
pub fn encode(
    batch: Batch<'_>,
    shape: &Shape,
    (batch_id, byte): (i64, Byte),
    group_ids: &dyn Fn(&str) -> Option<i64>,
) -> Result<Segments, String> {
    let mut segments = Segments { stream: Vec::new(), digests: Vec::new(), groups: Vec::new() };
    let mut writer = Writer::begin();
    for group in batch.into_groups() {
        let id = group_ids(&group.key).ok_or_else(|| format!("the group {} was not expected", group.key))?;
        let mut rows = 0;
        for slices in cut(&group) {
            let mut digest = Digest::default();
            for slice in &slices {
                for row in &slice.series.order[slice.from..slice.to] {
                    digest.add(slice.series.hashes[*row]);
                }
            }
            rows += digest.rows;
            let no = i32::try_from(segments.digests.len()).unwrap_or(i32::MAX);
            write_segment(&mut writer, shape, &slices, (batch_id, no, id), digest, byte);
            segments.digests.push(digest);
        }
        segments.groups.push((group.key, rows));
    }
    segments.stream = writer.finish();
    Ok(segments)
}

/// Cuts a group's series into segments: long series get their own, short ones share.
fn cut(group: &Group) -> Vec<Vec<Slice<'_>>> {
    let mut segments = Vec::new();
    let (mut present, mut rows, mut bytes) = (Vec::new(), 0, 0);
    for series in &group.series {
        let total = series.order.len();
        let width = (series.bytes() / total.max(1)).max(1);
        let mut from = 0;
        while from < total {
            let room = (ROWS.saturating_sub(rows)).min(BYTES.saturating_sub(bytes) / width);
            let fits = total - from <= room;
            // What does not fit whole begins a segment of its own, unless this one is hardly begun.
            if !fits && rows > 0 && (rows >= ROWS / 2 || bytes >= BYTES / 2 || total - from >= ROWS / 2)
                || room == 0 && rows > 0
            {
                segments.push(std::mem::take(&mut present));
                (rows, bytes) = (0, 0);
                continue;
            }
            let take = (total - from).min(room.max(1));
            present.push(Slice { series, from, to: from + take });
            from += take;
            rows += take;
            bytes += take * width;
        }
    }
    if !present.is_empty() {
        segments.push(present);
    }
    segments
}

fn write_segment(
    writer: &mut Writer,
    shape: &Shape,
    slices: &[Slice<'_>],
    (batch, no, group): (i64, i32, i64),
    digest: Digest,
    byte: Byte,
) {
    let rows = slices.iter().map(Slice::rows).sum::<usize>();
    let flat = slices.len() > 1 && rows / slices.len() < SHORT;
    writer.row(super::layout::fields(shape));
    writer.field(Some(&batch.to_be_bytes()));
    writer.field(Some(&no.to_be_bytes()));
    writer.field(Some(&group.to_be_bytes()));
    writer.field(Some(&int4(rows)));
    writer.field(Some(&digest.to_bytes()));
    let lengths: Vec<usize> = if flat { vec![rows] } else { slices.iter().map(Slice::rows).collect() };
    let starts = lengths.iter().scan(1, |start, length| {
        let this = *start;
        *start += length;
        Some(this)
    });
    array(writer, INT4, starts.map(|start| Some(int4(start))));
    array(writer, INT4, lengths.iter().map(|length| Some(int4(*length))));
    for (place, column) in shape.columns.iter().enumerate() {
        let cells = Cells { slices, lengths: &lengths, place };
        match (column.role, column.carrier) {
            (Role::Group, _) => writer.field(slices.first().and_then(|slice| slice.series.constants[place].as_deref())),
            (Role::Series, _) => write_series_column(writer, column, &cells, flat),
            (Role::Row, Carrier::Whole(whole)) => {
                let values = cells.wholes();
                write_whole(writer, column, &values, &lengths, |value| whole.is_computable(value), byte);
            }
            (Role::Row, Carrier::Double) => write_double(writer, &cells.doubles(), &lengths, byte),
            (Role::Row, Carrier::Plain | Carrier::Text) => write_plain(writer, column, &cells.bytes(), &lengths),
        }
    }
}

/// The values of one column in a segment.
struct Cells<'a> {
    slices: &'a [Slice<'a>],
    lengths: &'a [usize],
    place: usize,
}

impl<'a> Cells<'a> {
    fn each<T>(&self, value: impl Fn(&'a Values, usize) -> Option<T>) -> Vec<Option<T>> {
        let mut all = Vec::with_capacity(self.lengths.iter().sum());
        for slice in self.slices {
            let values = slice.series.values[self.place].as_ref();
            for row in &slice.series.order[slice.from..slice.to] {
                all.push(values.and_then(|values| value(values, *row)));
            }
        }
        all
    }

    fn wholes(&self) -> Vec<Option<i64>> {
        self.each(|values, row| if let Values::Whole(values) = values { values[row] } else { None })
    }

    fn doubles(&self) -> Vec<Option<u64>> {
        self.each(|values, row| if let Values::Double(values) = values { values[row] } else { None })
    }

    fn bytes(&self) -> Vec<Option<&'a [u8]>> {
        self.each(|values, row| if let Values::Bytes(values) = values { values.get(row) } else { None })
    }
}

/// A column that is constant in each series: its least and greatest value, one value a series, or one a row where the
/// series are too short.
fn write_series_column(writer: &mut Writer, column: &Column, cells: &Cells<'_>, flat: bool) {
    let constant = |slice: &Slice<'_>| slice.series.constants[cells.place].clone();
    if super::layout::has_bounds(column) {
        let known = || cells.slices.iter().filter_map(constant);
        writer.field(known().min().as_deref());
        writer.field(known().max().as_deref());
    }
    let each: Vec<Option<Box<[u8]>>> = cells.slices.iter().map(constant).collect();
    let same = each.iter().all(|value| *value == each[0]);
    if flat && !same {
        let rows = cells.slices.iter().zip(&each).flat_map(|(slice, value)| vec![value.as_deref(); slice.rows()]);
        writer.field(None);
        trimmed(writer, column.stored_oid, &rows.collect::<Vec<_>>());
    } else {
        let count = if flat { 1 } else { each.len() };
        trimmed(writer, column.stored_oid, &each[..count].iter().map(Option::as_deref).collect::<Vec<_>>());
        writer.field(None);
    }
}

/// The residuals of several series, each in its own width.
#[derive(Default)]
struct Residuals {
    one: Vec<Option<[u8; 1]>>,
    two: Vec<Option<[u8; 2]>>,
    four: Vec<Option<[u8; 4]>>,
    eight: Vec<Option<[u8; 8]>>,
}

impl Residuals {
    fn none(&mut self, rows: usize) {
        for _ in 0..rows {
            self.push(Width::None, 0);
        }
    }

    fn push(&mut self, width: Width, residual: i64) {
        let bytes = residual.to_be_bytes();
        let last = |count: usize| &bytes[8 - count..];
        self.one.push((width == Width::One).then(|| [bytes[7]]));
        self.two.push((width == Width::Two).then(|| last(2).try_into().unwrap_or_default()));
        self.four.push((width == Width::Four).then(|| last(4).try_into().unwrap_or_default()));
        self.eight.push((width == Width::Eight).then_some(bytes));
    }

    fn write(&self, writer: &mut Writer, with_eight: bool) {
        trimmed(writer, CHAR, &self.one);
        trimmed(writer, INT2, &self.two);
        trimmed(writer, INT4, &self.four);
        if with_eight {
            trimmed(writer, INT8, &self.eight);
        }
    }
}

fn write_whole(
    writer: &mut Writer,
    column: &Column,
    values: &[Option<i64>],
    lengths: &[usize],
    computable: impl Fn(i64) -> bool,
    byte: Byte,
) {
    let native = |value: i64| match column.carrier {
        Carrier::Whole(super::shape::Whole::Int2) => value.to_be_bytes()[6..].to_vec(),
        Carrier::Whole(super::shape::Whole::Int4 | super::shape::Whole::Date) => value.to_be_bytes()[4..].to_vec(),
        _ => value.to_be_bytes().to_vec(),
    };
    writer.field(values.iter().flatten().min().map(|value| native(*value)).as_deref());
    writer.field(values.iter().flatten().max().map(|value| native(*value)).as_deref());
    let (mut bases, mut steps) = (Vec::new(), Vec::new());
    let (mut residuals, mut plain) = (Residuals::default(), Vec::new());
    for run in runs(values, lengths) {
        let known: Option<Vec<i64>> = run.iter().copied().collect();
        let found = known.filter(|known| known.iter().all(|value| computable(*value)));
        let found = found.and_then(|known| Progression::around(&known, byte).map(|found| (found, known)));
        bases.push(found.as_ref().map(|(found, _)| found.base.to_be_bytes()));
        steps.push(found.as_ref().map(|(found, _)| found.step.to_be_bytes()));
        match found {
            Some((found, known)) => {
                for (nth, value) in known.into_iter().enumerate() {
                    residuals.push(found.width, found.residual(nth, value));
                    plain.push(None);
                }
            }
            None => {
                residuals.none(run.len());
                plain.extend(run.iter().map(|value| value.map(native)));
            }
        }
    }
    trimmed(writer, INT8, &bases);
    trimmed(writer, INT8, &steps);
    residuals.write(writer, true);
    trimmed(writer, column.stored_oid, &plain);
}

fn write_double(writer: &mut Writer, values: &[Option<u64>], lengths: &[usize], byte: Byte) {
    let (mut bases, mut steps, mut divisors) = (Vec::new(), Vec::new(), Vec::new());
    let (mut residuals, mut reals, mut plain) = (Residuals::default(), Vec::new(), Vec::new());
    for run in runs(values, lengths) {
        let singles = run.iter().map(|value| value.and_then(single)).collect::<Vec<_>>();
        let fitting = singles.iter().flatten().count();
        let known: Option<Vec<u64>> = run.iter().copied().collect();
        let found = known.and_then(|known| scaled(&known));
        let found =
            found.and_then(|(wholes, scale)| Progression::around(&wholes, byte).map(|found| (found, wholes, scale)));
        // Where every value is a `real`, that is as narrow as four bytes of a whole number, and simpler.
        let most = if fitting == run.len() { Width::Two } else { Width::Four };
        let found = found.filter(|(found, ..)| found.width <= most);
        bases.push(found.as_ref().map(|(found, ..)| found.base.to_be_bytes()));
        steps.push(found.as_ref().map(|(found, ..)| found.step.to_be_bytes()));
        divisors.push(found.as_ref().map(|(.., scale)| scale.to_be_bytes()));
        match found {
            Some((found, wholes, _)) => {
                for (nth, value) in wholes.into_iter().enumerate() {
                    residuals.push(found.width, found.residual(nth, value));
                }
                reals.resize(reals.len() + run.len(), None);
                plain.resize(plain.len() + run.len(), None);
            }
            None => {
                residuals.none(run.len());
                let narrow = fitting * 2 >= run.len();
                for (value, single) in run.iter().zip(singles) {
                    let single = single.filter(|_| narrow);
                    reals.push(single.map(f32::to_be_bytes));
                    plain.push(value.filter(|_| single.is_none()).map(u64::to_be_bytes));
                }
            }
        }
    }
    trimmed(writer, INT8, &bases);
    trimmed(writer, INT8, &steps);
    trimmed(writer, FLOAT8, &divisors);
    residuals.write(writer, false);
    trimmed(writer, FLOAT4, &reals);
    trimmed(writer, FLOAT8, &plain);
}

fn write_plain(writer: &mut Writer, column: &Column, values: &[Option<&[u8]>], lengths: &[usize]) {
    let (mut constants, mut plain) = (Vec::new(), Vec::new());
    for run in runs(values, lengths) {
        let same = run.iter().all(|value| *value == run[0]);
        constants.push(run[0].filter(|_| same));
        plain.extend(run.iter().map(|value| value.filter(|_| !same)));
    }
    trimmed(writer, column.stored_oid, &constants);
    trimmed(writer, column.stored_oid, &plain);
}

/// The rows of each series.
fn runs<'a, T>(values: &'a [T], lengths: &'a [usize]) -> impl Iterator<Item = &'a [T]> {
    lengths.iter().scan(0, move |start, length| {
        let run = values.get(*start..*start + *length);
        *start += length;
        run
    })
}

/// An array without the nulls at its end, which the reading SQL adds by itself.
fn trimmed<T: AsRef<[u8]>>(writer: &mut Writer, oid: u32, elements: &[Option<T>]) {
    let length = elements.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    writer.array(oid, elements[..length].iter().map(|element| element.as_ref().map(AsRef::as_ref)));
}

fn array<const N: usize>(writer: &mut Writer, oid: u32, elements: impl Iterator<Item = Option<[u8; N]>>) {
    trimmed(writer, oid, &elements.collect::<Vec<_>>());
}

fn int4(number: usize) -> [u8; 4] {
    i32::try_from(number).unwrap_or(i32::MAX).to_be_bytes()
}
