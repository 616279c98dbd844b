//! The certificate that the webhooks are served with, and the authority behind it.
//!
//! Everything here is a function of its input. A third of its life before it ends, a certificate is made anew; an
//! authority that is replaced stays trusted until it ends, so that whoever still serves with its certificate is believed.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// How long an authority is valid.
const AUTHORITY_LIVES: SignedDuration = SignedDuration::from_hours(24 * 3650);
/// How long a certificate is valid.
const CERTIFICATE_LIVES: SignedDuration = SignedDuration::from_hours(24 * 365);
/// Clocks of API servers may be behind ours by as much.
const SKEW: SignedDuration = SignedDuration::from_hours(24);

/// Authority and certificate, as they are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    /// Authorities that are trusted, as PEM, the newest first.
    pub(super) authorities: String,
    /// Key of the newest authority, as PEM.
    pub(super) authority_key: String,
    /// When the newest authority ends.
    pub(super) authority_ends: Timestamp,
    /// When the one before it ends, while it is still trusted.
    pub(super) former_ends: Option<Timestamp>,
    /// Certificate, as PEM.
    pub(super) certificate: String,
    /// Its key, as PEM.
    pub(super) key: String,
    /// When it ends.
    pub(super) ends: Timestamp,
    /// Whom it stands for: host names and addresses.
    pub(super) names: Vec<String>,
}

impl Credentials {
    /// What is to be kept from now on: `None` when it is what is kept already.
    pub(super) fn renewed(
        kept: Option<&Self>,
        names: &[String],
        now: Timestamp,
    ) -> Result<Option<Self>, rcgen::Error> {
        let is_fresh = |ends: Timestamp, lives: SignedDuration| ends.duration_since(now) > lives / 3;
        let kept = kept.filter(|kept| kept.authority_ends > now);
        let mut next = match kept {
            Some(kept) if is_fresh(kept.authority_ends, AUTHORITY_LIVES) => kept.clone(),
            former => Self::with_new_authority(former, now)?,
        };
        let is_gone = next.former_ends.is_some_and(|ends| ends <= now);
        if is_gone {
            next.former_ends = None;
            let newest = first_certificate(&next.authorities).len();
            next.authorities.truncate(newest);
        }
        let is_same_authority = kept.is_some_and(|kept| kept.authority_key == next.authority_key);
        if !is_same_authority || !is_fresh(next.ends, CERTIFICATE_LIVES) || next.names != names {
            next.issue(names, now)?;
        }
        Ok((kept != Some(&next)).then_some(next))
    }

    fn with_new_authority(former: Option<&Self>, now: Timestamp) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let ends = later(now, AUTHORITY_LIVES);
        let mut authorities = authority_params(now, ends)?.self_signed(&key)?.pem();
        if let Some(former) = former {
            authorities.push_str(first_certificate(&former.authorities));
        }
        Ok(Self {
            authorities,
            authority_key: key.serialize_pem(),
            authority_ends: ends,
            former_ends: former.map(|former| former.authority_ends),
            certificate: String::new(),
            key: String::new(),
            ends: now,
            names: Vec::new(),
        })
    }

    /// Makes a certificate for these names.
    fn issue(&mut self, names: &[String], now: Timestamp) -> Result<(), rcgen::Error> {
        let ends = later(now, CERTIFICATE_LIVES).min(self.authority_ends);
        let authority = authority_params(now, self.authority_ends)?;
        let issuer = Issuer::new(authority, KeyPair::from_pem(&self.authority_key)?);
        let mut params = CertificateParams::new(names)?;
        params
            .distinguished_name
            .push(DnType::CommonName, "pitstop-webhook");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, ends);
        let key = KeyPair::generate()?;
        self.certificate = params.signed_by(&key, &issuer)?.pem();
        self.key = key.serialize_pem();
        self.ends = ends;
        self.names = names.to_vec();
        Ok(())
    }
}

/// The same name each time: a certificate names its issuer by it.
fn authority_params(now: Timestamp, ends: Timestamp) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params
        .distinguished_name
        .push(DnType::CommonName, "pitstop-webhook-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    set_validity(&mut params, now, ends);
    Ok(params)
}

