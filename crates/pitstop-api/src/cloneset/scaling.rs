//! How the amounts of a CloneSet become numbers of pods. Source: cloneset.md 1.4.
//!
//! Percentages may have decimals in all of them, at admission and in decisions alike (cloneset.md 18.11).

pub use crate::amount::partition;
use crate::amount::{Amount, MalformedAmount};

/// `maxUnavailable` where none is written. Units: per cent.
const DEFAULT_MAX_UNAVAILABLE: u32 = 20;

/// How many pods may be there on top of the replicas: 0 while the rollout is paused. Rounded up.
///
/// Units: pods. Source: cloneset.md 1.4.
///
/// # Errors
/// It is neither a number nor a percentage.
pub fn max_surge(max_surge: Option<&Amount>, replicas: u32, is_paused: bool) -> Result<u32, MalformedAmount> {
    let scaled = max_surge.map_or(Ok(0), |written| written.scaled_up(replicas))?;
    Ok(if is_paused { 0 } else { scaled })
}

/// How many pods a rolling update may make unavailable: rounded up without surge, down with it; 20 % where none is
/// written. `surge` is what [`max_surge`] gave.
///
/// Units: pods. Range: 0..; not raised to 1. Source: cloneset.md 1.4.
///
/// # Errors
/// It is neither a number nor a percentage.
pub fn max_unavailable(
    max_unavailable: Option<&Amount>,
    replicas: u32,
    surge: u32,
) -> Result<u32, MalformedAmount> {
    let default = Amount::percent(DEFAULT_MAX_UNAVAILABLE);
    let written = max_unavailable.unwrap_or(&default);
    if surge == 0 {
        written.scaled_up(replicas)
    } else {
        written.scaled_down(replicas)
    }
}

/// How many pods may be unavailable where there is no `rollingUpdate`: 20 % rounded down, but 1 at least where there
/// are replicas.
///
/// Units: pods. Source: cloneset.md 1.4, 18.7. Differs from upstream: with less than five replicas upstream allows
/// none, and then never replaces a ready pod that is to be deleted.
pub fn max_unavailable_on_delete(replicas: u32) -> u32 {
    (replicas / 5).max(1).min(replicas)
}

/// How many pods may be unavailable while pods are added; `None`: any number. Rounded up.
///
/// Units: pods. Source: cloneset.md 1.4.
///
/// # Errors
/// It is neither a number nor a percentage.
pub fn scale_max_unavailable(
    max_unavailable: Option<&Amount>,
    replicas: u32,
) -> Result<Option<u32>, MalformedAmount> {
    max_unavailable
        .map(|written| written.scaled_up(replicas))
        .transpose()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn partitions_of_the_table() {
        // cloneset.md 1.4, the partition table.
        let rows: [(Value, &[(u32, u32)]); 8] = [
            (json!("0%"), &[(0, 0), (1, 0), (100, 0)]),
            (json!("1%"), &[(1, 1), (2, 1), (100, 1)]),
            (json!("50%"), &[(1, 1), (2, 1), (3, 2), (5, 3), (10, 5)]),
            (
                json!("99%"),
                &[(1, 1), (2, 1), (3, 2), (5, 4), (10, 9), (100, 99)],
            ),
            (json!("99.9%"), &[(100, 99)]),
            (json!("100%"), &[(0, 0), (1, 1), (2, 2), (100, 100)]),
            (json!(3), &[(1, 1), (2, 2), (5, 3)]),
            (json!(200), &[(0, 0), (1, 1), (100, 100)]),
        ];
        for (written, cases) in rows {
            for (replicas, want) in cases {
                let got = partition(Some(&Amount::of(&written)), *replicas);
                assert_eq!(got, Ok(*want), "{written} of {replicas}");
            }
        }
        assert_eq!(partition(None, 5), Ok(0));
        assert!(partition(Some(&Amount::of(&json!("5"))), 5).is_err());
    }

    #[test]
    fn unavailable_pods_round_up_without_surge_and_down_with_it() {
        // cloneset.md 1.4 and 17 rows D31, D33, E9, E10.
        for (unavailable, surge, replicas, paused, want) in [
            (json!("20%"), json!(0), 4, false, (1, 0)),
            (json!("20%"), json!(1), 4, false, (0, 1)),
            (json!("40%"), json!("30%"), 5, false, (2, 2)),
            (json!("30%"), json!("30%"), 5, false, (1, 2)),
            (json!("30%"), json!("30%"), 5, true, (2, 0)),
            (json!("12.5%"), json!(0), 8, false, (1, 0)),
            (json!(0), json!(3), 5, true, (0, 0)),
        ] {
            let surge = max_surge(Some(&Amount::of(&surge)), replicas, paused).unwrap();
            let got = max_unavailable(Some(&Amount::of(&unavailable)), replicas, surge).unwrap();
            assert_eq!((got, surge), want, "{unavailable} of {replicas}");
        }
        assert_eq!(max_unavailable(None, 6, 0), Ok(2));
        assert_eq!(max_unavailable(None, 6, 1), Ok(1));
        assert_eq!(max_surge(None, 6, false), Ok(0));
    }

    #[test]
    fn without_rolling_update_one_pod_may_always_go() {
        // cloneset.md 17 rows E1, E2; 18.7.
        for (replicas, want) in [(0, 0), (1, 1), (4, 1), (5, 1), (9, 1), (10, 2)] {
            assert_eq!(max_unavailable_on_delete(replicas), want, "{replicas}");
        }
    }

    #[test]
    fn adding_pods_is_limited_only_where_it_is_asked_for() {
        assert_eq!(scale_max_unavailable(None, 5), Ok(None));
        assert_eq!(scale_max_unavailable(Some(&Amount::percent(50)), 5), Ok(Some(3)));
        assert!(scale_max_unavailable(Some(&Amount::of(&json!("abc"))), 5).is_err());
    }

    proptest! {
        #[test]
        fn a_part_of_several_pods_lets_one_go(percent in 0_u32..100, replicas in 2_u32..10_000) {
            let kept = partition(Some(&Amount::percent(percent)), replicas).unwrap();
            prop_assert!(kept < replicas);
        }
    }
}
