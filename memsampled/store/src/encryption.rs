//! What encrypts the connections of this process.

/// Makes ring what encrypts connections, unless the program has chosen something else; it is called before the first
/// client is made, since HTTP clients without a choice of their own use what the process has chosen.
pub fn choose() {
    // It has been chosen already: by an earlier call, or by the program.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
