//! Reads from the code which file imports what from which other file, and holds it to the layers that
//! `tests/layers.rs` names. There is nothing here but that test and what it needs.
