//! What is known of an object, and where that knowledge comes from.

/// An object with a uid, which tells it apart from another of the same name.
pub trait HasUid {
    /// The type of `metadata.uid`.
    type Id: Eq;
    /// `metadata.uid`.
    fn uid(&self) -> &Self::Id;
}

/// The result of an uncached GET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<V> {
    /// An object of that name exists. It may have another uid.
    Object(V),
    /// The API server's own 404 for this object. The 404 of a missing CRD is [`Found::Unproved`].
    Missing,
    /// Anything else: 403, a timeout, a missing CRD, a namespace that is not watched.
    Unproved,
}

/// What is known of the object with a given uid.
///
/// The variants are private, so that a cached view can never pass for a live one: only an uncached GET or the response
/// to a write gives a live view, and only a GET or the object's own Deleted event proves that it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence<V>(pub(super) Proof<V>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proof<V> {
    Nothing,
    NotInCache,
    Gone,
    Seen { view: V, live: bool },
}

impl<V: HasUid> Evidence<V> {
    /// From this process's cache: the entry under the object's name.
    ///
    /// An entry that is missing or has another uid proves nothing: a cache may not have seen the object yet.
    pub fn from_cache(uid: &V::Id, entry: Option<V>) -> Self {
        match entry {
            Some(view) if view.uid() == uid => Self(Proof::Seen { view, live: false }),
            _ => Self(Proof::NotInCache),
        }
    }

    /// From an uncached GET of the object's name. Another uid proves that this object is gone.
    pub fn from_get(uid: &V::Id, found: Found<V>) -> Self {
        match found {
            Found::Object(view) if view.uid() == uid => Self(Proof::Seen { view, live: true }),
            Found::Object(_) | Found::Missing => Self(Proof::Gone),
            Found::Unproved => Self(Proof::Nothing),
        }
    }

    /// Whether the object is proved gone.
    pub const fn is_gone(&self) -> bool {
        matches!(self.0, Proof::Gone)
    }

    /// The watch delivered the object's own Deleted event, or a write to it got a 404 for this object.
    pub fn gone() -> Self {
        Self(Proof::Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::claimable::ClaimView;
    use bullpen_api::ClaimPhase;

    fn claim(uid: u8) -> ClaimView<u8> {
        ClaimView { uid, phase: ClaimPhase::Pending, member: None, deleting: false }
    }

    #[test]
    fn a_cache_never_proves_that_an_object_is_gone() {
        for entry in [None, Some(claim(2))] {
            let evidence = Evidence::from_cache(&1, entry);
            assert!(!evidence.is_gone());
            assert_eq!(evidence.0, Proof::NotInCache);
        }
    }

    #[test]
    fn a_get_that_finds_nothing_or_another_uid_proves_that_the_object_is_gone() {
        for found in [Found::Missing, Found::Object(claim(2))] {
            let evidence = Evidence::from_get(&1, found);
            assert!(evidence.is_gone());
            assert_eq!(evidence.0, Proof::Gone);
        }
    }

    #[test]
    fn a_get_without_a_usable_answer_proves_nothing() {
        assert_eq!(Evidence::<ClaimView<u8>>::from_get(&1, Found::Unproved).0, Proof::Nothing);
    }

    #[test]
    fn only_a_get_shows_an_object_live() {
        assert_eq!(Evidence::from_cache(&1, Some(claim(1))).0, Proof::Seen { view: claim(1), live: false });
        assert_eq!(Evidence::from_get(&1, Found::Object(claim(1))).0, Proof::Seen { view: claim(1), live: true });
    }
}
