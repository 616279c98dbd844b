//! The sequences.

use crate::sequence::Sequence;

mod below;
mod kinds;
mod lists;
mod reads;
mod removals;
mod writes;

/// All of them. Names are distinct.
pub(crate) fn all() -> Vec<Sequence> {
    [
        writes::all(),
        removals::all(),
        lists::all(),
        reads::all(),
        kinds::all(),
        below::all(),
    ]
    .concat()
}
