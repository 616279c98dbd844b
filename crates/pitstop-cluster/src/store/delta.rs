//! The difference between two texts that have most in common, as old versions of an object are kept.
//!
//! A difference is a row of steps: a number whose lowest bit says what the others count, then what it needs. Even: so
//! many bytes that follow. Odd: so many bytes of the base, from the offset that follows. Numbers are of variable length,
//! seven bits a byte, the lowest first.

/// Length of the pieces that are looked for. Shorter ones save little, longer ones are found less often. Units: bytes.
const PIECE: usize = 16;

/// What makes `target` of `base`.
pub(super) fn difference(base: &[u8], target: &[u8]) -> Vec<u8> {
    let pieces = Pieces::of(base);
    let mut steps = Vec::with_capacity(512);
    let (mut told, mut at) = (0, 0);
    while let Some(piece) = piece_at(target, at) {
        let Some(found) = pieces.find(base, piece) else {
            at += 1;
            continue;
        };
        let back = common_end(base.get(..found), target.get(told..at));
        let (from, start) = (found - back, at - back);
        let length = common_start(base.get(from..), target.get(start..));
        push_literal(&mut steps, target.get(told..start));
        push_number(&mut steps, length << 1 | 1);
        push_number(&mut steps, from);
        at = start + length;
        told = at;
    }
    push_literal(&mut steps, target.get(told..));
    steps
}

/// The text that a difference from `base` stands for; `None` if it is not one from there.
pub(super) fn restored(base: &[u8], steps: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(length);
    let mut rest = steps;
    while !rest.is_empty() {
        let (step, after) = number(rest)?;
        let length = step >> 1;
        if step & 1 == 1 {
            let (from, after) = number(after)?;
            text.extend_from_slice(base.get(from..from.checked_add(length)?)?);
            rest = after;
        } else {
            let (literal, after) = after.split_at_checked(length)?;
            text.extend_from_slice(literal);
            rest = after;
        }
    }
    Some(text)
}

/// Where the pieces of a text are, every one that begins at a multiple of their length.
struct Pieces {
    /// One more than the place, by hash; a later one displaces an earlier one. Zero: none.
    places: Vec<u32>,
    bits: u32,
}

impl Pieces {
    fn of(base: &[u8]) -> Self {
        let bits = (base.len() / PIECE * 2)
            .next_power_of_two()
            .trailing_zeros()
            .max(4);
        let mut pieces = Self {
            places: vec![0; 1 << bits],
            bits,
        };
        for (index, piece) in base.chunks_exact(PIECE).enumerate() {
            let place = u32::try_from(index * PIECE + 1).unwrap_or(0);
            if let Some(entry) = <&[u8; PIECE]>::try_from(piece)
                .ok()
                .and_then(|piece| pieces.places.get_mut(slot(piece, bits)))
            {
                *entry = place;
            }
        }
        pieces
    }

    fn find(&self, base: &[u8], piece: &[u8; PIECE]) -> Option<usize> {
        let place = self.places.get(slot(piece, self.bits)).copied()?;
        let found = usize::try_from(place).ok()?.checked_sub(1)?;
        (piece_at(base, found)? == piece).then_some(found)
    }
}

fn piece_at(text: &[u8], at: usize) -> Option<&[u8; PIECE]> {
    text.get(at..)?.first_chunk()
}

/// The highest bits of a product: multiplication brings something of every byte there.
fn slot(piece: &[u8; PIECE], bits: u32) -> usize {
    let number = u128::from_le_bytes(*piece);
    let folded = number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    usize::try_from(folded >> (u128::BITS - bits)).unwrap_or(0)
}

fn common_start(a: Option<&[u8]>, b: Option<&[u8]>) -> usize {
    let pairs = a.unwrap_or_default().iter().zip(b.unwrap_or_default());
    pairs.take_while(|(a, b)| a == b).count()
}

fn common_end(a: Option<&[u8]>, b: Option<&[u8]>) -> usize {
    let pairs = a
        .unwrap_or_default()
        .iter()
        .rev()
        .zip(b.unwrap_or_default().iter().rev());
    pairs.take_while(|(a, b)| a == b).count()
}

fn push_literal(steps: &mut Vec<u8>, literal: Option<&[u8]>) {
    let literal = literal.unwrap_or_default();
    if !literal.is_empty() {
        push_number(steps, literal.len() << 1);
        steps.extend_from_slice(literal);
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the lowest bits are what is wanted"
)]
fn push_number(steps: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        steps.push(number as u8 | 0x80);
        number >>= 7;
    }
    steps.push(number as u8);
}

fn number(steps: &[u8]) -> Option<(usize, &[u8])> {
    let (mut number, mut shift, mut rest) = (0_usize, 0_u32, steps);
    loop {
        let (byte, after) = rest.split_first()?;
        number |= usize::from(byte & 0x7f).checked_shl(shift)?;
        rest = after;
        if byte & 0x80 == 0 {
            return Some((number, rest));
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_two_versions_have_in_common_is_not_kept_twice() {
        let old = include_str!("object.rs");
        let new = old.replacen("One stored object", "The one object that was stored here", 1);
        let new = new.replacen("Labels.", "", 1) + "more at the end";
        let steps = difference(new.as_bytes(), old.as_bytes());
        assert!(steps.len() < 120, "{} bytes", steps.len());
        assert_eq!(
            restored(new.as_bytes(), &steps, old.len()).as_deref(),
            Some(old.as_bytes())
        );
    }

    #[test]
    fn steps_that_fit_no_base_restore_nothing() {
        let steps = difference(&[7; 100], &[7; 50]);
        assert_eq!(restored(&[7; 100], &steps, 50), Some(vec![7; 50]));
        assert_eq!(restored(&[7; 10], &steps, 50), None);
        assert_eq!(restored(&[], &[0xff], 0), None);
    }

    proptest! {
        #[test]
        fn every_difference_restores_its_text(
            words in prop::collection::vec("[a-c]{0,40}", 0..20),
            kept in prop::collection::vec(any::<bool>(), 20),
            more in "[a-d]{0,60}",
        ) {
            let base = words.concat();
            let target: String = words.iter().zip(kept).filter(|(_, kept)| *kept).map(|(w, _)| w.as_str()).collect();
            let target = target + &more;
            let steps = difference(base.as_bytes(), target.as_bytes());
            prop_assert_eq!(restored(base.as_bytes(), &steps, target.len()), Some(target.into_bytes()));
        }
    }
}
