//! The standard output and the error stream.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::locale::shown;

/// Why the standard output takes nothing more.
static OUT_ENDED: Mutex<Option<Errno>> = Mutex::new(None);

/// Prints a text for people to the standard output, as [`print()`] does: in ASCII where the locale is not UTF-8.
///
/// What programs read, and paths that a shell takes on, go through [`print()`] as they are.
pub fn print_text(text: impl AsRef<str>) {
    print(shown(text.as_ref()).as_bytes());
}

/// Prints to the standard output, and waits for who reads it.
///
/// It cannot fail: what the program does goes on if nobody reads. [`lost`] says at the end whether something could not
/// be written.
pub fn print(text: impl AsRef<[u8]>) {
    let mut ended = OUT_ENDED.lock().unwrap_or_else(PoisonError::into_inner);
    if ended.is_none() {
        *ended = write_whole(io::stdout().as_fd(), text.as_ref()).err();
    }
}

/// Prints a message and a line feed to the error stream, and waits for who reads it. If that fails, nobody is left to
/// tell.
///
/// A path or a word of a damaged file in the message does nothing to the terminal: see [`harmless`]. Where the locale is
/// not UTF-8, it is in ASCII.
pub fn tell(message: impl AsRef<str>) {
    let mut line = harmless(message.as_ref());
    line.push('\n');
    let _ = write_whole(io::stderr().as_fd(), shown(&line).as_bytes());
}

/// Returns a message in which what a terminal would obey is written out: whoever names a file may have named it so.
/// Line feeds and tabs stay.
#[must_use]
pub fn harmless(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for char in message.chars() {
        // The others turn the direction of writing.
        let is_obeyed = char.is_control() && !matches!(char, '\n' | '\t')
            || matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if is_obeyed {
            text.extend(char.escape_default());
        } else {
            text.push(char);
        }
    }
    text
}

/// Returns why the standard output lacks something, unless its reader went away: `head` does so once it has seen
/// enough.
#[must_use]
pub fn lost() -> Option<io::Error> {
    let ended = *OUT_ENDED.lock().unwrap_or_else(PoisonError::into_inner);
    ended.filter(|&error| error != Errno::PIPE).map(io::Error::from)
}

/// Writes all bytes, also to a descriptor that does not block because of someone who shares it.
///
/// # Errors
///
/// What the kernel says, also of a descriptor that was not opened for writing, which the standard library passes over.
pub fn write_whole(stream: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(stream, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => match poll(&mut [PollFd::new(&stream, PollFlags::OUT)], None) {
                // If its reader has gone, the write says so.
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_does_nothing_to_a_terminal_and_keeps_its_words() {
        let told = harmless("`d\u{1b}[31m\u{7}x\u{202e}`:\r\n\tit's \"ö\" \\ 日本\u{9b}2J");
        assert_eq!(told, "`d\\u{1b}[31m\\u{7}x\\u{202e}`:\\r\n\tit's \"ö\" \\ 日本\\u{9b}2J");
    }
}
