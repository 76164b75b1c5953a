//! Random tokens, and the hashes they are kept as.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRng;
use rand::rngs::SysRng;
use sha2::{Digest, Sha256};

use super::{AuthError, Result};

/// A new token of 256 random bits, as text that fits a header.
pub(super) fn random_token() -> Result<String> {
    let mut random = [0_u8; 32];
    SysRng.try_fill_bytes(&mut random).map_err(|error| AuthError::Crypto(error.to_string()))?;
    Ok(URL_SAFE_NO_PAD.encode(random))
}

/// SHA-256 of a token. Guessing a token means guessing 256 random bits, so a plain hash is enough, and looking it up in a
/// table tells a listener nothing about the token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TokenHash(pub(super) String);

impl TokenHash {
    pub(super) fn of(token: &str) -> Self {
        Self(hex::encode(Sha256::digest(token)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_written_in_hexadecimal() {
        // The example of FIPS 180-2.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(TokenHash::of("abc").0, expected);
    }
}
