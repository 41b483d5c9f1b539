//! ID tokens of an OpenID provider (OpenID Connect Core 1.0, section 3.1.3.7).
//!
//! Guarantee: a token is believed only if one of the provider's own keys has signed it by RSA, ECDSA or EdDSA (never by a
//! shared secret, never unsigned), for this client, by this issuer, in answer to this very request (nonce), and in time.
//! The key decides the algorithm, not the token.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize as _;
use serde_json::{Map, Value};

/// How far the provider's clock may differ (seconds).
const LEEWAY_S: i64 = 60;
const ALGORITHMS: [Algorithm; 8] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// The keys that a provider signs with.
#[derive(Debug, Clone, Default)]
pub struct ProviderKeys(Vec<Jwk>);

impl ProviderKeys {
    /// Of a JWK Set (RFC 7517). Keys of kinds that are not known here, or that are for something else, are left out.
    pub fn parse(json: &[u8]) -> Option<Self> {
        let set: Value = serde_json::from_slice(json).ok()?;
        let keys = set.get("keys")?.as_array()?.iter().filter_map(|key| Jwk::deserialize(key).ok());
        let signs = |key: &Jwk| matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature));
        Some(Self(keys.filter(signs).collect()))
    }
}

/// What a token has to say.
#[derive(Debug, Clone, Copy)]
pub struct Demands<'d> {
    /// Who issued it, as the provider's own metadata has it.
    pub issuer: &'d str,
    /// For whom.
    pub client: &'d str,
    /// In answer to what.
    pub nonce: &'d str,
    /// Epoch milliseconds.
    pub now: i64,
}

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    /// None of the keys that are known has signed it: the provider may have others by now.
    #[error("none of the provider's known keys has signed the ID token")]
    UnknownKey,
    /// It says something else than it has to.
    #[error("the ID token is not believed: {0}")]
    Refused(&'static str),
}

/// What a token that is believed says.
pub fn check(text: &str, keys: &ProviderKeys, demands: &Demands<'_>) -> Result<Map<String, Value>, IdTokenError> {
    use IdTokenError::{Refused, UnknownKey};
    let header = jsonwebtoken::decode_header(text).map_err(|_| Refused("it is no JWT"))?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(Refused("its algorithm"));
    }
    let mut terms = Validation::new(header.alg);
    terms.set_issuer(&[demands.issuer]);
    terms.set_audience(&[demands.client]);
    terms.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
    // Compared here, by the clock that we are given.
    terms.validate_exp = false;
    let named = |key: &&Jwk| header.kid.is_none() || key.common.key_id == header.kid;
    let mut refused = UnknownKey;
    for key in keys.0.iter().filter(named) {
        let fits =
            key.common.key_algorithm.is_none_or(|algorithm| algorithm.to_string() == format!("{:?}", header.alg));
        let Some(key) = DecodingKey::from_jwk(key).ok().filter(|_| fits) else { continue };
        match jsonwebtoken::decode::<Map<String, Value>>(text, &key, &terms) {
            Ok(token) => return said(token.claims, demands),
            Err(error) => match error.kind() {
                // The signature is right, and what it signs is not.
                ErrorKind::InvalidIssuer => return Err(Refused("its issuer")),
                ErrorKind::InvalidAudience => return Err(Refused("its audience")),
                ErrorKind::MissingRequiredClaim(_) => return Err(Refused("a claim is missing")),
                ErrorKind::InvalidSignature => refused = UnknownKey,
                _ => refused = Refused("its form"),
            },
        }
    }
    Err(refused)
}

