use super::*;

fn mk_headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, value.parse().unwrap());
    }
    headers
}

// hub.md B10, row Host; D44; E "DNS rebinding page".
#[test]
fn only_names_of_loopback_are_answered() {
    let bound = Some("127.0.1.7".parse().unwrap());
    let cases: &[(&[&str], &str, bool)] = &[
        (&["127.0.0.1:10267"], "/pods", true),
        (&["127.0.0.1"], "/pods", true),
        (&["127.0.1.7:10267"], "/pods", true),
        (&["127.0.1.8:10267"], "/pods", false),
        (&["localhost"], "/pods", true),
        (&["LOCALHOST:80"], "/pods", true),
        (&["[::1]:10267"], "/pods", true),
        (&["[::1]"], "/pods", true),
        (&["[::1"], "/pods", false),
        (&["[::1]x"], "/pods", false),
        (&["hub.example:10267"], "/pods", true),
        (&["evil.example"], "/pods", false),
        (&["127.0.0.1.evil.example"], "/pods", false),
        (&["localhost.evil.example"], "/pods", false),
        (&["localhost:80:80"], "/pods", false),
        (&["localhost:"], "/pods", false),
        (&["user@localhost"], "/pods", false),
        (&["2130706433"], "/pods", false),
        (&["0.0.0.0"], "/pods", false),
        (&[""], "/pods", false),
        (&[], "/pods", false),
        (&["localhost", "localhost"], "/pods", false),
        (&["localhost"], "http://localhost/pods", true),
        (&["localhost"], "http://evil.example/pods", false),
        (&["evil.example"], "http://localhost/pods", false),
    ];
    for (hosts, target, allowed) in cases {
        let pairs: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        let checked = check_host(
            &mk_headers(&pairs),
            &target.parse().unwrap(),
            bound,
            &["hub.example".to_owned()],
        );
        assert_eq!(checked.is_ok(), *allowed, "{hosts:?} {target}");
    }
}

// hub.md B10, rows Origin and Fetch metadata; D45; E "web page in a kiosk".
#[test]
fn pages_of_other_origins_are_refused() {
    let listed = ["http://ui.example".to_owned()];
    let cases: &[(&[(&str, &str)], bool)] = &[
        (&[], true),
        (&[("origin", "http://evil.example")], false),
        (&[("origin", "null")], false),
        (&[("origin", "http://127.0.0.1:10267")], false),
        (&[("origin", "http://ui.example")], true),
        (
            &[("origin", "http://ui.example"), ("sec-fetch-site", "cross-site")],
            true,
        ),
        (
            &[("origin", "http://ui.example"), ("origin", "http://evil.example")],
            false,
        ),
        (&[("sec-fetch-site", "none")], true),
        (&[("sec-fetch-site", "same-origin")], true),
        (&[("sec-fetch-site", "same-site")], false),
        (&[("sec-fetch-site", "cross-site")], false),
        (
            &[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")],
            false,
        ),
    ];
    for (pairs, allowed) in cases {
        assert_eq!(
            check_origin(&mk_headers(pairs), &listed).is_ok(),
            *allowed,
            "{pairs:?}"
        );
    }
}

// hub.md B10, profiles; D46 to D48.
#[test]
fn profiles_decide_who_reads_and_who_changes() {
    use Access::{Change, Health, Read};
    use Profile::{Compat, Guarded, Strict};
    let tcp = |uid| Peer {
        uid,
        ..Peer::default()
    };
    let unix = Peer {
        uid: Some(1000),
        gid: Some(77),
        pid: Some(1),
        via: Via::Unix,
    };
    let cases = [
        (Compat, Change, tcp(None), None, Ok(Sight::Full)),
        (Compat, Read, tcp(Some(1000)), None, Ok(Sight::Full)),
        (Guarded, Read, tcp(Some(1000)), None, Ok(Sight::Redacted)),
        (Guarded, Read, tcp(None), None, Ok(Sight::Redacted)),
        (Guarded, Change, tcp(Some(1000)), None, Err(Rejection::Peer)),
        (Guarded, Change, tcp(None), None, Err(Rejection::Peer)),
        (Guarded, Change, tcp(Some(0)), None, Ok(Sight::Full)),
        (Guarded, Change, tcp(Some(2000)), None, Ok(Sight::Full)),
        (Guarded, Change, tcp(Some(1000)), Some("ui"), Ok(Sight::Full)),
        (Guarded, Change, unix, None, Ok(Sight::Full)),
        (Strict, Health, tcp(None), None, Ok(Sight::Full)),
        (Strict, Read, tcp(Some(0)), None, Err(Rejection::Token)),
        (Strict, Change, tcp(Some(0)), None, Err(Rejection::Token)),
        (Strict, Change, tcp(Some(1000)), Some("ui"), Ok(Sight::Full)),
        (Strict, Change, unix, None, Ok(Sight::Full)),
    ];
    for (profile, access, peer, token, expected) in cases {
        let auth = LocalAuth {
            profile,
            uids: vec![2000],
            gids: vec![77],
        };
        assert_eq!(
            check_caller(&auth, access, peer, token),
            expected,
            "{profile:?} {access:?} {peer:?} {token:?}"
        );
    }
}

#[test]
fn a_bearer_token_is_what_follows_the_scheme() {
    assert_eq!(
        bearer(&mk_headers(&[("authorization", "Bearer abc")])),
        Some("abc")
    );
    assert_eq!(
        bearer(&mk_headers(&[("authorization", "bearer  abc ")])),
        Some("abc")
    );
    assert_eq!(bearer(&mk_headers(&[("authorization", "Basic abc")])), None);
    assert_eq!(bearer(&mk_headers(&[])), None);
}
