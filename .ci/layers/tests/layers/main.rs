//! The layers of every package: imports run one way, no two files import each other, every file says what
//! it is, and none is too long to be one concept.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod circles;
mod imports;
mod layers;
mod modules;

use std::fs;
use std::path::{Path, PathBuf};

use circles::circles;
use imports::{Imports, imports_of};
use layers::PACKAGES;
use modules::{ModulePath, Package};

/// The longest source file, in lines.
const MAX_LINES: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text(module: &ModulePath) -> String {
    if module.is_empty() { "the root".to_owned() } else { module.join("::") }
}

/// Describes what the modules of a set take from each other.
fn described(imports: &Imports, members: &[ModulePath]) -> String {
    let within = imports
        .iter()
        .filter(|((from, to), _)| members.contains(from) && members.contains(to))
        .map(|((from, to), names)| format!("  {} takes {names:?} from {}", text(from), text(to)));
    within.collect::<Vec<_>>().join("\n")
}

#[test]
fn no_two_files_import_each_other() {
    let mut wrong = Vec::new();
    for (package, _) in PACKAGES {
        let imports = imports_of(&Package::read(&root().join(package)));
        assert!(
            imports.len() > 1 || package.ends_with("memsampled/main.rs"),
            "{package} imports nothing"
        );
        for circle in circles(&imports) {
            wrong.push(format!("{package}:\n{}", described(&imports, &circle)));
        }
    }
    assert!(wrong.is_empty(), "{} circles:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn imports_run_from_the_upper_layer_to_the_lower() {
    let mut wrong = Vec::new();
    for (package, layers) in PACKAGES {
        let layer_of = |module: &str| {
            layers.iter().position(|layer| layer.split_whitespace().any(|name| name == module))
        };
        let modules = Package::read(&root().join(package));
        for path in modules.modules.keys().filter(|path| path.len() == 1) {
            if layer_of(&path[0]).is_none() {
                wrong.push(format!("{package}: `{}` is in no layer", path[0]));
            }
        }
        for ((from, to), names) in imports_of(&modules) {
            let (Some(upper), Some(lower)) = (from.first(), to.first()) else {
                // What is at the root stands above all: nothing below takes anything from it.
                if to.is_empty() {
                    wrong.push(format!("{package}: {} takes {names:?} from the root", text(&from)));
                }
                continue;
            };
            if upper != lower && layer_of(upper) <= layer_of(lower) {
                wrong.push(format!(
                    "{package}: {} takes {names:?} from {}",
                    text(&from),
                    text(&to)
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} imports run upwards:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_and_is_one_concept() {
    let mut wrong = Vec::new();
    for (package, _) in PACKAGES {
        for module in Package::read(&root().join(package)).modules.values() {
            let text = fs::read_to_string(&module.file).unwrap();
            let file = module.file.strip_prefix(root()).unwrap().display();
            if !text.starts_with("//!") {
                wrong.push(format!("{file} does not begin with `//!`"));
            }
            let lines = text.lines().count();
            if lines > MAX_LINES {
                wrong.push(format!("{file} has {lines} lines"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} files:\n{}", wrong.len(), wrong.join("\n"));
}

/// The test can fail: a file that imports the one that imports it is found, and so is an upward import.
#[test]
fn a_circle_is_found_through_names_that_are_passed_on() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/layers/example");
    let package = Package::read(&directory.join("lib.rs"));
    let imports = imports_of(&package);
    let found = circles(&imports);
    let names: Vec<Vec<String>> =
        found.iter().map(|circle| circle.iter().map(text).collect()).collect();
    assert_eq!(names, [["above::first", "above::second"]]);
    let taken = |from: &str, to: &str| {
        imports.iter().any(|((of, by), _)| text(of) == from && text(by) == to)
    };
    assert!(taken("above::second", "below") && !taken("below", "above"));
}
