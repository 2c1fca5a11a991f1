//! [`Integer`]: an integer of any size.

use core::cmp::Ordering;
use core::fmt;

use alloc::string::String;
use alloc::vec::Vec;

/// An integer of any size. One that does not fit 64 bits borrows its digits from a term.
#[derive(Clone, Copy)]
pub struct Integer<'a>(Repr<'a>);

#[derive(Clone, Copy)]
enum Repr<'a> {
    Small(i64),
    /// An integer outside of `i64`: the digits of its magnitude to the base 256, the least
    /// significant first, the most significant not 0.
    Big {
        is_negative: bool,
        digits: &'a [u8],
    },
}

impl<'a> Integer<'a> {
    pub(crate) const fn small(value: i64) -> Self {
        Self(Repr::Small(value))
    }

    /// Returns the integer of these digits to the base 256, the least significant first.
    pub(crate) fn of_digits(is_negative: bool, digits: &'a [u8]) -> Self {
        let length = digits.iter().rposition(|digit| *digit != 0).map_or(0, |last| last + 1);
        let digits = &digits[..length];
        if length <= 8 {
            let mut magnitude = [0; 8];
            magnitude[..length].copy_from_slice(digits);
            let magnitude = u64::from_le_bytes(magnitude);
            let value = if is_negative { 0_i64.checked_sub_unsigned(magnitude) } else { magnitude.try_into().ok() };
            if let Some(value) = value {
                return Self::small(value);
            }
        }
        Self(Repr::Big { is_negative, digits })
    }

    /// Returns the digits of an integer outside of `i64`.
    pub(crate) fn digits(&self) -> Option<&'a [u8]> {
        match self.0 {
            Repr::Small(_) => None,
            Repr::Big { digits, .. } => Some(digits),
        }
    }

    /// Returns `true` if the integer is less than zero.
    pub fn is_negative(self) -> bool {
        match self.0 {
            Repr::Small(value) => value < 0,
            Repr::Big { is_negative, .. } => is_negative,
        }
    }

    /// Returns the value, or `None` if it does not fit.
    pub fn to_i64(self) -> Option<i64> {
        match self.0 {
            Repr::Small(value) => Some(value),
            Repr::Big { .. } => None,
        }
    }

    /// Returns the value, or `None` if it does not fit.
    pub fn to_u64(self) -> Option<u64> {
        match self.0 {
            Repr::Small(value) => value.try_into().ok(),
            Repr::Big { .. } => self.to_u128()?.try_into().ok(),
        }
    }

    /// Returns the value, or `None` if it does not fit.
    pub fn to_i128(self) -> Option<i128> {
        match self.0 {
            Repr::Small(value) => Some(value.into()),
            Repr::Big { is_negative, .. } => {
                let magnitude = self.magnitude()?;
                if is_negative { 0_i128.checked_sub_unsigned(magnitude) } else { magnitude.try_into().ok() }
            }
        }
    }

    /// Returns the value, or `None` if it does not fit.
    pub fn to_u128(self) -> Option<u128> {
        if self.is_negative() { None } else { self.magnitude() }
    }

    /// Returns the nearest float, or `None` if the integer is greater than all floats.
    pub fn to_f64(self) -> Option<f64> {
        let Repr::Big { is_negative, digits } = self.0 else { return self.to_i64().map(|value| value as f64) };
        let (top, bits) = top_bits(digits);
        // A digit below the topmost 64 bits decides a tie.
        let is_inexact = digits.iter().rev().skip(9).any(|digit| *digit != 0)
            || digits.len() > 8 && digits[digits.len() - 9] << (top_shift(digits)) != 0;
        let rounded = (top | u64::from(is_inexact)) as f64;
        let value = scale(rounded, bits.checked_sub(64)?);
        value.is_finite().then_some(if is_negative { -value } else { value })
    }

    /// Returns the digits to the base 256, the least significant first, without leading zeros.
    pub fn to_digits(self) -> Vec<u8> {
        match self.0 {
            Repr::Small(value) => {
                let bytes = value.unsigned_abs().to_le_bytes();
                let length = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                bytes[..length].into()
            }
            Repr::Big { digits, .. } => digits.into(),
        }
    }

    fn magnitude(self) -> Option<u128> {
        match self.0 {
            Repr::Small(value) => Some(value.unsigned_abs().into()),
            Repr::Big { digits, .. } => {
                let mut all = [0; 16];
                all.get_mut(..digits.len())?.copy_from_slice(digits);
                Some(u128::from_le_bytes(all))
            }
        }
    }

    /// Compares with a float by value; [`Ordering::Equal`] for `1` and `1.0`.
    pub(crate) fn compare_to_float(self, float: f64) -> Ordering {
        match self.0 {
            Repr::Small(value) => compare_i64_to_float(value, float),
            Repr::Big { is_negative, digits } => {
                let outside = if is_negative { float >= 0.0 } else { float <= 0.0 };
                let magnitude = if outside { Ordering::Greater } else { compare_digits_to_float(digits, float.abs()) };
                if is_negative { magnitude.reverse() } else { magnitude }
            }
        }
    }
}

impl PartialEq for Integer<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Integer<'_> {}

