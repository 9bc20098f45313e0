//! Base64: what is written is for addresses, what is read is of either alphabet.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_encode_padding(false)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);

const FOR_ADDRESSES: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);

/// Encodes for addresses, without padding.
pub(super) fn encode_url(bytes: &[u8]) -> String {
    FOR_ADDRESSES.encode(bytes)
}

/// Decodes either alphabet, with or without padding; `None` if it is neither.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| FOR_ADDRESSES.decode(text)).ok()
}
