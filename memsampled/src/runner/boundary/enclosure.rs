use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::getuid;

use super::init::SharedMemory;
use super::processes::MARK;
use super::protocol::{Enclosure, Spec};
use super::{GATE, INIT, OWN_NAME};

/// Where our own program is, in a root that is not the host's. `/dev` is a file system of the
/// boundary's own in each of them, so that nothing of a root is hidden or changed.
const STAGE: &str = "/dev/memsample";

/// How a boundary is entered.
pub(super) struct Entrance {
    /// The tool that makes it and runs init inside.
    pub(super) command: Command,
    /// The arguments with which a gate is run inside.
    pub(super) gate: Vec<String>,
    /// The tool, for messages; `None` where there is none between.
    pub(super) tool: Option<&'static str>,
}

/// Returns how to enter the boundary that `spec` asks for, and writes the files that its tool reads
/// into the scratch directory.
pub(super) fn entrance(spec: &Spec) -> io::Result<Entrance> {
    let is_root = getuid().is_root();
    match &spec.enclosure {
        Enclosure::None => {
            let program = under_own_name(spec)?;
            let mut command = Command::new(&program);
            command.args([INIT, SharedMemory::Host.word()]);
            Ok(Entrance { command, gate: gate(vec![program]), tool: None })
        }
        Enclosure::PidNamespace => {
            let program = vec![under_own_name(spec)?];
            let mut command = Command::new("unshare");
            command.args(pid_namespace_arguments(is_root));
            // Without rights of its own, init cannot mount.
            let shm = if is_root { SharedMemory::Mount } else { SharedMemory::Host };
            command.arg("--").args(&program).args([INIT, shm.word()]);
            Ok(Entrance { command, gate: gate(program), tool: Some("unshare") })
        }
        Enclosure::Bubblewrap { root } => {
            let staged = Staged::find(&spec.launcher)?;
            let mut command = Command::new("bwrap");
            command.args(bubblewrap_arguments(root.as_deref(), spec.network));
            let tmp = spec.scratch.join("tmp");
            fs::create_dir(&tmp)?;
            fs::set_permissions(&tmp, std::os::unix::fs::PermissionsExt::from_mode(0o1777))?;
            command.arg("--bind").arg(&tmp).arg("/tmp");
            // Hidden by the line above, or not in another root.
            if (root.is_some() || spec.cwd.starts_with("/tmp")) && spec.cwd != Path::new("/") {
                command.arg("--ro-bind").arg(&spec.cwd).arg(&spec.cwd);
            }
            for (host, inside) in &staged.files {
                command.arg("--ro-bind").arg(host).arg(inside);
            }
            command.arg("--").args(&staged.program).args([INIT, SharedMemory::Own.word()]);
            Ok(Entrance { command, gate: gate(staged.program), tool: Some("bwrap") })
        }
        Enclosure::Lxc { configuration, rootfs, .. } => {
            let staged = Staged::find(&spec.launcher)?;
            let file = spec.scratch.join("lxc.conf");
            let path = spec.scratch.join("lxc");
            fs::create_dir(&path)?;
            fs::create_dir_all(spec.scratch.join("overlay/delta"))?;
            fs::write(&file, lxc_configuration(spec, configuration, rootfs, &staged)?)?;
            let mut command = Command::new("lxc-execute");
            command
                .arg("--name")
                .arg(&spec.id)
                .arg("--lxcpath")
                .arg(path)
                .arg("--rcfile")
                .arg(file);
            command.arg("--").args(&staged.program).args([INIT, SharedMemory::Own.word()]);
            Ok(Entrance { command, gate: gate(staged.program), tool: Some("lxc-execute") })
        }
    }
}

/// Links our own program under the name that tells its processes from those of the test, and returns the
/// path. An exec gives a process the name of the file.
fn under_own_name(spec: &Spec) -> io::Result<String> {
    let path = spec.scratch.join(OWN_NAME);
    symlink(fs::canonicalize(&spec.launcher)?, &path)?;
    text(&path)
}

/// Returns the arguments of unshare(1) up to the program.
pub(crate) fn pid_namespace_arguments(is_root: bool) -> Vec<&'static str> {
    let mut arguments = vec!["--pid", "--fork", "--kill-child", "--mount-proc", "--ipc"];
    if !is_root {
        arguments.splice(0..0, ["--user", "--map-current-user"]);
    }
    arguments
}

