//! What machines report over HTTP: the URLs that they call, the token in these, what they may post, and what becomes of
//! it in the member's status.
//!
//! Pure functions. Input: method, path and body of a request from anybody, and the member that it names. Output: whether
//! the token is right, what was reported, bounded and cleaned, and the status to write. A token is derived from the
//! installation secret, so that none is stored and a wrong one is found without asking anybody.

mod accept;
mod advertised;
mod body;
mod host_keys;
mod routes;

pub use accept::{Verdict, judge};
pub use advertised::{AdvertisedUrl, CallUrls};
pub use body::{Content, MAX_BODY};
pub use routes::{Named, ROUTES, Route, Topic, named};
