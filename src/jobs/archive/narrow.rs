//! Narrowing: the smallest form in which a series of numbers comes back with the same bits.
//!
//! Whole numbers become `base + (i - 1) * step + residual`, where `i` counts the rows of a series from 1 and the
//! residuals are stored in the narrowest width that holds all of them; an arithmetic progression has none at all.
//! Doubles become whole numbers divided by a power of ten where that gives the same bits back, or `real` where that
//! does. Every narrowing is tried out here, bit by bit, in the same operations that the reading SQL uses; what does not
//! pass is stored as it is.

/// The width of residuals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// There are none: all are zero.
    None,
    /// One byte, `"char"`.
    One,
    /// `smallint`.
    Two,
    /// `integer`.
    Four,
    /// `bigint`.
    Eight,
}

/// What a residual of one byte may be.
///
/// Before 15 a server writes a `"char"` above 127 as that very byte, which is no character of any database that a dump
/// could be restored into. Source: release notes of PostgreSQL 15, "Change the I/O format of type "char" for non-ASCII".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Byte {
    /// -128 to 127.
    Any,
    /// 0 to 127.
    Ascii,
}

impl Byte {
    /// What a server of this version (as `server_version_num`) can dump.
    pub const fn of(version: i32) -> Self {
        if version < 150_000 { Self::Ascii } else { Self::Any }
    }
}

/// Whole numbers in their narrow form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progression {
    /// What the first row would be without a residual.
    pub base: i64,
    /// By how much it grows with each row.
    pub step: i64,
    /// How wide the residuals are.
    pub width: Width,
}

impl Progression {
    /// The narrowest progression around the values; nothing for no values, or where the arithmetic would overflow.
    pub fn around(values: &[i64], byte: Byte) -> Option<Self> {
        let (&first, &last) = (values.first()?, values.last()?);
        let gaps = i64::try_from(values.len() - 1).ok()?;
        let mean = if gaps > 0 { last.checked_sub(first).map(|span| span / gaps) } else { None };
        let early = values.get(1).and_then(|second| second.checked_sub(first));
        let mut best: Option<Self> = None;
        for step in [Some(0), early, mean].into_iter().flatten() {
            let Some(found) = Self::with_step(values, step, byte) else { continue };
            if best.as_ref().is_none_or(|best| found.width < best.width) {
                best = Some(found);
            }
        }
        best
    }

    fn with_step(values: &[i64], step: i64, byte: Byte) -> Option<Self> {
        let (mut least, mut most) = (i64::MAX, i64::MIN);
        let mut grown = 0_i64;
        for (nth, value) in values.iter().enumerate() {
            if nth > 0 {
                grown = grown.checked_add(step)?;
            }
            let residual = value.checked_sub(grown)?;
            least = least.min(residual);
            most = most.max(residual);
        }
        let (width, below) = match (most.checked_sub(least)?, byte) {
            (0, _) => (Width::None, 0),
            (1..=0x7f, Byte::Ascii) => (Width::One, 0),
            (1..=0xff, Byte::Any) => (Width::One, 1 << 7),
            (1..=0xffff, _) => (Width::Two, 1 << 15),
            (0x1_0000..=0xffff_ffff, _) => (Width::Four, 1 << 31),
            _ => (Width::Eight, 0),
        };
        let base = if width == Width::Eight { 0 } else { least.checked_add(below)? };
        // The reading SQL adds the base first, so that sum must exist as well.
        base.checked_add(grown)?;
        Some(Self { base, step, width })
    }

    /// The residual of the value in row `nth`, counted from 0.
    pub fn residual(&self, nth: usize, value: i64) -> i64 {
        // `around` has gone through these very sums.
        let grown = self.step.wrapping_mul(i64::try_from(nth).unwrap_or(i64::MAX));
        value.wrapping_sub(self.base.wrapping_add(grown))
    }
}

/// The powers of ten by which doubles are tried to be scaled.
const SCALES: [f64; 7] = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6];
/// Whole numbers up to here are doubles without loss.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Doubles as whole numbers and the power of ten to divide them by, if that gives the same bits back for all of them.
pub fn scaled(bits: &[u64]) -> Option<(Vec<i64>, f64)> {
    let mut scale = 0;
    // The first value that needs a larger scale raises it for all; most series fail at their first value.
    let mut nth = 0;
    while let Some(&value) = bits.get(nth) {
        if whole(value, SCALES[scale]).is_some() {
            nth += 1;
        } else if scale + 1 < SCALES.len() {
            scale += 1;
            // Rounding may hold at a small scale and not at a larger one, so all are looked at again.
            nth = 0;
        } else {
            return None;
        }
    }
    let wholes = bits.iter().map(|value| whole(*value, SCALES[scale])).collect::<Option<Vec<_>>>()?;
    (!wholes.is_empty()).then_some((wholes, SCALES[scale]))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "held below 2^53, and tried back")]
fn whole(bits: u64, scale: f64) -> Option<i64> {
    let rounded = (f64::from_bits(bits) * scale).round();
    // Not true of NaN, either.
    if rounded.abs() < EXACT {
        let whole = rounded as i64;
        (whole as f64 / scale).to_bits().eq(&bits).then_some(whole)
    } else {
        None
    }
}

