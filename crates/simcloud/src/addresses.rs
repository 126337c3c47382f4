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
    /// The address before the first one.
    base: Ipv4Addr,
}

impl Default for Addresses {
    fn default() -> Self {
        Self::first(COUNT)
    }
}

impl Addresses {
    /// Allocates from the first `count` addresses only.
    pub(super) const fn first(count: u32) -> Self {
        Self { used: BTreeSet::new(), next: 0, count, base: Ipv4Addr::new(10, 0, 0, 0) }
    }

    /// 254 addresses of this computer's own, which differ from those of a cloud that listens on another port.
    pub(super) fn loopback(port: u16) -> Self {
        let [high, low] = port.to_be_bytes();
        Self { base: Ipv4Addr::new(127, high, low, 0), ..Self::first(254) }
    }

    /// A free address; `None` when all are in use.
    pub(super) fn take(&mut self) -> Option<Ipv4Addr> {
        for _ in 0..self.count {
            let address = nth(self.base, self.next);
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

/// The address of this number. Host numbers are 1 to 254.
fn nth(base: Ipv4Addr, number: u32) -> Ipv4Addr {
    let (net, host) = (number / 254, number % 254 + 1);
    Ipv4Addr::from_bits(base.to_bits() + (net << 8) + host)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 0);

    #[test]
    fn addresses_run_from_10_0_0_1_to_10_255_255_254_without_network_and_broadcast() {
        assert_eq!(nth(TEN, 0), Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(nth(TEN, 253), Ipv4Addr::new(10, 0, 0, 254));
        assert_eq!(nth(TEN, 254), Ipv4Addr::new(10, 0, 1, 1));
        assert_eq!(nth(TEN, COUNT - 1), Ipv4Addr::new(10, 255, 255, 254));
    }

    #[test]
    fn addresses_in_use_are_skipped_after_the_numbers_wrap() {
        let mut addresses = Addresses { next: COUNT - 1, ..Addresses::default() };
        addresses.used.insert(nth(TEN, 0));
        assert_eq!(addresses.take(), Some(nth(TEN, COUNT - 1)));
        assert_eq!(addresses.take(), Some(nth(TEN, 1)));
    }

    #[test]
    fn clouds_that_listen_on_different_ports_give_different_addresses_of_this_computer() {
        let mut cloud = Addresses::loopback(7070);
        let all: BTreeSet<Ipv4Addr> = std::iter::from_fn(|| cloud.take()).collect();
        assert_eq!(all.len(), 254);
        let ends = (all.first().copied(), all.last().copied());
        assert_eq!(ends, (Some(Ipv4Addr::new(127, 27, 158, 1)), Some(Ipv4Addr::new(127, 27, 158, 254))));
        assert!(Addresses::loopback(7071).take().is_some_and(|address| !all.contains(&address)));
    }
}
