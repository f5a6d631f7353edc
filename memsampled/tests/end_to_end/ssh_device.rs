//! A device on loopback: a real sshd with keys and a configuration of its own.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::command::{MEMSAMPLE, wait_for};

const SSHD: &str = "/usr/sbin/sshd";

/// Returns this program without what a debugger needs, which would be most of what is sent.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("memsample-for-devices");
        let mine = path.with_extension(std::process::id().to_string());
        let stripped = Command::new("strip").arg("-o").args([&mine, Path::new(MEMSAMPLE)]).status();
        assert!(stripped.unwrap().success());
        fs::rename(mine, &path).unwrap();
        path
    })
}

/// A `memsample run --on` that goes on.
pub(crate) struct Following {
    pub(crate) child: Child,
    stderr: PathBuf,
}

impl Following {
    /// Starts it, with a file in `directory` for what it says.
    pub(crate) fn start(command: &mut Command, directory: &Path) -> Self {
        let stderr = directory.join("stderr");
        let child =
            command.stdout(Stdio::null()).stderr(File::create(&stderr).unwrap()).spawn().unwrap();
        Self { child, stderr }
    }

    /// Returns what it has said on its standard error.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    pub(crate) fn terminate(&self) {
        terminate(&self.child.id().to_string());
    }
}

/// Sends SIGTERM to a process.
#[track_caller]
pub(crate) fn terminate(pid: &str) {
    assert!(Command::new("kill").args(["-TERM", pid]).status().unwrap().success());
}

/// A device, whose directory is `device` below its own.
pub(crate) struct Device {
    directory: TempDir,
    sshd: Child,
    port: u16,
}

impl Device {
    pub(crate) fn start() -> Self {
        Self::start_with("", "true")
    }

    /// Starts one with more lines of configuration. `before` is a command of a shell, which has the directory of the
    /// device as `$1`, before sshd; what it mounts is mounted there only.
    pub(crate) fn start_with(configuration: &str, before: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let at = |name: &str| path.join(name).to_str().unwrap().to_owned();
        fs::create_dir(path.join("device")).unwrap();
        for key in ["host", "user", "stranger"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f", &at(key)])
                .status()
                .unwrap();
            assert!(made.success());
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (host, user, known) = (at("host"), at("user"), at("known"));
        fs::write(
            path.join("sshd_config"),
            format!(
                "ListenAddress 127.0.0.1\nPort {port}\nHostKey {host}\nAuthorizedKeysFile {user}.pub\n\
                 StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\nPasswordAuthentication no\n\
                 KbdInteractiveAuthentication no\n{configuration}\n"
            ),
        )
        .unwrap();
        let key = fs::read_to_string(path.join("host.pub")).unwrap();
        fs::write(path.join("known"), format!("[127.0.0.1]:{port},[localhost]:{port} {key}"))
            .unwrap();
        fs::write(
            path.join("config"),
            format!(
                "Host *\nIdentityFile {user}\nIdentitiesOnly yes\nUserKnownHostsFile {known}\n\
                 GlobalKnownHostsFile none\nStrictHostKeyChecking yes\n"
            ),
        )
        .unwrap();
        // Where sshd goes without privileges.
        fs::create_dir_all("/run/sshd").unwrap();
        let sshd = Command::new("unshare")
            .args(["--mount", "sh", "-c"])
            .arg(format!("set -e; {before}; exec {SSHD} -D -f \"$2\" -E \"$3\""))
            .args(["sh", &at("device"), &at("sshd_config"), &at("log")])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let device = Self { directory, sshd, port };
        wait_for("sshd", || TcpStream::connect(("127.0.0.1", port)).ok());
        device
    }

    /// Returns where a file of the device is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns the address of a directory of the device.
    pub(crate) fn address(&self, host: &str, directory: &str) -> String {
        format!("ssh://{host}:{}{}", self.port, self.path(directory).display())
    }

    /// Returns the command that runs in `cwd` with the configuration of ssh for this device.
    pub(crate) fn command(&self, cwd: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new("env");
        command
            .args(["--default-signal", MEMSAMPLE, "run"])
            .args(arguments)
            .args(["--sandbox", "none", "--device-program"])
            .arg(program())
            .env("MEMSAMPLE_CONFIG", "")
            .env("MEMSAMPLE_SSH", format!("ssh -F {}", self.path("config").display()))
            .current_dir(cwd);
        command
    }

    /// Ends every connection at once, and returns how many there were.
    pub(crate) fn cut(&self) -> usize {
        let children = format!("/proc/{0}/task/{0}/children", self.sshd.id());
        let children = fs::read_to_string(children).unwrap();
        let pids: Vec<&str> = children.split_whitespace().collect();
        if !pids.is_empty() {
            // One may have ended meanwhile.
            let _ = Command::new("kill")
                .arg("-KILL")
                .args(&pids)
                .stderr(Stdio::null())
                .status()
                .unwrap();
        }
        pids.len()
    }

    /// Checks that nothing of ours is left: no file, no process, no connection.
    #[track_caller]
    pub(crate) fn assert_clean(&self, directory: &str) {
        let directory = self.path(directory);
        let left: Vec<_> =
            fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
        let is_ours = |cwd: PathBuf| cwd.starts_with(&directory);
        wait_for("the last process", || {
            let processes = fs::read_dir("/proc").unwrap().flatten();
            let mut cwds = processes.filter_map(|it| fs::read_link(it.path().join("cwd")).ok());
            (!cwds.any(is_ours)).then_some(())
        });
        let children = format!("/proc/{0}/task/{0}/children", self.sshd.id());
        wait_for("the last connection", || {
            fs::read_to_string(&children).unwrap().trim().is_empty().then_some(())
        });
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.cut();
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}
