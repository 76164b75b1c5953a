//! Quantities with their units: CPU shares and megabytes. Kept as integers, so that what is reserved and given back
//! adds up to exactly zero.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul};

use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::Invalid;

/// A share of CPU time in thousandths of one CPU. On the wire a number of CPUs: `0.1`, `2`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Cpus(u64);

impl Cpus {
    /// No CPU at all.
    pub const ZERO: Self = Self(0);
    /// What is reserved for a container that does not say: 0.1 CPU.
    pub const DEFAULT_RESERVATION: Self = Self(100);
    /// The most that anything may ask for or have: 10,000 CPUs.
    pub const MAX: Self = Self(10_000_000);

    /// `milli` thousandths of a CPU.
    pub const fn from_milli(milli: u64) -> Self {
        Self(milli)
    }

    /// The share in thousandths of a CPU.
    pub const fn milli(self) -> u64 {
        self.0
    }

    /// The share in billionths of a CPU, as Docker counts (`NanoCpus`).
    pub const fn nano(self) -> i64 {
        self.0 as i64 * 1_000_000
    }

    /// From billionths of a CPU, rounded up: a container is never counted with less than it has. At most [`Cpus::MAX`].
    pub const fn from_nano_ceil(nano: u64) -> Self {
        let milli = nano.div_ceil(1_000_000);
        if milli > Self::MAX.0 { Self::MAX } else { Self(milli) }
    }

    /// The share as a number of CPUs.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// `self - other`, or zero where that would be less than nothing.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

/// Reads a share of CPU that was summed up or measured. What nobody may ask for is no reason not to read the rest: a cluster may have
/// more than [`Cpus::MAX`] in all.
pub(super) fn any_cpus<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Cpus, D::Error> {
    // What is no number of CPUs becomes the nearest that is one.
    Ok(Cpus((f64::deserialize(from)? * 1000.0).round() as u64))
}

impl TryFrom<f64> for Cpus {
    type Error = Invalid;

    /// # Errors
    /// Refuses what is not a number from 0 to 10,000, and what is more than 0 but less than 0.001.
    fn try_from(cpus: f64) -> Result<Self, Invalid> {
        let milli = (cpus * 1000.0).round();
        if !(0.0..=Self::MAX.0 as f64).contains(&milli) || (milli == 0.0 && cpus != 0.0) {
            // A container's least, which is the larger one: nobody is told of a value that is refused later.
            return Err(Invalid::new("cpus", format!("must be a number of CPUs from 0.01 to 10000, not {cpus}")));
        }
        Ok(Self(milli as u64))
    }
}

impl From<Cpus> for f64 {
    fn from(cpus: Cpus) -> f64 {
        cpus.as_f64()
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_f64(), f)
    }
}

/// An amount of memory in megabytes of 1,048,576 bytes, as Docker's `-m 100m` counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct MemoryMb(u64);

impl<'de> Deserialize<'de> for MemoryMb {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(Megabytes)
    }
}

/// Says what is expected to those who write `512m`, as for Docker.
struct Megabytes;

