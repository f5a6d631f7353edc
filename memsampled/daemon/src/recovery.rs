//! Puts together what another daemon left open.

use memsample::{Recording, Recovery};

use super::peer::Peer;
use super::recordings::{RecordingsDirectory, StoredRecording};

/// Recovers every open recording, one after the other, and returns how many. What was closed and not given
/// to its owner is given.
pub(super) fn recover_all(recordings: &RecordingsDirectory) -> u64 {
    let names = match recordings.names() {
        Ok(names) => names,
        Err(error) => {
            tracing::error!("cannot list the recordings to recover open ones: {error}");
            return 0;
        }
    };
    let mut recovered = 0;
    for name in names {
        let Ok(recording) = recordings.recording(&name) else { continue };
        // What was given to its owner was closed before: its files may be links by now.
        if !recording.belongs_to_daemon() {
            continue;
        }
        if recording.is_closed() {
            give(recordings, &recording);
            continue;
        }
        match Recording::recover(&recordings.path().join(&name)) {
            Ok(Recovery::Recovered { .. }) => {
                recovered += 1;
                tracing::info!("recovered the recording `{name}`");
                give(recordings, &recording);
                recordings.pushes.add(&name);
            }
            // A session that was started meanwhile, or another program records.
            Ok(_) => {}
            Err(error) => {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                tracing::error!(
                    "cannot recover the recording `{name}`: {error}{}",
                    cause.unwrap_or_default()
                );
            }
        }
    }
    recovered
}

/// Gives a recording to who asked for it: the daemon may have been killed when it was closed and not
/// given yet.
fn give(recordings: &RecordingsDirectory, recording: &StoredRecording) {
    let Some(uid) = recording.uid else { return };
    // The group of who is not known any more may do nothing either.
    let gid = uzers::get_user_by_uid(uid)
        .map_or_else(|| rustix::process::getegid().as_raw(), |user| user.primary_group_id());
    if let Err(error) = recordings.give(&recording.id, Peer { uid, gid, pid: None }) {
        tracing::warn!("`{}` could not be given to user {uid}: {error}", recording.id);
    }
}