/// From the day before to the day on which it ends: certificates of this library begin and end with days.
fn set_validity(params: &mut CertificateParams, now: Timestamp, ends: Timestamp) {
    let day = |at: Timestamp| {
        let date = at.to_zoned(TimeZone::UTC).date();
        let number = |number: i8| u8::try_from(number).unwrap_or(1);
        date_time_ymd(i32::from(date.year()), number(date.month()), number(date.day()))
    };
    params.not_before = day(now.checked_sub(SKEW).unwrap_or(now));
    params.not_after = day(ends);
}

/// The beginning of the day that is so much later, so that what is kept says when the certificate really ends.
fn later(now: Timestamp, lives: SignedDuration) -> Timestamp {
    let ends = now.checked_add(lives).unwrap_or(Timestamp::MAX);
    let start = ends.to_zoned(TimeZone::UTC).start_of_day();
    start.map_or(ends, |start| start.timestamp())
}

/// The first of several certificates in PEM.
fn first_certificate(pem: &str) -> &str {
    const END: &str = "-----END CERTIFICATE-----\n";
    let end = pem.find(END).map_or(pem.len(), |at| at + END.len());
    pem.get(..end).unwrap_or(pem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn names(host: &str) -> Vec<String> {
        vec![host.to_owned()]
    }

    fn renewed(kept: Option<&Credentials>, host: &str, now: &str) -> Option<Credentials> {
        Credentials::renewed(kept, &names(host), at(now)).unwrap()
    }

    fn n_authorities(credentials: &Credentials) -> usize {
        credentials.authorities.matches("BEGIN CERTIFICATE").count()
    }

    #[test]
    fn a_certificate_is_made_anew_a_third_of_its_life_ahead() {
        let first = renewed(None, "a.svc", "2026-01-01T12:00:00Z").unwrap();
        assert_eq!(
            (first.ends, n_authorities(&first)),
            (at("2027-01-01T00:00:00Z"), 1)
        );
        assert_eq!(renewed(Some(&first), "a.svc", "2026-08-30T00:00:00Z"), None);
        let second = renewed(Some(&first), "a.svc", "2026-09-02T00:00:00Z").unwrap();
        assert_eq!(
            (&second.authorities, &second.authority_key),
            (&first.authorities, &first.authority_key)
        );
        assert_ne!(second.certificate, first.certificate);
        assert_eq!(second.ends, at("2027-09-02T00:00:00Z"));
    }

    #[test]
    fn other_names_need_another_certificate() {
        let first = renewed(None, "a.svc", "2026-01-01T00:00:00Z").unwrap();
        let second = renewed(Some(&first), "b.svc", "2026-01-01T00:00:00Z").unwrap();
        assert_eq!(
            (&second.names, &second.authorities),
            (&names("b.svc"), &first.authorities)
        );
        assert_ne!(second.certificate, first.certificate);
    }

    #[test]
    fn an_authority_that_is_replaced_stays_trusted_until_it_ends() {
        let first = renewed(None, "a.svc", "2026-01-01T00:00:00Z").unwrap();
        assert_eq!(first.authority_ends, at("2035-12-30T00:00:00Z"));
        let second = renewed(Some(&first), "a.svc", "2033-01-01T00:00:00Z").unwrap();
        assert_eq!(
            (n_authorities(&second), second.former_ends),
            (2, Some(first.authority_ends))
        );
        assert!(second.authorities.ends_with(&first.authorities));
        assert_ne!(second.authority_key, first.authority_key);
        let third = renewed(Some(&second), "a.svc", "2036-01-01T00:00:00Z").unwrap();
        assert_eq!((n_authorities(&third), third.former_ends), (1, None));
        assert_eq!(third.authority_key, second.authority_key);
        // One that has ended is no longer trusted.
        let late = renewed(Some(&first), "a.svc", "2040-01-01T00:00:00Z").unwrap();
        assert_eq!((n_authorities(&late), late.former_ends), (1, None));
    }
}
