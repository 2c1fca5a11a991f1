//! [`Flags`]: what a node can do, as it announces it in the handshake.

/// A set of distribution flags.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(u64);

macro_rules! flags {
    ($($name:ident = $bits:expr, $doc:literal;)*) => {
        impl Flags {
            $(#[doc = $doc] pub const $name: Self = Self($bits);)*

            const NAMES: &'static [(&'static str, Self)] = &[$((stringify!($name), Self::$name)),*];
        }
    };
}

flags! {
    PUBLISHED = 1, "The node is visible: it takes part in `global`.";
    ATOM_CACHE = 2, "An old atom cache. Never announced.";
    EXTENDED_REFERENCES = 4, "References of several words.";
    DIST_MONITOR = 8, "Monitors of processes.";
    FUN_TAGS = 0x10, "Funs, in an old form.";
    DIST_MONITOR_NAME = 0x20, "Monitors of registered names.";
    HIDDEN_ATOM_CACHE = 0x40, "An old atom cache for hidden nodes. Never announced.";
    NEW_FUN_TAGS = 0x80, "Funs.";
    EXTENDED_PIDS_PORTS = 0x100, "Pids and ports of more bits.";
    EXPORT_PTR_TAG = 0x200, "Exported functions.";
    BIT_BINARIES = 0x400, "Bit strings.";
    NEW_FLOATS = 0x800, "Floats of 8 bytes.";
    UNICODE_IO = 0x1000, "Unicode in the I/O protocol.";
    DIST_HDR_ATOM_CACHE = 0x2000, "The atom cache of the distribution header. Never announced.";
    SMALL_ATOM_TAGS = 0x4000, "Atoms with one byte of length.";
    UTF8_ATOMS = 0x1_0000, "Atoms in UTF-8.";
    MAP_TAG = 0x2_0000, "Maps.";
    BIG_CREATION = 0x4_0000, "Creations of 32 bits.";
    SEND_SENDER = 0x8_0000, "`SEND_SENDER`: a message names its sender.";
    BIG_SEQTRACE_LABELS = 0x10_0000, "Trace labels of any kind.";
    EXIT_PAYLOAD = 0x40_0000, "Exit reasons behind the control message.";
    FRAGMENTS = 0x80_0000, "Large messages in parts.";
    HANDSHAKE_23 = 0x100_0000, "The handshake of OTP 23.";
    UNLINK_ID = 0x200_0000, "Unlinking with an id and an acknowledgement.";
    MANDATORY_25_DIGEST = 0x400_0000, "Stands for all flags that OTP 25 demands.";
    SPAWN = 1 << 32, "Spawn requests.";
    NAME_ME = 1 << 33, "The node asks for a name.";
    V4_NC = 1 << 34, "Pids, ports and references of 64 bits and more.";
    ALIAS = 1 << 35, "Aliases.";
}

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);

    /// The flags that a peer must have: a peer without them is refused.
    pub const MANDATORY: Self = Self(
        Self::EXTENDED_REFERENCES.0
            | Self::FUN_TAGS.0
            | Self::NEW_FUN_TAGS.0
            | Self::EXTENDED_PIDS_PORTS.0
            | Self::EXPORT_PTR_TAG.0
            | Self::BIT_BINARIES.0
            | Self::NEW_FLOATS.0
            | Self::UTF8_ATOMS.0
            | Self::MAP_TAG.0
            | Self::BIG_CREATION.0
            | Self::HANDSHAKE_23.0,
    );

    /// The flags that a hidden Atropos node announces. A visible one adds
    /// [`PUBLISHED`](Self::PUBLISHED).
    pub const HIDDEN_NODE: Self = Self(
        Self::MANDATORY.0
            | Self::MANDATORY_25_DIGEST.0
            | Self::DIST_MONITOR.0
            | Self::DIST_MONITOR_NAME.0
            | Self::SMALL_ATOM_TAGS.0
            | Self::SEND_SENDER.0
            | Self::EXIT_PAYLOAD.0
            | Self::FRAGMENTS.0
            | Self::UNLINK_ID.0
            | Self::SPAWN.0
            | Self::V4_NC.0
            | Self::ALIAS.0,
    );

    /// Returns the set of these bits, known or not.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Returns `true` if all of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns the flags that are in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the flags that are in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns the flags that are in this set and not in `other`.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns the flags that a peer has announced, with those that a digest stands for.
    #[must_use]
    pub const fn expanded(self) -> Self {
        if self.contains(Self::MANDATORY_25_DIGEST) { self.union(Self::MANDATORY) } else { self }
    }

    /// Returns the flags that a peer must have and has not announced.
    #[must_use]
    pub const fn missing(self) -> Self {
        Self::MANDATORY.difference(self.expanded())
    }

    /// Returns `true` if no flag is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns `true` if messages have the distribution header (`131, 68`).
    pub const fn has_header(self) -> bool {
        self.0 & (Self::DIST_HDR_ATOM_CACHE.0 | Self::FRAGMENTS.0) != 0
    }
}

impl core::fmt::Debug for Flags {
    /// Writes the names of the flags, and the bits that have none.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut nameless = *self;
        let mut separator = "";
        for (name, flag) in Self::NAMES.iter().filter(|(_, flag)| self.contains(*flag)) {
            write!(f, "{separator}{name}")?;
            separator = "|";
            nameless = nameless.difference(*flag);
        }
        if !nameless.is_empty() || self.is_empty() {
            write!(f, "{separator}{:#x}", nameless.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn a_digest_stands_for_what_is_demanded() {
        assert_eq!(Flags::MANDATORY_25_DIGEST.missing(), Flags::NONE);
        assert_eq!(Flags::MANDATORY.missing(), Flags::NONE);
        assert_eq!(Flags::NONE.missing(), Flags::MANDATORY);
        assert_eq!(Flags::HIDDEN_NODE.difference(Flags::MAP_TAG).missing(), Flags::NONE);
        assert_eq!(Flags::MANDATORY.difference(Flags::MAP_TAG).missing(), Flags::MAP_TAG);
    }

    /// The bits that OTP 25 refuses to see, or that mean something else to other releases.
    #[test]
    fn a_node_announces_nothing_forbidden() {
        let forbidden = 0x2 | 0x40 | 1 << 33 | 0xf800_0000 | !0 << 48;
        assert_eq!(Flags::HIDDEN_NODE.bits() & forbidden, 0);
        assert!(!Flags::HIDDEN_NODE.contains(Flags::PUBLISHED));
    }

    #[test]
    fn debug_names_flags() {
        assert_eq!(format!("{:?}", Flags::MAP_TAG.union(Flags::PUBLISHED)), "PUBLISHED|MAP_TAG");
        assert_eq!(format!("{:?}", Flags::from_bits(1 << 50 | 1)), "PUBLISHED|0x4000000000000");
        assert_eq!(format!("{:?}", Flags::NONE), "0x0");
    }
}
