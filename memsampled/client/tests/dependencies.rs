//! What a program links that uses the client: neither the library with its Parquet files nor a server.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

/// Returns the names of the packages that the client links.
fn linked(arguments: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package", "memsample-client", "--edges", "normal"])
        .args(["--prefix", "none", "--format", "{p}"])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn the_client_links_neither_the_library_nor_a_server() {
    let heavy = |name: &String| {
        ["memsample", "axum", "axum-core"].contains(&name.as_str())
            || name.starts_with("arrow")
            || name.starts_with("parquet")
    };
    let names = linked(&[]);
    assert!(names.iter().any(|name| name == "hyper"), "{names:?}");
    assert_eq!(names.iter().filter(|name| heavy(name)).collect::<Vec<_>>(), Vec::<&String>::new());
    // With the conversions it links the library, as it must.
    assert!(linked(&["--features", "recordings"]).iter().any(|name| name == "memsample"));
}