impl PartialOrd for Integer<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Integer<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.0, other.0) {
            (Repr::Small(left), Repr::Small(right)) => left.cmp(&right),
            (Repr::Small(_), Repr::Big { is_negative, .. }) => by_sign(is_negative).reverse(),
            (Repr::Big { is_negative, .. }, Repr::Small(_)) => by_sign(is_negative),
            (Repr::Big { is_negative, digits: left }, Repr::Big { is_negative: other, digits: right }) => {
                if is_negative != other {
                    return by_sign(is_negative);
                }
                let magnitude = left.len().cmp(&right.len()).then_with(|| left.iter().rev().cmp(right.iter().rev()));
                if is_negative { magnitude.reverse() } else { magnitude }
            }
        }
    }
}

/// Returns how an integer outside of `i64` compares with one inside.
fn by_sign(is_negative: bool) -> Ordering {
    if is_negative { Ordering::Less } else { Ordering::Greater }
}

fn compare_i64_to_float(value: i64, float: f64) -> Ordering {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0; // 2^63
    if float >= LIMIT {
        return Ordering::Less;
    }
    if float < -LIMIT {
        return Ordering::Greater;
    }
    // The float is in the range of `i64`, and the conversion cuts off its fraction.
    let whole = float as i64;
    let fraction = float - whole as f64;
    value.cmp(&whole).then(if fraction > 0.0 {
        Ordering::Less
    } else if fraction < 0.0 {
        Ordering::Greater
    } else {
        Ordering::Equal
    })
}

/// Compares a magnitude of at least 2^63 with a positive float.
fn compare_digits_to_float(digits: &[u8], float: f64) -> Ordering {
    let bits = float.to_bits();
    let exponent = (bits >> 52) as i64 - 1023;
    if exponent < 63 {
        return Ordering::Greater;
    }
    // The float is a whole number of `exponent + 1` bits, of which the topmost 53 are in
    // `fraction`.
    let (top, length) = top_bits(digits);
    let fraction = (bits << 11) | 1 << 63;
    let rest = digits.len().saturating_sub(9);
    (length as i64).cmp(&(exponent + 1)).then(top.cmp(&fraction)).then_with(|| {
        let below = digits.len() > 8 && digits[digits.len() - 9] << top_shift(digits) != 0;
        if below || digits[..rest].iter().any(|digit| *digit != 0) { Ordering::Greater } else { Ordering::Equal }
    })
}

/// Returns the number of zero bits above the topmost bit.
fn top_shift(digits: &[u8]) -> u32 {
    digits.last().map_or(0, |digit| digit.leading_zeros())
}

/// Returns the topmost 64 bits, the first of which is 1, and the length in bits.
fn top_bits(digits: &[u8]) -> (u64, u64) {
    let mut top = [0; 16];
    let taken = digits.len().min(9);
    for (to, digit) in top.iter_mut().zip(digits.iter().rev().take(taken)) {
        *to = *digit;
    }
    let shift = top_shift(digits);
    let top = (u128::from_be_bytes(top) << shift >> 64) as u64;
    (top, digits.len() as u64 * 8 - u64::from(shift))
}

/// Returns `value * 2^exponent`. An exponent that no finite float has gives infinity.
fn scale(value: f64, exponent: u64) -> f64 {
    let exponent = exponent.min(1100) as i64;
    // 2^1023 is the greatest power that is a float.
    let power = |exponent: i64| f64::from_bits(((exponent + 1023) as u64) << 52);
    let first = exponent.min(1023);
    value * power(first) * power(exponent - first)
}

impl fmt::Debug for Integer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Longer integers are printed to the base 16, since the time for decimal digits is quadratic.
const MAX_DECIMAL: usize = 512;

impl fmt::Display for Integer<'_> {
    /// Writes the integer in decimal; one of more than 512 bytes as Erlang's `16#...`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        match self.0 {
            Repr::Small(value) => fmt::Display::fmt(&value, f),
            Repr::Big { is_negative, digits } => {
                let mut text = String::new();
                if digits.len() > MAX_DECIMAL {
                    text.push_str("16#");
                    for (at, digit) in digits.iter().rev().enumerate() {
                        if at == 0 { write!(text, "{digit:X}")? } else { write!(text, "{digit:02X}")? }
                    }
                } else {
                    text = decimal(digits);
                }
                f.pad_integral(!is_negative, "", &text)
            }
        }
    }
}

fn decimal(digits: &[u8]) -> String {
    use fmt::Write as _;
    /// The greatest power of ten in a limb, so that a limb and a remainder fit `u64`.
    const GROUP: u64 = 1_000_000_000;
    let mut limbs: Vec<u32> = digits
        .chunks(4)
        .map(|chunk| {
            let mut limb = [0; 4];
            limb[..chunk.len()].copy_from_slice(chunk);
            u32::from_le_bytes(limb)
        })
        .collect();
    let mut groups = Vec::new();
    while limbs.iter().any(|limb| *limb != 0) {
        let mut remainder = 0;
        for limb in limbs.iter_mut().rev() {
            let value = remainder << 32 | u64::from(*limb);
            *limb = (value / GROUP) as u32;
            remainder = value % GROUP;
        }
        groups.push(remainder);
    }
    let mut text = String::new();
    for (at, group) in groups.iter().rev().enumerate() {
        // Writing to a string does not fail.
        let _ = if at == 0 { write!(text, "{group}") } else { write!(text, "{group:09}") };
    }
    text
}
