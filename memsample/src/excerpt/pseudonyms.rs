//! Pseudonyms: what takes the place of a name, and is the same for the same name under the same key.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// A shorter key could be guessed.
const MIN_KEY_BYTES: usize = 16;
/// Names whose pseudonyms are remembered.
const MAX_REMEMBERED: usize = 64 * 1024;
/// Digits of a pseudonym: 48 bits, of which a hundred thousand names share one by chance in 1 of 50,000 recordings. With
/// the letter before them it is a command name of fewer than 16 bytes.
const DIGITS: usize = 12;

/// The directories of the file system hierarchy that every machine has: what stands at the begin of a path.
const SYSTEM_DIRECTORIES: [&str; 20] = [
    "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "media", "mnt", "opt", "proc",
    "root", "run", "sbin", "srv", "sys", "tmp", "usr", "var",
];
/// Those that stand below `/usr` and `/usr/local`.
const USR_DIRECTORIES: [&str; 8] =
    ["bin", "include", "lib", "lib64", "libexec", "local", "sbin", "share"];

/// The sandboxes that there are.
const SANDBOXES: [&str; 4] = ["none", "pidns", "bwrap", "lxc"];

/// What memsample itself writes in place of a name, or at its end.
const OWN_WORDS: [&str; 3] = ["[redacted]", "…", ""];

/// Replaces names by pseudonyms: the first 48 bits of HMAC-SHA-256 of each word under a key.
///
/// A name has words, between which spaces, slashes and equals signs stand; they stay, and so does its depth as a path.
/// The same word has the same pseudonym in every place: the program of a path is still that of the command name.
pub struct Pseudonyms {
    mac: Hmac<Sha256>,
    kept: HashSet<String>,
    keeps_tests: bool,
    remembered: HashMap<String, String>,
}

impl fmt::Debug for Pseudonyms {
    /// Leaves out the key and the names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pseudonyms").field("keeps_tests", &self.keeps_tests).finish_non_exhaustive()
    }
}

/// Why a key is none.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyError {
    /// It has fewer than 16 bytes.
    Short,
    /// No random key could be made.
    Random(io::Error),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => write!(
                f,
                "the key has fewer than {MIN_KEY_BYTES} bytes, so that it could be guessed: make one with \
                 `head -c 32 /dev/urandom > FILE`"
            ),
            Self::Random(_) => f.write_str("the kernel gave no random key"),
        }
    }
}

impl std::error::Error for KeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Short => None,
            Self::Random(error) => Some(error),
        }
    }
}

