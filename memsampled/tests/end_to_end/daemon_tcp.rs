//! HTTP over TCP: what a request must show, over the wire.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

use crate::command::wait_for;
use crate::daemon::Daemon;
use tempfile::tempdir;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Sends a request with these headers, and returns the status line and the body.
fn ask(address: &str, headers: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(crate::command::PATIENCE)).unwrap();
    write!(stream, "GET /v1/sessions HTTP/1.1\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn a_request_needs_the_token_and_the_right_host_and_origin() {
    let directory = tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(directory.path().join("config.toml"), "").unwrap();
    let mut command = Daemon::command(directory.path());
    command.args(["--http", "127.0.0.1:0", "--token-file", "token"]);
    let daemon = Daemon::spawn(directory, command);
    let address = wait_for("the address", || {
        let log = daemon.log();
        let rest = log.split_once("http://")?.1;
        rest.split(',').next().map(str::to_owned)
    });
    let host = format!("Host: {address}\r\n");
    let shown = format!("Authorization: Bearer {TOKEN}\r\n");
    let check = |headers: &str, status: &str, hint: &str| {
        let (line, body) = ask(&address, headers);
        assert!(line.contains(status) && body.contains(hint), "{headers:?}: {line} {body}");
    };
    check(&format!("{host}{shown}"), "200", "sessions");
    check(&host, "401", "unauthorized");
    check(&format!("{host}Authorization: Bearer {TOKEN}x\r\n"), "401", "unauthorized");
    check(&format!("{host}Authorization: Basic {TOKEN}\r\n"), "401", "unauthorized");
    check(&shown, "403", "Host");
    check(&format!("Host: evil.example\r\n{shown}"), "403", "Host");
    check(&format!("{host}{shown}Origin: http://evil.example\r\n"), "403", "origins");
    check(&format!("{host}{shown}Origin: http://{address}\r\n"), "200", "sessions");
    // It is bound to this machine alone.
    let port: u16 = address.rsplit(':').next().unwrap().parse().unwrap();
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let listening = format!("0100007F:{port:04X} 00000000:0000 0A");
    assert!(sockets.contains(&listening), "{listening}: {sockets}");
}

#[test]
fn a_token_file_that_is_no_regular_file_is_refused_and_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("config.toml"), "").unwrap();
    let pipe = directory.path().join("token");
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let refused = |token: &str| {
        let mut command = Daemon::command(directory.path());
        let output =
            command.args(["--http", "127.0.0.1:0", "--token-file", token]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let said = refused("token");
    assert!(
        said.contains("cannot read the token file `token`: it is not a regular file"),
        "{said}"
    );
    let said = refused("absent");
    assert!(said.contains("cannot read the token file `absent`: No such file"), "{said}");
}

#[cfg(not(feature = "lab"))]
#[test]
fn a_daemon_without_a_dashboard_says_how_to_build_one_that_has_it() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("config.toml"), "").unwrap();
    let mut command = Daemon::command(directory.path());
    let output = command.args(["--serve", "127.0.0.1:0"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("cargo install --features lab"), "{said}");
}
