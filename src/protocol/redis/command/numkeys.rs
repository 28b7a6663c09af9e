//! Keys that follow their number, and what Redis says of a number that is wrong.

use super::{KeyPositions, KeysError};

/// Commands judge the number in different words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numkeys {
    /// LMPOP and its kin (`t_list.c`, `lmpopGenericCommand`).
    Pop,
    /// SINTERCARD and its kin (`t_set.c`, `sinterCardCommand`).
    Card,
    /// ZUNION and its kin (`t_zset.c`, `zunionInterDiffGenericCommand`).
    SortedSets,
    /// EVAL and its kin (`eval.c`, `evalGenericCommand`).
    Script,
    /// FCALL and its kin (`functions.c`, `fcallCommandGeneric`).
    Function,
    Other,
}

impl Numkeys {
    fn may_be_none(self) -> bool {
        matches!(self, Self::Script | Self::Function)
    }

    /// As many keys after argument `at` as it says, each with its values.
    pub(super) fn positions<'a>(
        self,
        name: &'static str,
        at: usize,
        step: usize,
        argc: usize,
        mut arg: impl FnMut(usize) -> &'a [u8],
    ) -> Result<KeyPositions, KeysError> {
        let count = std::str::from_utf8(arg(at))
            .ok()
            .and_then(|text| text.parse::<i64>().ok());
        match count.ok_or_else(|| self.not_a_number())? {
            ..0 => Err(self.too_few(name)),
            0 if !self.may_be_none() => Err(self.too_few(name)),
            count => match usize::try_from(count) {
                Ok(count) if count <= (argc - at - 1) / step => Ok(KeyPositions {
                    step,
                    ..KeyPositions::adjacent(at + 1, count)
                }),
                _ => Err(self.too_many()),
            },
        }
    }

    fn not_a_number(self) -> KeysError {
        match self {
            Self::Pop | Self::Card => KeysError::NoKeys,
            Self::Function => KeysError::BadNumber,
            Self::SortedSets | Self::Script | Self::Other => KeysError::NotAnInteger,
        }
    }

    fn too_few(self, name: &'static str) -> KeysError {
        match self {
            Self::SortedSets => KeysError::NoInput(name),
            Self::Script | Self::Function => KeysError::Negative,
            Self::Pop | Self::Card | Self::Other => KeysError::NoKeys,
        }
    }

    fn too_many(self) -> KeysError {
        match self {
            Self::Pop | Self::SortedSets => KeysError::Syntax,
            Self::Card | Self::Script | Self::Function | Self::Other => KeysError::TooManyKeys,
        }
    }
}
