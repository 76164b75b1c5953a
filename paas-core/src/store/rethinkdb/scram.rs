//! SCRAM-SHA-256 (RFC 5802 and RFC 7677), as far as RethinkDB uses it: what both sides compute.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// Digest of SHA-256.
pub(crate) type Hash = [u8; 32];

/// Channel binding that says "none": `n,,` in base64.
pub(crate) const NO_BINDING: &str = "biws";

/// What a password becomes with a salt. Takes long on purpose, so it is kept while a server names the same salt.
#[derive(Clone)]
pub(crate) struct SaltedPassword(Hash);

impl SaltedPassword {
    pub(crate) fn new(password: &str, salt: &[u8], iterations: u32) -> Self {
        Self(pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), salt, iterations))
    }

    /// What the client shows, to prove that it knows the password.
    pub(crate) fn client_proof(&self, auth_message: &str) -> Hash {
        let client_key = mac(&self.0, b"Client Key");
        let signature = mac(&hash(&client_key), auth_message.as_bytes());
        xor(client_key, signature)
    }

    /// Whether a proof is one of this password: what a server asks itself.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn accepts(&self, proof: &Hash, auth_message: &str) -> bool {
        let stored_key = hash(&mac(&self.0, b"Client Key"));
        let client_key = xor(*proof, mac(&stored_key, auth_message.as_bytes()));
        subtle::ConstantTimeEq::ct_eq(&hash(&client_key)[..], &stored_key[..]).into()
    }

    /// What the server shows, to prove the same.
    pub(crate) fn server_signature(&self, auth_message: &str) -> Hash {
        mac(&mac(&self.0, b"Server Key"), auth_message.as_bytes())
    }
}

impl std::fmt::Debug for SaltedPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SaltedPassword(..)")
    }
}

/// A name as it may stand in a message: `,` and `=` mean something there.
pub(crate) fn escape_name(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

/// The value of an attribute such as `r=…` in a message.
pub(crate) fn attribute(message: &str, name: char) -> Option<&str> {
    message.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

fn mac(key: &[u8], message: &[u8]) -> Hash {
    // Keys of any length are good for HMAC, so the empty one is never the outcome of an error.
    Hmac::<Sha256>::new_from_slice(key)
        .map(|mut mac| {
            mac.update(message);
            mac.finalize().into_bytes().into()
        })
        .unwrap_or_default()
}

fn xor(left: Hash, right: Hash) -> Hash {
    std::array::from_fn(|index| left[index] ^ right[index])
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    /// The example of RFC 7677.
    #[test]
    fn computes_what_the_standard_says() {
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let password = SaltedPassword::new("pencil", &salt, 4096);
        let message = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
            r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
            c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let proof = password.client_proof(message);
        assert_eq!(BASE64_STANDARD.encode(proof), "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        assert!(password.accepts(&proof, message));
        assert!(!SaltedPassword::new("pencils", &salt, 4096).accepts(&proof, message));
        let signature = password.server_signature(message);
        assert_eq!(BASE64_STANDARD.encode(signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn names_are_escaped_and_attributes_found() {
        assert_eq!(escape_name("a=b,c"), "a=3Db=2Cc");
        assert_eq!(attribute("r=abc,s=Zg==,i=1", 's'), Some("Zg=="));
        assert_eq!(attribute("r=abc", 'i'), None);
    }
}
