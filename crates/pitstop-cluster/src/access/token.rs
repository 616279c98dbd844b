//! Tokens of service accounts: signed statements of who somebody is, for a time.
//!
//! JSON Web Tokens with ES256 signatures; the claims are those that kube-apiserver 1.34 puts in.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};

/// Who signs, and the audience of tokens that name none.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc";

/// The key that signs the tokens of a cluster.
pub(crate) struct Signer {
    key: EcdsaKeyPair,
    id: String,
    random: SystemRandom,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The key cannot be made, read or used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key that signs tokens cannot be used")]
pub(crate) struct KeyError;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) aud: Vec<String>,
    pub(crate) exp: i64,
    pub(crate) iat: i64,
    pub(crate) iss: String,
    pub(crate) jti: String,
    #[serde(rename = "kubernetes.io")]
    pub(crate) private: Private,
    pub(crate) nbf: i64,
    pub(crate) sub: String,
}

/// The objects that have to be there for the token to be good.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Private {
    pub(crate) namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<Reference>,
    pub(crate) serviceaccount: Reference,
}

/// An object by name and uid.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Reference {
    pub(crate) name: String,
    pub(crate) uid: String,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

impl Signer {
    /// A new key, as text that [`Signer::from_text`] reads.
    pub(crate) fn new_text() -> Result<String, KeyError> {
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        key.map(|key| STANDARD.encode(key)).map_err(|_| KeyError)
    }

    /// A key from text.
    pub(crate) fn from_text(text: &str) -> Result<Self, KeyError> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| KeyError)?;
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &bytes, &random)
            .map_err(|_| KeyError)?;
        let id = URL_SAFE_NO_PAD.encode(digest(&SHA256, key.public_key().as_ref()));
        Ok(Self { key, id, random })
    }

    /// Signs.
    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, KeyError> {
        let header = Header {
            alg: "ES256".to_owned(),
            kid: self.id.clone(),
        };
        let part = |bytes: Result<Vec<u8>, _>| {
            bytes
                .map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
                .map_err(|_: serde_json::Error| KeyError)
        };
        let signed = format!(
            "{}.{}",
            part(serde_json::to_vec(&header))?,
            part(serde_json::to_vec(claims))?
        );
        let signature = self
            .key
            .sign(&self.random, signed.as_bytes())
            .map_err(|_| KeyError)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// What a token says, if this key signed it, this issuer made it, and its time has come and not passed.
    pub(crate) fn verify(&self, token: &str, now: Timestamp) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        if header.alg != "ES256" || header.kid != self.id {
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key().as_ref())
            .verify(signed.as_bytes(), &signature)
            .ok()?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        let now = now.as_second();
        (claims.iss == ISSUER && claims.nbf <= now && now < claims.exp).then_some(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            aud: vec![ISSUER.to_owned()],
            iat: 100,
            nbf: 100,
            exp: 700,
            iss: ISSUER.to_owned(),
            sub: "system:serviceaccount:a:b".to_owned(),
            ..Claims::default()
        }
    }

    #[test]
    fn a_token_is_good_for_its_time_and_its_key() {
        let signer = Signer::from_text(&Signer::new_text().unwrap()).unwrap();
        let token = signer.sign(&claims()).unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(signer.verify(&token, at(100)), Some(claims()));
        assert_eq!(signer.verify(&token, at(699)), Some(claims()));
        assert_eq!(signer.verify(&token, at(99)), None, "not yet");
        assert_eq!(signer.verify(&token, at(700)), None, "no longer");
        let other = Signer::from_text(&Signer::new_text().unwrap()).unwrap();
        assert_eq!(other.verify(&token, at(100)), None, "another key");
    }

    #[test]
    fn a_token_that_was_touched_is_none() {
        let signer = Signer::from_text(&Signer::new_text().unwrap()).unwrap();
        let token = signer.sign(&claims()).unwrap();
        let now = Timestamp::from_second(100).unwrap();
        let mut parts = token.split('.');
        let (header, _, signature) = (
            parts.next().unwrap(),
            parts.next().unwrap(),
            parts.next().unwrap(),
        );
        let forged = Claims {
            sub: "system:serviceaccount:kube-system:admin".to_owned(),
            ..claims()
        };
        let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&forged).unwrap());
        for bad in [
            format!("{header}.{body}.{signature}"),
            format!("{}.{body}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":""}"#)),
            "a.b".to_owned(),
            String::new(),
        ] {
            assert_eq!(signer.verify(&bad, now), None, "{bad}");
        }
    }
}