impl Visitor<'_> for Megabytes {
    type Value = MemoryMb;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number of megabytes, such as 256")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<MemoryMb, E> {
        Ok(MemoryMb(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<MemoryMb, E> {
        u64::try_from(number).map(MemoryMb).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }
}

impl MemoryMb {
    /// No memory at all.
    pub const ZERO: Self = Self(0);
    /// What a container gets when it does not say: 256 MB.
    pub const DEFAULT_RESERVATION: Self = Self(256);
    /// The least Docker gives a container: 6 MB.
    pub const MIN_CONTAINER: Self = Self(6);
    /// The most that anything may ask for or have: 1 PB.
    pub const MAX: Self = Self(1 << 30);

    const BYTES: u64 = 1 << 20;

    /// `mb` megabytes.
    pub const fn new(mb: u64) -> Self {
        Self(mb)
    }

    /// The amount in megabytes.
    pub const fn mb(self) -> u64 {
        self.0
    }

    /// The amount in bytes; never more than fits Docker's signed 64 bits.
    pub const fn bytes(self) -> i64 {
        let mb = if self.0 > Self::MAX.0 { Self::MAX.0 } else { self.0 };
        (mb * Self::BYTES) as i64
    }

    /// Bytes rounded up: a container is never counted with less than it has.
    pub const fn from_bytes_ceil(bytes: u64) -> Self {
        Self(bytes.div_ceil(Self::BYTES))
    }

    /// Bytes rounded down: a host is never counted with more than it has.
    pub const fn from_bytes_floor(bytes: u64) -> Self {
        Self(bytes / Self::BYTES)
    }

    /// `self - other`, or zero where that would be less than nothing.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for MemoryMb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// CPU and memory together: what is reserved for a container, or what a host has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Resources {
    /// Share of CPU.
    pub cpus: Cpus,
    /// Memory, MB.
    pub memory: MemoryMb,
}

impl Resources {
    /// Nothing.
    pub const ZERO: Self = Self { cpus: Cpus::ZERO, memory: MemoryMb::ZERO };

    /// What is left of `self` after `used`; each part on its own, never less than nothing.
    pub const fn saturating_sub(self, used: Self) -> Self {
        Self { cpus: self.cpus.saturating_sub(used.cpus), memory: self.memory.saturating_sub(used.memory) }
    }
}

macro_rules! arithmetic {
    ($type:ident { $($field:tt),+ }) => {
        impl Add for $type {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self { $($field: self.$field.saturating_add(other.$field)),+ }
            }
        }
        impl AddAssign for $type {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }
        impl $type {
            /// `self - other`; `None` where that would be less than nothing.
            pub fn checked_sub(self, other: Self) -> Option<Self> {
                Some(Self { $($field: self.$field.checked_sub(other.$field)?),+ })
            }

            /// `self + other`, or the most there is.
            #[must_use]
            pub fn saturating_add(self, other: Self) -> Self {
                Self { $($field: self.$field.saturating_add(other.$field)),+ }
            }
        }
        impl Mul<u64> for $type {
            type Output = Self;
            fn mul(self, times: u64) -> Self {
                Self { $($field: self.$field * times),+ }
            }
        }
        impl Sum for $type {
            fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
                all.fold(Self::default(), Add::add)
            }
        }
    };
}

arithmetic!(Cpus { 0 });
arithmetic!(MemoryMb { 0 });
arithmetic!(Resources { cpus, memory });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenths_of_a_cpu_add_up_exactly() {
        let tenth = Cpus::try_from(0.1).unwrap();
        assert_eq!((0..30).map(|_| tenth).sum::<Cpus>(), Cpus::try_from(3.0).unwrap());
        assert_eq!(serde_json::to_string(&tenth).unwrap(), "0.1");
    }

    #[test]
    fn what_is_no_share_of_cpu_is_refused() {
        for bad in [-1.0, 0.0001, f64::NAN, f64::INFINITY, 1e9] {
            assert!(Cpus::try_from(bad).is_err(), "{bad} was taken");
        }
        assert_eq!(Cpus::try_from(0.0).unwrap(), Cpus::ZERO);
    }

    #[test]
    fn sums_are_read_whatever_they_come_to() {
        #[derive(Deserialize)]
        struct Sums {
            #[serde(deserialize_with = "any_cpus")]
            cpus: Cpus,
        }
        let read = |text: &str| serde_json::from_str::<Sums>(text).unwrap().cpus.as_f64();
        assert_eq!(read(r#"{"cpus": 64000.5}"#), 64000.5);
        assert_eq!((read(r#"{"cpus": -3}"#), read(r#"{"cpus": 0}"#)), (0.0, 0.0));
        assert!(read(r#"{"cpus": 18446744073709550}"#) > 1e15);
    }

    #[test]
    fn others_sizes_are_rounded_up_and_hosts_down() {
        assert_eq!(MemoryMb::from_bytes_ceil(1), MemoryMb::new(1));
        assert_eq!(MemoryMb::from_bytes_floor((1 << 20) * 2 - 1), MemoryMb::new(1));
        assert_eq!(Cpus::from_nano_ceil(12_500_000), Cpus::from_milli(13));
    }

    #[test]
    fn who_writes_memory_in_another_way_is_told_what_is_expected() {
        let read = |text: &str| serde_json::from_str::<MemoryMb>(text);
        assert_eq!(read("256").unwrap(), MemoryMb::new(256));
        for wrong in [r#""512m""#, "-1", "0.5"] {
            let told = read(wrong).unwrap_err().to_string();
            assert!(told.contains("expected a number of megabytes, such as 256"), "{told}");
        }
    }

    #[test]
    fn memory_in_bytes_cannot_overflow() {
        assert!(MemoryMb::new(u64::MAX).bytes() > 0);
    }
}
