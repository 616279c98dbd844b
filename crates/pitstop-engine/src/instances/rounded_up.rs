//! Percentages that are rounded up to every pod. Source: cloneset.md 1.4, 18.27; statefulset.md 15.2.

use pitstop_api::{Amount, reasons};

use crate::plan::Event;

/// What is said where a partition of less than all is rounded up and keeps the only pod, which is outdated. `keeps`: what the
/// partition comes to; `target`: the revision that the pod is kept from.
pub(crate) fn keeps_the_only_pod(
    partition: Option<&Amount>,
    (replicas, keeps): (u32, u32),
    target: &str,
) -> Option<Event> {
    let Some(Amount::Percent(written)) = partition else {
        return None;
    };
    if written.is_all() || (replicas, keeps) != (1, 1) {
        return None;
    }
    Some(Event {
        is_warning: true,
        reason: reasons::PARTITION_KEEPS_ALL,
        message: format!(
            "partition {written} is rounded up and keeps the only pod at the current revision; set it to 0 to update"
        )
        .into(),
        once_per: Some(format!("{target}/{written}")),
    })
}
