//! The process's TLS: rustls on ring, chosen once for every client in it.

/// Makes ring the process's provider of cryptography, unless one was chosen before. Clients of https and of encrypted
/// services need it; calling it again does nothing.
pub fn install_provider() {
    // an error says that a provider is there already, which is what is wanted
    let _ = rustls::crypto::ring::default_provider().install_default();
}