fn said(claims: Map<String, Value>, demands: &Demands<'_>) -> Result<Map<String, Value>, IdTokenError> {
    let refused = |what| Err(IdTokenError::Refused(what));
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let now = demands.now.div_euclid(1_000);
    let at = |name: &str| claims.get(name).and_then(Value::as_f64).map(|at| at as i64);
    if at("exp").is_none_or(|end| now >= end.saturating_add(LEEWAY_S)) {
        return refused("its time is over");
    }
    if at("iat").is_some_and(|made| made > now.saturating_add(LEEWAY_S)) {
        return refused("it was made in the future");
    }
    if at("nbf").is_some_and(|from| from > now.saturating_add(LEEWAY_S)) {
        return refused("its time has not begun");
    }
    if text("nonce") != Some(demands.nonce) {
        return refused("it answers another request");
    }
    // Of several audiences azp names the one that it is for (section 3.1.3.7, 4 and 5).
    let several = claims.get("aud").and_then(Value::as_array).is_some_and(|all| all.len() > 1);
    let party = claims.get("azp").and_then(Value::as_str);
    if (several || claims.contains_key("azp")) && party != Some(demands.client) {
        return refused("it was made for another party");
    }
    if text("sub").is_none_or(|sub| sub.is_empty() || sub.len() > 255) {
        return refused("its subject");
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    /// An ES256 key pair, and its public half as the provider shows it.
    fn pair(kid: &str) -> (EncodingKey, Value) {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let der = pair.to_pkcs8v1().unwrap();
        let point = pair.public_key().as_ref();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        let shown = json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid, "x": x, "y": y });
        (EncodingKey::from_ec_der(der.as_ref()), shown)
    }

    fn claims() -> Value {
        json!({ "iss": "https://id.example", "aud": "films", "sub": "ann", "exp": NOW + 300, "iat": NOW, "nonce": "n" })
    }

    fn sign(key: &EncodingKey, kid: Option<&str>, claims: &Value) -> String {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, key).unwrap()
    }

    fn try_it(text: &str, keys: &ProviderKeys) -> Result<Map<String, Value>, IdTokenError> {
        check(text, keys, &Demands { issuer: "https://id.example", client: "films", nonce: "n", now: NOW * 1_000 })
    }

    fn keys(shown: &[&Value]) -> ProviderKeys {
        ProviderKeys::parse(json!({ "keys": shown }).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_token_is_believed_if_it_is_for_us_from_them_now() {
        let (key, shown) = pair("one");
        let keys = keys(&[&json!({ "kty": "unheard-of", "kid": "zero" }), &shown]);
        let good = try_it(&sign(&key, Some("one"), &claims()), &keys).unwrap();
        assert_eq!(good["sub"], "ann");
        assert!(try_it(&sign(&key, None, &claims()), &keys).is_ok(), "without a key id every key is tried");
        for (change, why) in [
            (json!({ "iss": "https://evil.example" }), "its issuer"),
            (json!({ "iss": "https://id.example/" }), "its issuer"),
            (json!({ "aud": "other" }), "its audience"),
            (json!({ "aud": ["films", "other"] }), "it was made for another party"),
            (json!({ "aud": ["films", "other"], "azp": "other" }), "it was made for another party"),
            (json!({ "azp": "other" }), "it was made for another party"),
            (json!({ "exp": NOW - 61 }), "its time is over"),
            (json!({ "exp": null }), "a claim is missing"),
            (json!({ "iat": NOW + 61 }), "it was made in the future"),
            (json!({ "nonce": "m" }), "it answers another request"),
            (json!({ "nonce": null }), "it answers another request"),
            (json!({ "sub": "" }), "its subject"),
        ] {
            let mut told = claims();
            told.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let refused = try_it(&sign(&key, Some("one"), &told), &keys).unwrap_err();
            assert_eq!(refused, IdTokenError::Refused(why), "{change}");
        }
        let mut told = claims();
        told["aud"] = json!(["films", "other"]);
        told["azp"] = json!("films");
        assert!(try_it(&sign(&key, Some("one"), &told), &keys).is_ok());
    }

    #[test]
    fn only_the_providers_keys_sign() {
        let ((key, shown), (other, _)) = (pair("one"), pair("one"));
        let keys = keys(&[&shown]);
        assert_eq!(try_it(&sign(&other, Some("one"), &claims()), &keys), Err(IdTokenError::UnknownKey), "another key");
        assert_eq!(try_it(&sign(&key, Some("two"), &claims()), &keys), Err(IdTokenError::UnknownKey), "another name");
        let text = sign(&key, Some("one"), &claims());
        let parts: Vec<&str> = text.split('.').collect();
        // Signed with what everybody knows, as if it were a shared secret; or not at all.
        let secret = EncodingKey::from_secret(shown["x"].as_str().unwrap().as_bytes());
        let header = Header { kid: Some("one".into()), ..Header::new(Algorithm::HS256) };
        let shared = jsonwebtoken::encode(&header, &claims(), &secret).unwrap();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"one"}"#);
        let rs = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"one"}"#);
        for forged in [
            shared,
            format!("{none}.{}.", parts[1]),
            format!("{rs}.{}.{}", parts[1], parts[2]),
            format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode("{}"), parts[2]),
            String::new(),
            "a.b.c".into(),
        ] {
            assert!(try_it(&forged, &keys).is_err(), "{forged}");
        }
        let mut encrypts = shown.clone();
        encrypts["use"] = json!("enc");
        assert!(try_it(&text, &self::keys(&[&encrypts])).is_err(), "a key for something else");
        assert!(ProviderKeys::parse(b"[]").is_none());
    }
}
