//! Passwords: what is taken for one, and how it is kept.
//!
//! Guarantees: argon2id with 19 MiB, two passes and one lane (OWASP Password Storage Cheat Sheet), a salt of its own for
//! each; at most [`AT_ONCE`] are worked on at a time, on blocking threads, and beyond [`WAITING`] waiting ones the answer
//! is "busy" at once. Checking costs the same whether or not there is anything to check against.
//!
//! Rules as NIST SP 800-63B section 5.1.1.2 has them: length counts, no composition rules, no expiry, no hints; refused is
//! what everybody tries first.

use std::sync::Arc;

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use crate::problem::{Code, Problem};

/// Shortest password (characters).
const MIN: usize = 10;
/// Longest (bytes); hashing is not for free.
const MAX: usize = 1_024;
const MEMORY_KIB: u32 = 19 * 1_024;
const AT_ONCE: usize = 2;
const WAITING: usize = 32;
/// What is tried first, of ten characters and more.
const COMMON: [&str; 16] = [
    "password",
    "passw0rd",
    "1234567890",
    "0123456789",
    "qwertyuiop",
    "qwerty",
    "letmein",
    "iloveyou",
    "administrator",
    "welcome",
    "abcdefghij",
    "changeme",
    "reelfleet",
    "trustno1",
    "football",
    "baseball",
];

/// Refuses what is no password for this person.
pub(super) fn check(password: &str, email: &str, name: &str) -> Result<(), Problem> {
    let weak = |why: String| Err(Problem::new(Code::PasswordWeak, why));
    if password.chars().count() < MIN {
        return weak(format!("at least {MIN} characters"));
    }
    if password.len() > MAX {
        return weak(format!("at most {MAX} bytes"));
    }
    let lower = password.to_lowercase();
    let local = email.split('@').next().unwrap_or_default();
    if [email, local, &name.to_lowercase()].contains(&lower.as_str()) {
        return weak("not the e-mail address or the name".to_owned());
    }
    let bare = lower.trim_matches(|c: char| !c.is_alphabetic());
    let repeated = lower.chars().all(|c| lower.starts_with(c));
    if repeated || COMMON.contains(&lower.as_str()) || COMMON.contains(&bare) {
        return weak("it is one of the first that anybody tries".to_owned());
    }
    Ok(())
}

/// Hashes and checks, a few at a time.
pub(super) struct Hasher {
    slots: Arc<Semaphore>,
    room: Semaphore,
}

impl Hasher {
    pub(super) fn new() -> Self {
        Self { slots: Arc::new(Semaphore::new(AT_ONCE)), room: Semaphore::new(AT_ONCE + WAITING) }
    }

    /// The PHC string of a password.
    pub(super) async fn hash(&self, password: String, salt: [u8; 16]) -> Result<String, Problem> {
        self.work(move || hash(&password, &salt)).await?.map_err(Problem::internal)
    }

    /// Whether this is the password of a PHC string. Without one it is not, after the same work.
    pub(super) async fn verify(&self, password: String, stored: Option<String>) -> Result<bool, Problem> {
        self.work(move || match stored {
            Some(stored) => {
                argon2().and_then(|argon2| argon2.verify_password(password.as_bytes(), stored.as_str())).is_ok()
            }
            None => {
                let _ = hash(&password, &[0; 16]);
                false
            }
        })
        .await
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let Ok(_room) = self.room.try_acquire() else {
            return Err(Problem::new(Code::Busy, "too many people sign in at this moment").after(3));
        };
        let slot = self.slots.clone().acquire_owned().await.map_err(Problem::internal)?;
        let worked = tokio::task::spawn_blocking(move || {
            // Held to the end of the work, whether or not anybody still waits for it.
            let _slot = slot;
            work()
        });
        worked.await.map_err(Problem::internal)
    }
}

fn argon2() -> argon2::password_hash::Result<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, 2, 1, None).map_err(|_| argon2::password_hash::Error::Internal)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &str, salt: &[u8]) -> argon2::password_hash::Result<String> {
    Ok(argon2()?.hash_password_with_salt(password.as_bytes(), salt)?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_counts_and_what_everybody_tries_does_not() {
        let check = |password: &str| check(password, "ann.bell@example.org", "Ann Bell of Kent");
        for good in ["correct horse", "zehn Zeich", "ääääääääöö", "password of my own"] {
            assert!(check(good).is_ok(), "{good}");
        }
        let long = "x1".repeat(600);
        for bad in [
            "",
            "ninechars",
            "ann.bell@example.org",
            "Ann.Bell@Example.org",
            "ann bell of kent",
            "aaaaaaaaaaaa",
            "1234567890",
            "Password123!",
            "QWERTYUIOP",
            &long,
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_password_is_known_again_and_no_other() {
        let hasher = Hasher::new();
        let stored = hasher.hash("correct horse".into(), [1; 16]).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert_ne!(hasher.hash("correct horse".into(), [2; 16]).await.unwrap(), stored, "each has its salt");
        assert!(hasher.verify("correct horse".into(), Some(stored.clone())).await.unwrap());
        assert!(!hasher.verify("correct horsf".into(), Some(stored)).await.unwrap());
        assert!(!hasher.verify("correct horse".into(), None).await.unwrap());
        assert!(!hasher.verify("correct horse".into(), Some("broken".into())).await.unwrap());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_crowd_is_told_to_come_back() {
        let hasher = Arc::new(Hasher::new());
        let held = hasher.slots.clone().acquire_many_owned(2).await.unwrap();
        let work = |_| {
            let hasher = hasher.clone();
            tokio::spawn(async move { hasher.verify("p".into(), None).await })
        };
        let crowd: Vec<_> = (0..AT_ONCE + WAITING).map(work).collect();
        while hasher.room.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(hasher.verify("p".into(), None).await.unwrap_err().code, Code::Busy);
        drop(held);
        for one in crowd {
            assert!(!one.await.unwrap().unwrap());
        }
    }
}
