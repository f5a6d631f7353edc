//! What the handlers of all operations share: their answers, their parameters, and slow work.

use std::sync::Arc;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::Response;
use memsample_client::wire::ErrorCode;

use crate::failure::Failure;
use crate::peer::Peer;
use crate::state::State;

/// The answer to a request.
pub(super) type Answer = Result<Response, Failure>;
/// The name in the path of a request.
pub(super) type Id = Result<Path<String>, PathRejection>;

/// Does slow work for a request, when it is its turn.
pub(super) async fn slow<T: Send + 'static>(
    state: &Arc<State>,
    peer: Peer,
    work: impl FnOnce(&Arc<State>) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let of_work = Arc::clone(state);
    state.work.run(peer, move || work(&of_work)).await
}

/// The refusal of what would need more memory than the daemon may have.
pub(super) fn short_of_memory(code: ErrorCode) -> Failure {
    Failure::new(
        code,
        "the daemon has as much in memory as it may: stop a session, try again when its disk has caught up, or \
         raise `daemon.limits.memory`",
    )
}

/// Returns the name in the path.
pub(super) fn parameter(id: Id) -> Result<String, Failure> {
    id.map(|Path(id)| id).map_err(invalid_name)
}

pub(super) fn invalid_name(rejection: PathRejection) -> Failure {
    Failure::new(ErrorCode::InvalidName, format!("the path is not understood: {rejection}"))
}
