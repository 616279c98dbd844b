//! Who may call, and how often.
//!
//! Each check is a function of what a request says about itself; plain `curl http://127.0.0.1:10267/…` passes them all
//! under the default profile.
//!
//! Source: hub.md B10, E.

use std::net::IpAddr;

use http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use http::{HeaderMap, Uri};

pub(crate) use rate::Rates;
pub(crate) use tokens::Tokens;

use crate::peer::{Peer, Via};
use crate::settings::{LocalAuth, Profile};

mod rate;
mod tokens;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request is not looked at any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// It is not addressed to us.
    Host,
    /// A page of another origin made a browser send it.
    Origin,
    /// The caller may not.
    Peer,
    /// The caller has to show a token.
    Token,
    /// Too often; seconds to wait.
    Rate(u64),
}

impl Rejection {
    /// Name in metrics and in the audit log.
    pub(crate) fn check(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Origin => "origin",
            Self::Peer => "peer",
            Self::Token => "token",
            Self::Rate(_) => "rate",
        }
    }

    /// Status code, word for programs, and text. Source: hub.md B6.
    pub(crate) fn told(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::Host => (421, "BadHost", "Host not allowed"),
            Self::Origin => (403, "CrossOrigin", "Cross-origin request refused"),
            Self::Peer => (403, "Forbidden", "Caller is not allowed to change this node"),
            Self::Token => (401, "Unauthorized", "Token missing or unknown"),
            Self::Rate(_) => (429, "TooManyRequests", "Too many requests"),
        }
    }
}

/// What a request would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Ask whether we are alive.
    Health,
    /// Read.
    Read,
    /// Change something.
    Change,
}

/// How much a caller sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Everything.
    Full,
    /// Pods without annotations and values of variables.
    Redacted,
}

/// The host of an authority, without its port.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        // The brackets of an IPv6 address belong to it; what follows is a port or nonsense.
        return match rest.split_once(']') {
            Some((address, port)) if port.is_empty() || is_port(port) => address,
            _ => "",
        };
    }
    match authority.split_once(':') {
        None => authority,
        Some((host, port)) if is_port(&format!(":{port}")) => host,
        Some(_) => "",
    }
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|port| {
        !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn host_allowed(authority: &str, bound: Option<IpAddr>, allowed: &[String]) -> bool {
    let host = host_of(authority);
    if host.is_empty() {
        return false;
    }
    if host.eq_ignore_ascii_case("localhost") || allowed.iter().any(|name| name.eq_ignore_ascii_case(host)) {
        return true;
    }
    // Only as numbers are written: a name that resolves to loopback is what a rebinding page has.
    let Ok(address) = host.parse::<IpAddr>() else {
        return false;
    };
    address == IpAddr::from([127, 0, 0, 1])
        || address == IpAddr::from(std::net::Ipv6Addr::LOCALHOST)
        || bound.is_some_and(|bound| bound.to_canonical() == address && (address.is_loopback()))
}

/// Check 1: the request is addressed to us.
///
/// # Errors
/// There is not exactly one `Host`, or it or an absolute target names someone else.
pub(crate) fn check_host(
    headers: &HeaderMap,
    target: &Uri,
    bound: Option<IpAddr>,
    allowed: &[String],
) -> Result<(), Rejection> {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(Rejection::Host);
    };
    let host = host.to_str().map_err(|_| Rejection::Host)?;
    let target = target.authority().map(http::uri::Authority::as_str);
    let all = [Some(host), target];
    if all
        .into_iter()
        .flatten()
        .all(|authority| host_allowed(authority, bound, allowed))
    {
        Ok(())
    } else {
        Err(Rejection::Host)
    }
}

/// The listed web origin that a request comes from, if it comes from one.
pub(crate) fn listed_origin<'a>(headers: &HeaderMap, allowed: &'a [String]) -> Option<&'a str> {
    let origin = headers.get(ORIGIN)?.to_str().ok()?;
    allowed
        .iter()
        .map(String::as_str)
        .find(|listed| *listed == origin)
}

/// Checks 2 and 3: no page of another origin made a browser send this.
///
/// # Errors
/// The origin is there and not listed, or a browser says that the request crosses sites.
pub(crate) fn check_origin(headers: &HeaderMap, allowed: &[String]) -> Result<(), Rejection> {
    let mut origins = headers.get_all(ORIGIN).iter();
    if origins.next().is_some() {
        let listed = origins.next().is_none() && listed_origin(headers, allowed).is_some();
        return if listed { Ok(()) } else { Err(Rejection::Origin) };
    }
    let sites = headers.get_all(SEC_FETCH_SITE).iter();
    let harmless = |site: &http::HeaderValue| matches!(site.as_bytes(), b"none" | b"same-origin");
    if sites.into_iter().all(harmless) {
        Ok(())
    } else {
        Err(Rejection::Origin)
    }
}

/// What `Authorization` holds, if it is a bearer token.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Checks 4 to 6: the caller may do this.
///
/// `token` is the name of the token that was shown, if it is a known one.
///
/// # Errors
/// The profile does not let this caller do it.
pub(crate) fn check_caller(
    auth: &LocalAuth,
    access: Access,
    peer: Peer,
    token: Option<&str>,
) -> Result<Sight, Rejection> {
    let trusted = token.is_some()
        || peer.uid == Some(0)
        || peer.uid.is_some_and(|uid| auth.uids.contains(&uid))
        || peer.gid.is_some_and(|gid| auth.gids.contains(&gid));
    match (auth.profile, access) {
        (_, Access::Health) | (Profile::Compat, _) => Ok(Sight::Full),
        (Profile::Guarded, _) if trusted => Ok(Sight::Full),
        (Profile::Guarded, Access::Read) => Ok(Sight::Redacted),
        (Profile::Guarded, Access::Change) => Err(Rejection::Peer),
        (Profile::Strict, _) if token.is_some() || peer.via == Via::Unix => Ok(Sight::Full),
        (Profile::Strict, _) => Err(Rejection::Token),
    }
}

#[cfg(test)]
mod tests;
