//! Session ids: bearer credentials, so they print as nothing.

use bytes::Bytes;
use std::fmt;

/// A session's id. Whoever has it is the user: it belongs into the cookie, and into no log. `Debug` and `Display` do not show
/// it; [`SessionId::expose`] and [`SessionId::expose_text`] do.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(Bytes);

impl SessionId {
    /// The id of these bytes, as a cookie brought them. Whether it is one, the node says.
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(Bytes::copy_from_slice(bytes.as_ref()))
    }

    pub(crate) const fn from_wire(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(crate) fn to_wire(&self) -> Bytes {
        self.0.clone()
    }

    /// The id itself.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The id as text for a cookie; `None` for ids of applications that are no text. Minted ids are of `A-Z a-z 0-9 - _`.
    pub fn expose_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(..)")
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(a session id)")
    }
}

impl From<&str> for SessionId {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::SessionId;

    #[test]
    fn an_id_prints_as_nothing() {
        let id = SessionId::from("secret");
        assert!(!format!("{id} {id:?}").contains("secret"));
        assert_eq!((id.expose(), id.expose_text()), (b"secret".as_slice(), Some("secret")));
    }
}
