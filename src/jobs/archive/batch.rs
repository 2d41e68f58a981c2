//! A batch in memory: the rows that a DELETE gave back, sorted into groups and series.

use std::collections::HashMap;

use super::digest::{Digest, RowHash, RowHasher};
use super::lasting::Lasting;
use super::shape::{Carrier, Role, Shape};

/// The values of one column in one series.
#[derive(Debug)]
pub(super) enum Values {
    /// Integers, null or not.
    Whole(Vec<Option<i64>>),
    /// Doubles by their bits, null or not.
    Double(Vec<Option<u64>>),
    /// Values in their binary form.
    Bytes(Bytes),
}

/// Values of any length, end to end.
#[derive(Debug, Default)]
pub(super) struct Bytes {
    data: Vec<u8>,
    /// Where each begins and how long it is; nothing for null.
    places: Vec<Option<(usize, usize)>>,
}

impl Bytes {
    fn push(&mut self, value: Option<&[u8]>) {
        self.places.push(value.map(|value| (self.data.len(), value.len())));
        self.data.extend_from_slice(value.unwrap_or_default());
    }

    /// The value in a row.
    pub(super) fn get(&self, row: usize) -> Option<&[u8]> {
        let (start, length) = (*self.places.get(row)?)?;
        self.data.get(start..start + length)
    }
}

impl Values {
    fn of(carrier: Carrier) -> Self {
        match carrier {
            Carrier::Whole(_) => Self::Whole(Vec::new()),
            Carrier::Double => Self::Double(Vec::new()),
            Carrier::Plain | Carrier::Text => Self::Bytes(Bytes::default()),
        }
    }

    fn push(&mut self, carrier: Carrier, value: Option<&[u8]>) -> Result<(), Unreadable> {
        match (self, carrier) {
            (Self::Whole(values), Carrier::Whole(whole)) => {
                values.push(value.map(|value| whole.read(value).ok_or(Unreadable)).transpose()?);
            }
            (Self::Double(values), _) => {
                let bits = |value: &[u8]| value.try_into().map(u64::from_be_bytes).map_err(|_| Unreadable);
                values.push(value.map(bits).transpose()?);
            }
            (Self::Bytes(values), _) => values.push(value),
            (Self::Whole(_), _) => return Err(Unreadable),
        }
        Ok(())
    }

    fn compare(&self, a: usize, b: usize) -> std::cmp::Ordering {
        match self {
            Self::Whole(values) => values.get(a).cmp(&values.get(b)),
            Self::Double(values) => {
                let order = |row: usize| values.get(row).copied().flatten().map(f64::from_bits);
                match (order(a), order(b)) {
                    (Some(a), Some(b)) => a.total_cmp(&b),
                    (a, b) => a.is_some().cmp(&b.is_some()),
                }
            }
            Self::Bytes(values) => values.get(a).cmp(&values.get(b)),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Whole(values) => values.len() * 8,
            Self::Double(values) => values.len() * 8,
            Self::Bytes(values) => values.data.len(),
        }
    }
}

/// A value is not in the form that its type promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a value is not in the binary form of its type")]
pub struct Unreadable;

/// The rows of a group that have the same values in its series columns.
#[derive(Debug)]
pub(super) struct Series {
    /// The values of the columns that are constant in it, by the column's place; empty for the others.
    pub(super) constants: Vec<Option<Box<[u8]>>>,
    /// The values of the others, by the column's place; `None` for the constant ones.
    pub(super) values: Vec<Option<Values>>,
    /// The hash of each row, in the form that lasts.
    pub(super) hashes: Vec<RowHash>,
    /// The rows in their order.
    pub(super) order: Vec<usize>,
}

impl Series {
    /// How many bytes its values take.
    pub(super) fn bytes(&self) -> usize {
        self.values.iter().flatten().map(Values::bytes).sum()
    }

    fn sort(&mut self, by: &[usize]) {
        let compare = |a: usize, b: usize| {
            by.iter()
                .filter_map(|place| self.values.get(*place)?.as_ref())
                .map(|values| values.compare(a, b))
                .find(|order| order.is_ne())
                .unwrap_or(std::cmp::Ordering::Equal)
        };
        let rows = 0..self.hashes.len();
        self.order = rows.collect();
        if !self.order.is_sorted_by(|a, b| compare(*a, *b).is_le()) {
            let mut order = std::mem::take(&mut self.order);
            order.sort_by(|a, b| compare(*a, *b));
            self.order = order;
        }
    }
}

/// The series of one group.
#[derive(Debug)]
pub(super) struct Group {
    /// The group's name.
    pub(super) key: String,
    /// Its series, sorted.
    pub(super) series: Vec<Series>,
}

/// How many bytes of values a batch may hold: encoding takes as much again, and their compressed size says nothing of it.
pub(super) const MOST_BYTES: usize = 64 << 20;

