//! The bounds of what a request may hold, each with its reason.

/// The longest name of a session, in bytes: with the time behind it, it must fit into a file name.
pub const NAME_BYTES: usize = 64;
/// The longest id of a session, in bytes: its name, the time and a number.
pub const ID_BYTES: usize = 128;
/// The longest name of a mark or a test, in characters. The recorder takes 4096 bytes, which is four for
/// each.
pub const MARK_CHARACTERS: usize = 1024;
/// Labels of a session, at most: they are kept in memory and in every file of the recording.
pub const LABELS: usize = 32;
/// The longest key of a label, in characters.
pub const LABEL_KEY_CHARACTERS: usize = 64;
/// The longest value of a label, in characters.
pub const LABEL_VALUE_CHARACTERS: usize = 1024;
/// The longest path of a control group, in characters: that of a file.
pub const CGROUP_CHARACTERS: usize = 4096;
/// The largest body, in bytes. The largest valid request has 32 labels of four bytes for each character.
pub const BODY_BYTES: usize = 256 << 10;
/// The smallest limit on the size of a recording, in bytes: an empty one has that much set aside.
pub const MIN_SESSION_BYTES: u64 = 4 << 20;

const _: () = assert!(
    BODY_BYTES
        > LABELS * 4 * (LABEL_KEY_CHARACTERS + LABEL_VALUE_CHARACTERS) + 8 * CGROUP_CHARACTERS
);
