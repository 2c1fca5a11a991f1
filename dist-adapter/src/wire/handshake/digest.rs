//! [`digest`]: the proof that a node knows the cookie.

use alloc::string::ToString as _;

use md5::{Digest as _, Md5};
use subtle::ConstantTimeEq as _;

/// The MD5 digest of the cookie and a challenge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digest(pub(super) [u8; 16]);

/// Returns the digest for a challenge of the other side.
pub(super) fn digest(cookie: &str, challenge: u32) -> Digest {
    Digest(Md5::new().chain_update(cookie).chain_update(challenge.to_string()).finalize().into())
}

impl Digest {
    /// Compares in constant time, so that the time tells nothing about the right digest.
    pub(super) fn is(&self, other: &[u8; 16]) -> bool {
        self.0.ct_eq(other).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digests are those of `erlang:md5([Cookie, integer_to_list(Challenge)])`.
    #[test]
    fn digests_are_those_of_erlang() {
        for (cookie, challenge, hexadecimal) in DIGESTS {
            let bytes = hexadecimal.to_be_bytes();
            assert!(digest(cookie, challenge).is(&bytes));
            assert!(!digest(cookie, challenge ^ 1).is(&bytes));
        }
    }

    const DIGESTS: [(&str, u32, u128); 3] = [
        ("secret", 0, 0x175e_c77a_7f63_0825_9098_7d0d_8b05_1aff),
        ("secret", 1_234_567_890, 0xe0fc_fc1b_a511_fc6f_e6ee_357c_9add_b932),
        ("", u32::MAX, 0x7ba3_4a7c_9344_df2a_cabd_b014_6b9e_15e3),
    ];
}
