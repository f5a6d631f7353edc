//! Names of users, each looked up once.

use std::collections::HashMap;

/// The names of user ids.
pub(super) struct UserNames<'a> {
    look_up: &'a dyn Fn(u32) -> Option<String>,
    known: HashMap<u32, String>,
}

impl<'a> UserNames<'a> {
    pub(super) fn new(look_up: &'a dyn Fn(u32) -> Option<String>) -> Self {
        Self { look_up, known: HashMap::new() }
    }

    /// Returns the name of a user, or the number where there is none.
    pub(super) fn get(&mut self, uid: u32) -> String {
        let name = || (self.look_up)(uid).unwrap_or_else(|| uid.to_string());
        self.known.entry(uid).or_insert_with(name).clone()
    }
}
