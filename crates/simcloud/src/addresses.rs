//! Private addresses, each used by one live machine at a time.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Host numbers 1–254 in each /24 of 10.0.0.0/8.
const COUNT: u32 = 254 << 16;

/// The addresses in use. A freed address is reused as late as possible, after all others, so that a client with an old
/// address finds nothing there.
#[derive(Debug)]
pub(super) struct Addresses {
    used: BTreeSet<Ipv4Addr>,
    next: u32,
    count: u32,
}

impl Default for Addresses {
    fn default() -> Self {
        Self::first(COUNT)
    }
}

impl Addresses {
    /// Allocates from the first `count` addresses only.
    pub(super) const fn first(count: u32) -> Self {
        Self { used: BTreeSet::new(), next: 0, count }
    }

    /// A free address; `None` when all are in use.
    pub(super) fn take(&mut self) -> Option<Ipv4Addr> {
        for _ in 0..self.count {
            let address = nth(self.next);
            self.next = (self.next + 1) % self.count;
            if self.used.insert(address) {
                return Some(address);
            }
        }
        None
    }

    pub(super) fn free(&mut self, address: Ipv4Addr) {
        self.used.remove(&address);
    }
}

const fn nth(number: u32) -> Ipv4Addr {
    let (net, host) = (number / 254, number % 254 + 1);
    Ipv4Addr::new(10, (net >> 8) as u8, (net & 0xff) as u8, host as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_run_from_10_0_0_1_to_10_255_255_254_without_network_and_broadcast() {
        assert_eq!(nth(0), Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(nth(253), Ipv4Addr::new(10, 0, 0, 254));
        assert_eq!(nth(254), Ipv4Addr::new(10, 0, 1, 1));
        assert_eq!(nth(COUNT - 1), Ipv4Addr::new(10, 255, 255, 254));
    }

    #[test]
    fn addresses_in_use_are_skipped_after_the_numbers_wrap() {
        let mut addresses = Addresses { next: COUNT - 1, ..Addresses::default() };
        addresses.used.insert(nth(0));
        assert_eq!(addresses.take(), Some(nth(COUNT - 1)));
        assert_eq!(addresses.take(), Some(nth(1)));
    }
}
