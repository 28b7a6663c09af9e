//! What a client says about itself, for lists and logs.

/// Most clients say nothing, so that they need not have it.
#[derive(Debug, Default)]
pub(super) struct About {
    pub name: Box<[u8]>,
    /// Of the library it uses, as that says.
    pub lib_name: Box<[u8]>,
    pub lib_ver: Box<[u8]>,
    /// It goes after all others when memory is short.
    pub no_evict: bool,
}

/// An attribute is for logs and lists; the bound keeps an idle client small.
pub(super) const MAX_ATTRIBUTE: usize = 1024;

/// May it stand in a line of a list, where spaces separate?
pub(super) fn is_printable(text: &[u8]) -> bool {
    text.iter().all(|byte| (b'!'..=b'~').contains(byte))
}
