//! `/v1/recordings`: recordings and their files.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State as Shared};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::stream;

use super::answer::{Answer, Id, invalid_name, parameter, slow};
use crate::failure::json;
use crate::peer::Peer;
use crate::state::State;

/// A file is sent in pieces of this size, of which one is in memory.
const FILE_PIECE_BYTES: usize = 64 << 10;

pub(super) async fn list_recordings(
    Shared(state): Shared<Arc<State>>,
    Extension(peer): Extension<Peer>,
) -> Answer {
    let recordings = slow(&state, peer, move |state| state.recordings.list(peer)).await?;
    Ok(json(StatusCode::OK, &recordings))
}

pub(super) async fn get_recording(
    Shared(state): Shared<Arc<State>>,
    Extension(peer): Extension<Peer>,
    id: Id,
) -> Answer {
    let id = parameter(id)?;
    let recording = slow(&state, peer, move |state| state.recordings.info(peer, &id)).await?;
    Ok(json(StatusCode::OK, &recording))
}

pub(super) async fn get_recording_file(
    Shared(state): Shared<Arc<State>>,
    Extension(peer): Extension<Peer>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Answer {
    let Path((id, name)) = path.map_err(invalid_name)?;
    let content_type = match name.rsplit_once('.') {
        Some((_, "json")) => "application/json",
        Some((_, "parquet")) => "application/vnd.apache.parquet",
        _ => "application/octet-stream",
    };
    let (file, bytes) =
        slow(&state, peer, move |state| state.recordings.file(peer, &id, &name)).await?;
    // No more than was promised, also if it grows: a file is replaced, never appended to.
    let mut response = Response::new(Body::from_stream(pieces(state, peer, file, bytes)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// Reads a file piece by piece, each when the one before is sent.
fn pieces(
    state: Arc<State>,
    peer: Peer,
    file: std::fs::File,
    bytes: u64,
) -> impl stream::Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    stream::try_unfold((file, bytes), move |(file, left)| {
        let state = Arc::clone(&state);
        async move {
            if left == 0 {
                return Ok(None);
            }
            let read = move |_: &Arc<State>| Ok(read_piece(file, left));
            let read = slow(&state, peer, read).await;
            read.unwrap_or_else(|failure| Err(std::io::Error::other(failure.message))).map(Some)
        }
    })
}

/// Reads a piece, and returns it with what is left.
fn read_piece(file: std::fs::File, left: u64) -> std::io::Result<(Bytes, (std::fs::File, u64))> {
    use std::io::Read;
    let mut piece = Vec::with_capacity(FILE_PIECE_BYTES);
    let read = (&file).take(left.min(FILE_PIECE_BYTES as u64)).read_to_end(&mut piece)?;
    if read == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok((Bytes::from(piece), (file, left - read as u64)))
}
