//! A run of one suite on one or several devices at once.

use std::ffi::OsString;

use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};

use crate::address::Address;
use crate::connection::{Connection, Stops};
use crate::device::Device;
use crate::error::RemoteError;
use crate::job::{Job, Outcome};

/// Runs it on all devices at once. None begins to send before all have been looked at, and none starts the run before it
/// is everywhere: if one is refused, nothing is run.
///
/// `told` receives the name of a device and a line of it. The first signal of `signals` ends the tests, a second one
/// gives up.
pub fn run(
    devices: &[Address],
    job: &Job,
    signals: &Receiver<i32>,
    told: &(dyn Fn(&str, &str) + Sync),
) -> Vec<Outcome> {
    let names = names(devices);
    let tellers: Vec<_> = names.iter().map(|name| move |line: &str| told(name, line)).collect();
    let (stoppers, stops): (Vec<Sender<i32>>, Vec<Receiver<i32>>) =
        devices.iter().map(|_| unbounded()).unzip();
    let (done, is_done) = bounded::<()>(0);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            loop {
                select! {
                    recv(signals) -> signal => {
                        let Ok(signal) = signal else { break };
                        for stopper in &stoppers {
                            let _ = stopper.send(signal);
                        }
                    }
                    recv(is_done) -> _ => break,
                }
            }
        });
        let places = devices.iter().zip(&tellers).zip(stops);
        let connections: Vec<_> = places
            .map(|((address, told), stops)| {
                Connection::new(address, job.patience, Stops::new(stops), told)
                    .map(|connection| (address, connection))
            })
            .collect();
        let probed = each(connections, |(address, connection)| {
            Device::probe(address, connection, &job.payload)
        });
        for note in job.payload.notes.iter().filter(|_| probed.iter().all(Result::is_ok)) {
            told("", note);
        }
        let sent = each(all(probed), |device| device.send(&job.payload));
        let arguments: Vec<Vec<OsString>> =
            names.iter().map(|name| arguments(job, name, devices.len())).collect();
        let ready = all(sent).into_iter().zip(&arguments);
        let ready = ready.map(|(device, arguments)| device.map(|device| (device, arguments)));
        let results = each(ready.collect(), |(device, arguments)| device.run(job, arguments));
        drop(done);
        names
            .iter()
            .cloned()
            .zip(results)
            .map(|(device, result)| Outcome { device, result })
            .collect()
    })
}

/// Does the next step with each device that is left, at once.
fn each<T: Send, U: Send>(
    devices: Vec<Result<T, RemoteError>>,
    step: impl Fn(T) -> Result<U, RemoteError> + Sync,
) -> Vec<Result<U, RemoteError>> {
    let step = &step;
    std::thread::scope(|scope| {
        let threads: Vec<_> = devices
            .into_iter()
            .map(|device| {
                device.map(|device| {
                    let thread = std::thread::Builder::new().name("memsample-device".to_owned());
                    thread.spawn_scoped(scope, move || step(device))
                })
            })
            .collect();
        let ended = threads.into_iter().map(|thread| match thread? {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(error) => {
                Err(RemoteError::Failed(format!("there can be no other thread: {error}")))
            }
        });
        ended.collect()
    })
}

/// Lets all devices go on, or none.
fn all(devices: Vec<Result<Device<'_>, RemoteError>>) -> Vec<Result<Device<'_>, RemoteError>> {
    if devices.iter().all(Result::is_ok) {
        return devices;
    }
    each(devices, |device| Err(device.abandon(RemoteError::Withheld)))
}

/// Returns what the lines of each device begin with: its host, or its address where the host is not enough.
fn names(devices: &[Address]) -> Vec<String> {
    let is_only = |host: &str| devices.iter().filter(|it| it.host() == host).count() == 1;
    let mut names: Vec<String> = Vec::new();
    for device in devices {
        let name = match is_only(device.host()) {
            true => device.host().to_owned(),
            false => device.to_string().trim_start_matches("ssh://").to_owned(),
        };
        let same = names.iter().filter(|it| **it == name).count();
        names.push(if same == 0 { name } else { format!("{name} ({})", same + 1) });
    }
    names
}

/// Returns the arguments for one of several devices: its name is in that of the run.
fn arguments(job: &Job, name: &str, devices: usize) -> Vec<OsString> {
    let mut arguments = Vec::new();
    if devices > 1 {
        let part =
            |char: char| if char.is_ascii_alphanumeric() || char == '.' { char } else { '-' };
        let suffix: String = name.chars().map(part).collect();
        arguments.push(OsString::from(format!("--name-suffix=-{}", suffix.trim_matches('-'))));
    }
    arguments.extend(job.payload.arguments.iter().cloned());
    arguments
}
