//! Pushes recordings into a store, one after the other, and again after a while where the store does not answer.

use std::sync::Arc;
use std::time::Duration;

use memsample_input::with_causes;
use memsample_store::{Address, ErrorKind, RunSource, SourceOptions, Store, StoreError, push};

use super::recordings::RecordingsDirectory;
use super::state::State;

/// How long the store is left alone after a failure: the first time, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));

/// Begins to push what waits and will wait. In a thread of its own: the store may take minutes to answer.
pub(super) fn start(state: &Arc<State>) -> Result<(), String> {
    let Some(address) = state.options().push.clone() else { return Ok(()) };
    let address: Address = address.parse().map_err(|error: StoreError| error.to_string())?;
    let recordings = Arc::clone(&state.recordings);
    recordings.pushes.want().map_err(|error| format!("cannot note what waits: {error}"))?;
    let state = Arc::clone(state);
    let thread = std::thread::Builder::new().name("memsampled-push".to_owned());
    let spawned = thread.spawn(move || push_all(&address, &state, &recordings));
    spawned.map(drop).map_err(|error| format!("there can be no other thread: {error}"))
}

fn push_all(address: &Address, state: &State, recordings: &RecordingsDirectory) {
    let queue = &recordings.pushes;
    let mut pause = PAUSE.0;
    let mut store = None;
    while !state.is_ending() {
        let waiting = queue.waiting();
        if waiting.is_empty() {
            queue.wait(None);
            continue;
        }
        let mut failed = false;
        for id in waiting {
            if state.is_ending() {
                return;
            }
            match push_one(address, &mut store, recordings, &id) {
                Ok(()) => {
                    tracing::info!("pushed `{id}` to {address}");
                    queue.done(&id);
                    pause = PAUSE.0;
                }
                Err(error) if error.is_temporary() && recordings.exists(&id) => {
                    let why = told(&error);
                    tracing::warn!("`{id}` is not pushed yet, next try in {pause:?}: {why}");
                    failed = true;
                    break;
                }
                Err(_) if !recordings.exists(&id) => queue.give_up(&id, "it is gone"),
                Err(error) => queue.give_up(&id, &told(&error)),
            }
        }
        if failed {
            // What is added meanwhile meets the same store.
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE.1);
        }
    }
}

fn push_one(
    address: &Address,
    store: &mut Option<Store>,
    recordings: &RecordingsDirectory,
    id: &str,
) -> Result<(), StoreError> {
    let opened = match store.take() {
        Some(opened) => opened,
        None => Store::open(address)?,
    };
    let source = RunSource::read(&recordings.path().join(id), &SourceOptions::default(), &|_| ())?;
    push(&opened, &source, &|_| ())?;
    // Credentials may have changed where it failed.
    *store = Some(opened);
    Ok(())
}

fn told(error: &StoreError) -> String {
    let mut text = with_causes(error);
    // Where something else is in the way, somebody has to look.
    if error.kind() == ErrorKind::Exists {
        text.push_str(" (see `memsample list`)");
    }
    text
}
