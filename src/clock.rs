//! What time it is, as a dependency.
//!
//! Nothing below `main` reads the system clock: it is handed a [`Clock`]. Leases, cursors and due instants do not
//! use one at all; they live on the control database's clock, so that several daemons agree on it. A `Clock`
//! answers only where no database is at hand, as in `pgupkeep next`.

use jiff::Timestamp;

/// Something that knows the present instant.
pub trait Clock: Send + Sync {
    /// The present instant, in UTC.
    fn now(&self) -> Timestamp;
}

/// The operating system's wall clock, which may be stepped at any time.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Turns an instant of the SQL driver into ours; PostgreSQL's `timestamptz` has microseconds.
///
/// `infinity` does not occur in the ledger's columns; an instant beyond jiff's range saturates at its end.
pub fn from_sql(instant: chrono::DateTime<chrono::Utc>) -> Timestamp {
    Timestamp::from_microsecond(instant.timestamp_micros()).unwrap_or(if instant.timestamp_micros() < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

/// Turns an instant of ours into the SQL driver's, cut to microseconds.
pub fn to_sql(instant: Timestamp) -> chrono::DateTime<chrono::Utc> {
    chrono::DateTime::from_timestamp_micros(instant.as_microsecond())
        .unwrap_or(chrono::DateTime::<chrono::Utc>::MAX_UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_survives_the_way_to_sql_and_back_to_the_microsecond() {
        for text in ["1970-01-01T00:00:00Z", "2026-03-29T01:00:00.123456Z", "1969-12-31T23:59:59.999999Z"] {
            let instant: Timestamp = text.parse().expect("a valid instant");
            assert_eq!(from_sql(to_sql(instant)), instant, "{text}");
        }
    }
}
