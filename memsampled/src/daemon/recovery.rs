//! Puts together what another daemon left open.

use memsample::{Recording, Recovery, RunState};

use super::log;
use super::peer::Peer;
use super::runs::{RunsDirectory, give_to};

/// Recovers every open recording, one after the other, and returns how many.
pub(super) fn recover_all(runs: &RunsDirectory) -> u64 {
    let names = match runs.names() {
        Ok(names) => names,
        Err(error) => {
            log::error(format_args!("cannot list the recordings to recover open ones: {error}"));
            return 0;
        }
    };
    let mut recovered = 0;
    for name in names {
        let Ok(run) = runs.run(&name) else { continue };
        // What was given to its owner was closed before: its files may be links by now.
        if run.manifest.state != RunState::Recording || !run.belongs_to_daemon() {
            continue;
        }
        let path = runs.path().join(&name);
        match Recording::recover(&path) {
            Ok(Recovery::Recovered { .. }) => {
                recovered += 1;
                log::info(format_args!("recovered the recording `{name}`"));
                if let Some(uid) = run.uid
                    && let Some(user) = uzers::get_user_by_uid(uid)
                    && let Err(error) = give_to(&path, Peer { uid, gid: user.primary_group_id() })
                {
                    log::warning(format_args!(
                        "`{name}` could not be given to user {uid}: {error}"
                    ));
                }
            }
            // A session that was started meanwhile, or another program records.
            Ok(_) => {}
            Err(error) => {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                log::error(format_args!(
                    "cannot recover the recording `{name}`: {error}{}",
                    cause.unwrap_or_default()
                ));
            }
        }
    }
    recovered
}