impl Pseudonyms {
    /// Makes pseudonyms under a key that is known to nobody: those of another call differ.
    ///
    /// # Errors
    ///
    /// The kernel gives no random bytes.
    pub fn random() -> Result<Self, KeyError> {
        let mut key = [0; 32];
        let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut key));
        read.map_err(KeyError::Random)?;
        Self::with_key(&key)
    }

    /// Makes pseudonyms under a key: whoever has it can find out which name a pseudonym stands for.
    ///
    /// # Errors
    ///
    /// The key has fewer than 16 bytes.
    pub fn with_key(key: &[u8]) -> Result<Self, KeyError> {
        if key.len() < MIN_KEY_BYTES {
            return Err(KeyError::Short);
        }
        let mac = Hmac::new_from_slice(key).map_err(|_| KeyError::Short)?;
        let (kept, remembered) = (HashSet::new(), HashMap::new());
        Ok(Self { mac, kept, keeps_tests: false, remembered })
    }

    /// Keeps words as they are, such as `sh` and `python3`, wherever they stand alone.
    #[must_use]
    pub fn keep(mut self, words: impl IntoIterator<Item = String>) -> Self {
        self.kept.extend(words);
        self
    }

    /// Keeps the names of tests and suites, and their tags.
    #[must_use]
    pub fn keep_tests(mut self, keeps: bool) -> Self {
        self.keeps_tests = keeps;
        self
    }

    /// Returns what takes the place of a name, of arguments, or of a path.
    pub fn name(&mut self, name: &str) -> String {
        if let Some(known) = self.remembered.get(name) {
            return known.clone();
        }
        let pseudonym = self.words(name);
        if self.remembered.len() >= MAX_REMEMBERED {
            self.remembered.clear();
        }
        self.remembered.insert(name.to_owned(), pseudonym.clone());
        pseudonym
    }

    /// Returns what takes the place of the name of a test or a suite.
    pub fn test(&mut self, name: &str) -> String {
        if self.keeps_tests { name.to_owned() } else { self.name(name) }
    }

    /// Returns labels whose keys and values are pseudonyms, but for the keys in `known`, whose values are numbers.
    pub fn labels(
        &mut self,
        labels: &BTreeMap<String, String>,
        known: &[&str],
    ) -> BTreeMap<String, String> {
        let is_number =
            |value: &str| value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        let entry = |(key, value): (&String, &String)| match known.contains(&key.as_str()) {
            true if is_number(value) => (key.clone(), value.clone()),
            true => (key.clone(), self.name(value)),
            false => (self.name(key), self.name(value)),
        };
        labels.iter().map(entry).collect()
    }

    /// Returns what takes the place of a user. Root stays root; the others are above all that systems give to users.
    pub fn user(&mut self, uid: u32) -> u32 {
        match uid {
            0 => 0,
            uid => 0x8000_0000 | (self.bits(&format!("uid {uid}")) as u32 & 0x7fff_fffe),
        }
    }

    /// Returns what takes the place of the random number of a boot, in its form.
    pub(super) fn boot(&mut self, id: &str) -> String {
        let (high, low) = (self.bits(&format!("boot {id}")), self.bits(&format!("{id} boot")));
        let high = high >> 16;
        format!("{:08x}-0000-8000-8000-{:012x}", high & 0xffff_ffff, low >> 16)
    }

    /// Returns a release of the kernel whose number stays and whose other words do not.
    pub fn kernel(&mut self, release: &str) -> String {
        let end = release.find(|it: char| !it.is_ascii_digit() && it != '.');
        match release.split_at_checked(end.unwrap_or(release.len())) {
            Some((number, "")) => number.to_owned(),
            Some((number, rest)) => format!("{number}-{}", self.name(rest.trim_start_matches('-'))),
            None => self.name(release),
        }
    }

    /// Returns a sandbox, such as `bwrap`, or `lxc:NAME` with a pseudonym of the container.
    pub fn sandbox(&mut self, sandbox: &str) -> String {
        match sandbox.split_once(':') {
            Some((kind, container)) if SANDBOXES.contains(&kind) => {
                format!("{kind}:{}", self.name(container))
            }
            _ if SANDBOXES.contains(&sandbox) => sandbox.to_owned(),
            _ => self.name(sandbox),
        }
    }

    fn words(&self, name: &str) -> String {
        let mut pseudonym = String::with_capacity(name.len() * 2);
        for (index, argument) in name.split(' ').enumerate() {
            if index > 0 {
                pseudonym.push(' ');
            }
            for (index, part) in argument.split('=').enumerate() {
                if index > 0 {
                    pseudonym.push('=');
                }
                self.path(part, &mut pseudonym);
            }
        }
        pseudonym
    }

    fn path(&self, path: &str, pseudonym: &mut String) {
        let is_absolute = path.starts_with('/');
        // How far all that stands before is a directory of every system.
        let mut above: Option<&str> = is_absolute.then_some("/");
        for (index, word) in path.split('/').enumerate() {
            if index > 0 {
                pseudonym.push('/');
            }
            if word.is_empty() {
                continue;
            }
            let is_system = match above {
                Some("/") => SYSTEM_DIRECTORIES.contains(&word),
                Some("usr" | "local") => USR_DIRECTORIES.contains(&word),
                _ => false,
            };
            above = is_system.then_some(word);
            match is_system || word == "(deleted)" {
                true => pseudonym.push_str(word),
                false => self.word(word, pseudonym),
            }
        }
    }

    /// Puts what takes the place of a word. The dashes of an option stay.
    fn word(&self, word: &str, pseudonym: &mut String) {
        let bare = word.trim_start_matches('-');
        let dashes = word.len() - bare.len();
        pseudonym.push_str(word.get(..dashes.min(2)).unwrap_or_default());
        if OWN_WORDS.contains(&bare) || self.kept.contains(word) || self.kept.contains(bare) {
            pseudonym.push_str(bare);
            return;
        }
        let hex = format!("x{:012x}", self.bits(bare) >> (64 - 4 * DIGITS));
        pseudonym.push_str(&hex);
    }

    /// Returns the first 64 bits of the code of a word.
    fn bits(&self, word: &str) -> u64 {
        let mut mac = self.mac.clone();
        mac.update(word.as_bytes());
        let code = mac.finalize().into_bytes();
        code.iter().take(8).fold(0, |bits, byte| bits << 8 | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pseudonyms() -> Pseudonyms {
        Pseudonyms::with_key(b"0123456789abcdef").unwrap()
    }

    #[test]
    fn the_code_is_hmac_sha256() {
        // printf canary | openssl dgst -sha256 -hmac 0123456789abcdef
        assert_eq!(pseudonyms().name("canary"), format!("x{}", CANARY));
    }

    const CANARY: &str = "14e757259417";

    #[test]
    fn a_word_has_one_pseudonym_in_every_place_and_form_is_kept() {
        let mut names = pseudonyms();
        let word = names.name("canary");
        assert_eq!(word.len(), 13);
        assert_eq!(names.name("/usr/local/bin/canary"), format!("/usr/local/bin/{word}"));
        assert_eq!(
            names.name("/home/canary/usr/canary (deleted)"),
            format!("/home/{word}/{}/{word} (deleted)", names.name("usr"))
        );
        assert_eq!(
            names.name("canary --canary=canary -canary [redacted] …"),
            format!("{word} --{word}={word} -{word} [redacted] …")
        );
        assert_ne!(names.name("bin"), "bin");
        assert_eq!(names.name(""), "");
        let mut others = Pseudonyms::with_key(b"0123456789abcdeg").unwrap();
        assert_ne!(others.name("canary"), word);
        assert_ne!(Pseudonyms::random().unwrap().name("canary"), word);
    }

    #[test]
    fn what_is_to_be_kept_is_kept_as_a_whole_word() {
        let mut names = pseudonyms().keep(["python3".to_owned()]).keep_tests(true);
        assert!(names.name("/opt/x/python3 -c").contains("/python3 -x"));
        assert!(!names.name("python3x").contains("python3"));
        assert_eq!(names.test("a test"), "a test");
    }

    #[test]
    fn root_stays_root_and_no_user_becomes_it() {
        let mut names = pseudonyms();
        assert_eq!(names.user(0), 0);
        assert!((1..2000).all(|uid| names.user(uid) >= 0x8000_0000));
    }

    #[test]
    fn short_keys_are_refused() {
        assert!(matches!(Pseudonyms::with_key(b"0123456789abcde"), Err(KeyError::Short)));
    }
}