/// Returns the arguments of bwrap(1) up to what is private to a test.
pub(crate) fn bubblewrap_arguments(root: Option<&Path>, network: bool) -> Vec<std::ffi::OsString> {
    let mut arguments: Vec<std::ffi::OsString> =
        ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--as-pid-1", "--die-with-parent"]
            .into_iter()
            .map(Into::into)
            .collect();
    if !network {
        arguments.push("--unshare-net".into());
    }
    arguments.extend(["--ro-bind".into(), root.unwrap_or(Path::new("/")).into(), "/".into()]);
    arguments.extend(["--dev", "/dev", "--proc", "/proc"].map(Into::into));
    arguments
}

fn lxc_configuration(
    spec: &Spec,
    configuration: &Path,
    rootfs: &Path,
    staged: &Staged,
) -> io::Result<String> {
    let word = |path: &Path| {
        let text = text(path)?;
        match text.contains([' ', '\t', '\n', ':', '\\']) {
            true => Err(io::Error::other(format!("`{text}` has a character that lxc cannot take"))),
            false => Ok(text),
        }
    };
    let mut lines = Vec::new();
    if configuration.exists() {
        lines.push(format!("lxc.include = {}", word(configuration)?));
    }
    if !spec.network {
        // Clears what the container has.
        lines.extend(["lxc.net =".to_owned(), "lxc.net.0.type = empty".to_owned()]);
    } else if !configuration.exists() {
        lines.push("lxc.net.0.type = none".to_owned());
    }
    let delta = spec.scratch.join("overlay/delta");
    lines.extend([
        format!("lxc.rootfs.path = overlayfs:{}:{}", word(rootfs)?, word(&delta)?),
        format!("lxc.uts.name = {}", spec.id),
        // A container inherits nothing.
        format!("lxc.environment = {MARK}={}", spec.id),
        format!("lxc.log.file = {}", word(&spec.scratch.join("lxc.log"))?),
        "lxc.apparmor.profile = unconfined".to_owned(),
        "lxc.autodev = 1".to_owned(),
        "lxc.tty.max = 0".to_owned(),
        "lxc.mount.auto = proc:rw sys:ro".to_owned(),
        "lxc.mount.entry = tmpfs dev/shm tmpfs rw,nosuid,nodev,mode=1777,create=dir 0 0".to_owned(),
    ]);
    let mut bind = |host: &Path, inside: &Path, kind: &str| -> io::Result<()> {
        let inside = word(inside)?;
        let inside = inside.trim_start_matches('/');
        lines.push(format!(
            "lxc.mount.entry = {} {inside} none bind,ro,create={kind} 0 0",
            word(host)?
        ));
        Ok(())
    };
    for (host, inside) in &staged.files {
        bind(host, inside, "file")?;
    }
    let in_rootfs = rootfs.join(spec.cwd.strip_prefix("/").unwrap_or(&spec.cwd));
    if !in_rootfs.is_dir() && spec.cwd.is_dir() {
        bind(&spec.cwd, &spec.cwd, "dir")?;
    }
    lines.push(String::new());
    Ok(lines.join("\n"))
}

/// Our own program with its libraries, for a root in which they are not, or are others.
struct Staged {
    /// Where each file of the host is inside.
    files: Vec<(PathBuf, PathBuf)>,
    /// The arguments that run it.
    program: Vec<String>,
}

impl Staged {
    /// Finds what the program needs: the same as this process, which is it.
    fn find(launcher: &Path) -> io::Result<Self> {
        let maps = fs::read_to_string("/proc/self/maps")?;
        let mapped: BTreeSet<&str> =
            maps.lines().filter_map(|line| Some(line.split_at(line.find('/')?).1)).collect();
        let is_library = |name: &str| name.ends_with(".so") || name.contains(".so.");
        // Who is executed gets the name: the loader, where there is one.
        let own = Path::new(STAGE).join(OWN_NAME);
        let mut files = Vec::new();
        let mut loader = None;
        for path in mapped.into_iter().map(Path::new) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if !is_library(name) {
                continue;
            }
            if name.starts_with("ld-") || name.starts_with("ld.") {
                loader = Some(path);
            } else {
                files.push((path.to_owned(), Path::new(STAGE).join(name)));
            }
        }
        let program = match loader {
            Some(loader) => {
                let program = Path::new(STAGE).join("memsample");
                files.push((loader.to_owned(), own.clone()));
                files.push((launcher.to_owned(), program.clone()));
                vec![text(&own)?, "--library-path".to_owned(), STAGE.to_owned(), text(&program)?]
            }
            None => {
                files.push((launcher.to_owned(), own.clone()));
                vec![text(&own)?]
            }
        };
        Ok(Self { files, program })
    }
}

fn gate(mut program: Vec<String>) -> Vec<String> {
    program.push(GATE.to_owned());
    program
}

fn text(path: &Path) -> io::Result<String> {
    let named = path.to_str().map(str::to_owned);
    named.ok_or_else(|| io::Error::other(format!("`{}` is not UTF-8", path.display())))
}
