//! Rows compared by their binary form: what two relations hold, as multisets, field by field.

use futures_util::TryStreamExt;
use pgupkeep::pg::statement::Ident;
use sqlx::PgConnection;

/// A relation's rows in COPY's binary format, sorted.
///
/// Taken apart here on its own, not with the product's reader: a test should not rest on what it tests.
pub async fn binary_rows(session: &mut PgConnection, query: &str) -> Vec<Vec<u8>> {
    let copy = format!("copy ({query}) to stdout (format binary)");
    let pieces = session.copy_out_raw(&copy).await.unwrap_or_else(|error| panic!("{copy}: {error}"));
    let bytes: Vec<u8> = pieces
        .try_fold(Vec::new(), async |mut all, piece| {
            all.extend_from_slice(&piece);
            Ok(all)
        })
        .await
        .unwrap_or_else(|error| panic!("{copy}: {error}"));
    // Signature, flags, length of an extension.
    let mut rest = &bytes[19..];
    let mut rows = Vec::new();
    loop {
        let fields = i16::from_be_bytes(rest[..2].try_into().unwrap());
        if fields < 0 {
            break;
        }
        let mut end = 2;
        for _ in 0..fields {
            let length = i32::from_be_bytes(rest[end..end + 4].try_into().unwrap());
            end += 4 + usize::try_from(length).unwrap_or(0);
        }
        rows.push(rest[..end].to_vec());
        rest = &rest[end..];
    }
    rows.sort();
    rows
}

/// A table's columns with their types as declared, as a list of casts: the archive shows a user's own types as text.
pub async fn declared_columns(session: &mut PgConnection, table: &str) -> String {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "select attname::text, format_type(atttypid, atttypmod) from pg_attribute
          where attrelid = $1::regclass and attnum > 0 and not attisdropped order by attnum",
    )
    .bind(table)
    .fetch_all(session)
    .await
    .unwrap();
    let cast = |(name, of): (String, String)| {
        // What `char(5)` holds is the same with any cast, and a cast to it is one; the others are exact. From text to
        // `regclass` there is one that takes no numbers.
        if of == "regclass" { format!("{}::bpchar::{of}", Ident(name)) } else { format!("{}::{of}", Ident(name)) }
    };
    columns.into_iter().map(cast).collect::<Vec<_>>().join(", ")
}

/// Panics unless both queries give the same rows, each as often.
#[track_caller]
pub fn assert_same(what: &str, found: &[Vec<u8>], expected: &[Vec<u8>]) {
    if found == expected {
        return;
    }
    let missing: Vec<_> = expected.iter().filter(|row| !found.contains(row)).take(3).collect();
    let extra: Vec<_> = found.iter().filter(|row| !expected.contains(row)).take(3).collect();
    panic!(
        "{what}: {} rows where {} are expected; missing, for example {missing:?}; too many, for example {extra:?}",
        found.len(),
        expected.len()
    );
}