/// A double as a `real`, if that gives the same bits back.
///
/// Not for NaN, whose payload a conversion may change, nor where PostgreSQL's cast would raise an error: on overflow and
/// underflow.
#[expect(clippy::cast_possible_truncation, reason = "tried back")]
pub fn single(bits: u64) -> Option<f32> {
    let value = f64::from_bits(bits);
    let narrow = value as f32;
    (!value.is_nan() && f64::from(narrow).to_bits() == bits).then_some(narrow)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(values: &[i64]) -> Result<(), TestCaseError> {
        for byte in [Byte::Any, Byte::Ascii] {
            comes_back(values, byte)?;
        }
        Ok(())
    }

    fn comes_back(values: &[i64], byte: Byte) -> Result<(), TestCaseError> {
        let Some(found) = Progression::around(values, byte) else { return Ok(()) };
        let limit = match found.width {
            Width::None => 0,
            Width::One => i64::from(i8::MAX),
            Width::Two => i64::from(i16::MAX),
            Width::Four => i64::from(i32::MAX),
            Width::Eight => i64::MAX,
        };
        for (nth, value) in values.iter().enumerate() {
            let residual = found.residual(nth, *value);
            prop_assert!(-limit - i64::from(limit != 0) <= residual && residual <= limit, "{residual} in {found:?}");
            prop_assert!(byte == Byte::Any || found.width != Width::One || residual >= 0, "{residual} in {found:?}");
            // As the reading SQL computes it, which raises an error on overflow.
            let grown = found.step.checked_mul(i64::try_from(nth).unwrap());
            let back = grown.and_then(|grown| found.base.checked_add(grown)).and_then(|sum| sum.checked_add(residual));
            prop_assert_eq!(back, Some(*value));
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn any_whole_numbers_come_back(values in prop::collection::vec(any::<i64>(), 0..40)) {
            round_trip(&values)?;
        }

        #[test]
        fn nearly_regular_numbers_come_back(start in any::<i64>(), step in -5000_i64..5000, noise in prop::collection::vec(-300_i64..300, 0..60)) {
            let values = noise.iter().enumerate().map(|(n, noise)| start.wrapping_add(step * i64::try_from(n).unwrap() + noise)).collect::<Vec<_>>();
            round_trip(&values)?;
        }

        #[test]
        fn a_scale_gives_the_same_bits_back(bits in prop::collection::vec(prop_oneof![any::<u64>(), (-9_999_i32..9_999).prop_map(|n| (f64::from(n) / 1000.0).to_bits())], 0..30)) {
            if let Some((wholes, scale)) = scaled(&bits) {
                #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
                let back = wholes.iter().map(|whole| (*whole as f64 / scale).to_bits()).collect::<Vec<_>>();
                prop_assert_eq!(back, bits);
            }
        }

        #[test]
        fn a_real_gives_the_same_bits_back(bits in any::<u64>(), narrow in any::<f32>()) {
            for bits in [bits, f64::from(narrow).to_bits()] {
                if let Some(single) = single(bits) {
                    prop_assert_eq!(f64::from(single).to_bits(), bits);
                }
            }
        }
    }

    #[test]
    fn regular_numbers_need_no_residuals() {
        let check = |values: &[i64], expected: Option<(i64, i64, Width)>| {
            let found = Progression::around(values, Byte::Any).map(|found| (found.base, found.step, found.width));
            assert_eq!(found, expected, "{values:?}");
        };
        check(&[], None);
        check(&[7], Some((7, 0, Width::None)));
        check(&[7, 7, 7], Some((7, 0, Width::None)));
        check(&[0, 1, 2, 3], Some((0, 1, Width::None)));
        check(&[100, 1101, 2099, 3100], Some((225, 1001, Width::One)));
        check(&[i64::MIN, i64::MAX], None);
        check(&[i64::MAX, i64::MAX], Some((i64::MAX, 0, Width::None)));
    }

    #[test]
    fn a_server_that_cannot_dump_every_byte_is_given_those_that_it_can() {
        let check = |values: &[i64], expected: (i64, Width)| {
            let found = Progression::around(values, Byte::of(140_023)).map(|found| (found.base, found.width));
            assert_eq!(found, Some(expected), "{values:?}");
        };
        check(&[0, 127, 0], (0, Width::One));
        check(&[0, 128, 0], (1 << 15, Width::Two));
        assert_eq!(Byte::of(150_000), Byte::Any);
    }

    #[test]
    fn numbers_that_lose_something_are_not_narrowed() {
        let check = |value: f64, scale: Option<f64>, is_single: bool| {
            assert_eq!(scaled(&[value.to_bits()]).map(|(_, scale)| scale), scale, "{value:?}");
            assert_eq!(single(value.to_bits()).is_some(), is_single, "{value:?}");
        };
        check(0.0, Some(1.0), true);
        check(-0.0, None, true);
        check(0.5, Some(10.0), true);
        check(0.1, Some(10.0), false);
        check(1.0 / 3.0, None, false);
        check(f64::MAX, None, false);
        check(f64::from(f32::MAX), None, true);
        check(f64::MIN_POSITIVE, None, false);
        check(5e-324, None, false);
        check(f64::INFINITY, None, true);
        check(f64::NAN, None, false);
        check(1e15, Some(1.0), false);
        assert_eq!(scaled(&[f64::to_bits(0.5), f64::to_bits(0.125), 3.0_f64.to_bits()]).map(|s| s.1), Some(1000.0));
    }
}