/// Rows as they arrive.
#[derive(Debug)]
pub struct Batch<'a> {
    shape: &'a Shape,
    series: Vec<(String, Series)>,
    /// Which series a row falls into, by its group and its series columns.
    places: HashMap<Vec<u8>, usize>,
    /// Where text stands that a column is carried as, by the column's place.
    texts: Vec<Option<usize>>,
    lasting: Lasting,
    key: Vec<u8>,
    hasher: RowHasher,
    bytes: usize,
    /// How many rows there were when there were too many bytes.
    fitting: Option<u64>,
    /// What arrived, as the table has it.
    pub digest: Digest,
    /// What arrived, in the form that lasts.
    pub lasting_digest: Digest,
}

impl<'a> Batch<'a> {
    /// An empty batch.
    pub fn new(shape: &'a Shape) -> Self {
        let mut texts = vec![None; shape.columns.len()];
        for (nth, (place, _)) in shape.texts().enumerate() {
            texts[place] = Some(shape.columns.len() + nth);
        }
        Self {
            shape,
            series: Vec::new(),
            places: HashMap::new(),
            texts,
            lasting: Lasting::of(shape, shape.texts()),
            key: Vec::new(),
            hasher: RowHasher::default(),
            bytes: 0,
            fitting: None,
            digest: Digest::default(),
            lasting_digest: Digest::default(),
        }
    }

    /// How many fields a row has: those of [`Shape::returning`].
    pub fn fields(shape: &Shape) -> usize {
        shape.columns.len() + shape.texts().count()
    }

    /// How many rows fit, where not all of them did; what came after those is not in here.
    pub const fn fitting(&self) -> Option<u64> {
        self.fitting
    }

    /// Takes in a row: its group, then the fields of [`Shape::returning`].
    ///
    /// # Errors
    /// When a field is not in the form that its type promises.
    pub fn push(&mut self, group: &[u8], fields: &[Option<&[u8]>]) -> Result<(), Unreadable> {
        let columns = &self.shape.columns;
        if self.fitting.is_some() {
            return Ok(());
        }
        self.bytes += fields.iter().flatten().map(|field| field.len()).sum::<usize>();
        if self.bytes > MOST_BYTES && self.digest.rows > 0 {
            self.fitting = Some(self.digest.rows);
            self.series = Vec::new();
            return Ok(());
        }
        let own = self.hasher.hash(fields[..columns.len()].iter().copied());
        self.digest.add(own);
        let hash = self.lasting.hash(own, fields, &mut self.hasher);
        self.lasting_digest.add(hash);
        let carried = |place: usize| fields[self.texts[place].unwrap_or(place)];
        self.key.clear();
        self.key.extend_from_slice(group);
        self.key.push(0);
        for place in (0..columns.len()).filter(|place| columns[*place].role != Role::Row) {
            let value = carried(place);
            let length = value.map_or(u32::MAX, |value| u32::try_from(value.len()).unwrap_or(u32::MAX - 1));
            self.key.extend_from_slice(&length.to_be_bytes());
            self.key.extend_from_slice(value.unwrap_or_default());
        }
        let place = match self.places.get(&self.key) {
            Some(place) => *place,
            None => {
                let constants = (0..columns.len())
                    .map(|place| if columns[place].role == Role::Row { None } else { carried(place).map(Box::from) })
                    .collect();
                let values = columns
                    .iter()
                    .map(|column| (column.role == Role::Row).then(|| Values::of(column.carrier)))
                    .collect();
                let group = std::str::from_utf8(group).map_err(|_| Unreadable)?.to_owned();
                self.series.push((group, Series { constants, values, hashes: Vec::new(), order: Vec::new() }));
                self.places.insert(self.key.clone(), self.series.len() - 1);
                self.series.len() - 1
            }
        };
        let series = &mut self.series[place].1;
        series.hashes.push(hash);
        for (place, values) in series.values.iter_mut().enumerate() {
            if let Some(values) = values {
                values.push(columns[place].carrier, fields[self.texts[place].unwrap_or(place)])?;
            }
        }
        Ok(())
    }

    /// The groups that rows arrived of.
    pub fn group_keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.series.iter().map(|(key, _)| key.clone()).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// The groups, sorted, with their series sorted.
    pub(super) fn into_groups(self) -> Vec<Group> {
        let (by, places) = (&self.shape.order, &self.shape.series);
        let mut all = self.series;
        all.sort_by(|(a_key, a), (b_key, b)| {
            let constants =
                |series: &Series| places.iter().map(|place| series.constants[*place].clone()).collect::<Vec<_>>();
            a_key.cmp(b_key).then_with(|| constants(a).cmp(&constants(b)))
        });
        let mut groups: Vec<Group> = Vec::new();
        for (key, mut series) in all {
            series.sort(by);
            match groups.last_mut() {
                Some(group) if group.key == key => group.series.push(series),
                _ => groups.push(Group { key, series: vec![series] }),
            }
        }
        groups
    }
}
