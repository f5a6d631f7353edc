//! What programs check reports with: the JSON schema, and the XML schema of Jenkins' xUnit plugin.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Returns the validator of a schema in docs.
fn schema(name: &str) -> jsonschema::Validator {
    let path = format!("{}/../docs/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

/// Checks that a value has every key that a schema in docs knows and no other. An example in which everything is known
/// shows that way that a type and its schema have the same keys.
#[track_caller]
pub(crate) fn check_every_key(name: &str, example: &impl serde::Serialize) {
    let path = format!("{}/../docs/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let parts = schema["$defs"].as_object().unwrap().iter().map(|(name, part)| (&**name, part));
    for (part, of) in parts.chain([("the whole", &schema)]) {
        let properties: BTreeSet<&str> =
            of["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        let required = of["required"].as_array().unwrap().iter().filter_map(Value::as_str);
        assert_eq!(properties, required.collect(), "{part}");
        assert_eq!(of["additionalProperties"], false, "{part}");
    }
    check_json(name, &serde_json::to_vec(example).unwrap());
}

/// Returns the validator of `results.json`.
pub(crate) fn results_schema() -> jsonschema::Validator {
    schema("results")
}

/// Checks JSON against a schema in docs, and returns it.
#[track_caller]
pub(crate) fn check_json(name: &str, bytes: &[u8]) -> Value {
    let value: Value = serde_json::from_slice(bytes).unwrap();
    if let Err(error) = schema(name).validate(&value) {
        panic!("{error} at {}: {value:#}", error.instance_path());
    }
    value
}

/// Checks results against the schema and returns them.
#[track_caller]
pub(crate) fn check_results(bytes: &[u8]) -> Value {
    check_json("results", bytes)
}

/// Returns whether a document is valid against `junit-10.xsd`, or why not.
pub(crate) fn check_junit(xml: &[u8]) -> Result<(), String> {
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/../.ci/schemas/junit-10.xsd");
    assert!(std::path::Path::new(schema).exists(), "`make tools` fetches {schema}");
    let mut child = Command::new("xmllint")
        .args(["--nonet", "--noout", "--schema", schema, "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("`make tools` installs xmllint");
    child.stdin.take().unwrap().write_all(xml).unwrap();
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(message) }
}
