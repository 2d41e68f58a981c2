//! Rows, their digests and segments on their way over COPY.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use sqlx::PgConnection;

use super::batch::Unreadable;
use super::copy::{CopyError, Rows};
use super::digest::{Digest, RowHasher};
use super::lasting::Lasting;
use super::layout::Place;
use super::segment::Segments;
use crate::fault::Fault;
use crate::jobs::context::JobError;

/// How much is sent to the server at a time.
const PIECE: usize = 1 << 16;

/// How rows could not be received.
#[derive(Debug, thiserror::Error)]
pub(super) enum Received {
    /// The stream is not what it should be.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// A value is not what it should be.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// Sends a COPY TO STDOUT and hands on its rows.
///
/// # Errors
/// The server's, or the receiver's.
pub(super) async fn stream(
    conn: &mut PgConnection,
    copy: &str,
    fields: usize,
    mut row: impl FnMut(&[Option<&[u8]>]) -> Result<(), Received> + Send,
) -> Result<(), JobError> {
    let broken = |error: Received| JobError::Refused { fault: Fault::Internal, message: error.to_string() };
    let mut pieces = conn.copy_out_raw(copy).await?;
    let mut rows = Rows::of(fields);
    while let Some(piece) = pieces.try_next().await? {
        rows.push(&piece, &mut row).map_err(broken)?;
    }
    rows.finish().map_err(|error| broken(error.into()))
}

/// The digest of all rows that a COPY of `(no, columns.., texts..)` gives, and of each segment in the form that lasts.
///
/// # Errors
/// The server's; the connection is out of step then.
pub(super) async fn read_digests(
    conn: &mut PgConnection,
    copy: &str,
    fields: usize,
    lasting: &Lasting,
) -> Result<(Digest, HashMap<i32, Digest>), JobError> {
    let (mut all, mut each, mut hasher) = (Digest::default(), HashMap::<i32, Digest>::new(), RowHasher::default());
    stream(conn, copy, fields + 1, |fields| {
        let (no, fields) = fields.split_first().ok_or(Received::Unreadable(Unreadable))?;
        let no =
            no.and_then(|no| no.try_into().ok()).map(i32::from_be_bytes).ok_or(Received::Unreadable(Unreadable))?;
        let own = hasher.hash(fields[..lasting.columns()].iter().copied());
        all.add(own);
        each.entry(no).or_default().add(lasting.hash(own, fields, &mut hasher));
        Ok(())
    })
    .await?;
    Ok((all, each))
}

/// Copies segments into their table.
///
/// # Errors
/// The server's.
pub(super) async fn write(conn: &mut PgConnection, place: &Place, segments: &Segments) -> Result<(), JobError> {
    let statement = format!("copy {} from stdin (format binary)", place.segments());
    let mut copy = conn.copy_in_raw(&statement).await?;
    for piece in segments.stream.chunks(PIECE) {
        copy.send(piece).await?;
    }
    copy.finish().await?;
    Ok(())
}
