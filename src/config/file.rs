//! The configuration as written: YAML as an ordered tree of texts, each with its line.
//!
//! Scalars stay exactly the text between the YAML marks (`0640`, `1e3`, `true`, quoted or not), mappings
//! keep their order and their duplicates. What the texts mean is `resolve.rs`'s business.
//!
//! serde's data model carries no positions, so the file is read twice: the first pass notes only which
//! nodes are scalars, sequences or mappings, in the order of the file. The second knows from that what to
//! ask for, takes every scalar as a string and answers with an error, because the deserializer stamps an
//! error with the node's place; the error is dropped, the place kept. Both passes are linear.

use std::convert::Infallible;
use std::fmt;
use std::slice;

use serde::de::{
    self, DeserializeSeed, Deserializer as _, EnumAccess, MapAccess, SeqAccess, Visitor,
};
use serde_yaml::Deserializer;

/// Nodes of a file with its aliases followed. Small texts can alias themselves into billions of nodes.
const MAX_NODES: usize = 1_000_000;

/// One value and the line (from 1) it starts on; for a list or a mapping the line of its first scalar.
/// Through an alias it is the line of the anchored text.
#[derive(Debug, PartialEq)]
pub(super) struct Node {
    pub line: usize,
    pub value: Value,
}

#[derive(Debug, PartialEq)]
pub(super) enum Value {
    Scalar(String),
    Sequence(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
}

/// Why a text is not one YAML document. `line` and `column` count from 1.
#[derive(Debug, PartialEq)]
pub(super) struct SyntaxError {
    pub line: Option<usize>,
    pub column: Option<usize>,
    pub reason: String,
}

/// Reads the only document of `text`; `None` if there is no document.
pub(super) fn read(text: &str) -> Result<Option<Node>, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    refuse_control_characters(text)?;
    let mut kinds = Vec::new();
    deserializer(text)
        .deserialize_any(Survey { kinds: &mut kinds })
        .map_err(|error| syntax_error(text, &error))?;
    if kinds == [Kind::Nothing] {
        return Ok(None);
    }
    let mut place = Place {
        kinds: kinds.iter(),
        line: 1,
    };
    Reader { place: &mut place }
        .deserialize(deserializer(text))
        .map(Some)
        .map_err(|error| syntax_error(text, &error))
}

/// From a reader and not from a string: the parser then never cuts slices out of its input, a place
/// where a wrong offset would panic.
fn deserializer(text: &str) -> Deserializer<'_> {
    Deserializer::from_reader(text.as_bytes())
}

/// What YAML calls not printable. The parser refuses it too, but without a usable place.
fn refuse_control_characters(text: &str) -> Result<(), SyntaxError> {
    for (index, line) in text.split('\n').enumerate() {
        let bad = |c: char| {
            !matches!(c, '\t' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
                || c == '\u{feff}'
        };
        if let Some(column) = line.chars().position(bad) {
            let found = line.chars().find(|c| bad(*c)).map(u32::from);
            return Err(SyntaxError {
                line: Some(index + 1),
                column: Some(column + 1),
                reason: format!(
                    "the control character U+{:04X} is not allowed",
                    found.unwrap_or_default()
                ),
            });
        }
    }
    Ok(())
}

fn syntax_error(text: &str, error: &serde_yaml::Error) -> SyntaxError {
    let message = error.to_string();
    if message.contains("more than one document") {
        return SyntaxError {
            line: None,
            column: None,
            reason: "must contain only 1 document; found more than one".to_owned(),
        };
    }
    let Some(location) = error.location() else {
        return SyntaxError {
            line: None,
            column: None,
            reason: message,
        };
    };
    let (line, column) = (location.line(), location.column());
    let mut reason = message.replacen(&format!(" at line {line} column {column}"), "", 1);
    let source = text.lines().nth(line - 1).unwrap_or_default();
    if source.starts_with(|c: char| c.is_whitespace())
        && source.trim_start_matches(' ').starts_with('\t')
    {
        reason += "; indent with spaces, YAML allows no tabs there";
    } else if source.contains("]:") {
        reason += "; an address in brackets needs quotes, as in '[::1]:6379'";
    } else if source.contains('@') {
        reason += "; what begins with '@' needs quotes, as in \"@admin\"";
    } else if source.contains(": *") {
        reason += "; '*' starts a YAML alias, to listen everywhere write 0.0.0.0";
    }
    SyntaxError {
        line: Some(line),
        column: Some(column),
        reason,
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// A document without any node.
    Nothing,
    Scalar,
    Sequence,
    Mapping,
}

/// The first pass: the kinds of all nodes, parents before children.
struct Survey<'k> {
    kinds: &'k mut Vec<Kind>,
}

impl Survey<'_> {
    fn note<E: de::Error>(&mut self, kind: Kind) -> Result<(), E> {
        if self.kinds.len() == MAX_NODES {
            return Err(E::custom(format!(
                "more than {MAX_NODES} values, aliases followed"
            )));
        }
        self.kinds.push(kind);
        Ok(())
    }

    fn child(&mut self) -> Survey<'_> {
        Survey { kinds: self.kinds }
    }
}

impl<'de> DeserializeSeed<'de> for Survey<'_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// The scalar methods of [`Survey`]: the type YAML would guess does not matter.
macro_rules! any_scalar {
    ($($method:ident: $type:ty),*) => {
        $(fn $method<E: de::Error>(mut self, _: $type) -> Result<(), E> {
            self.note(Kind::Scalar)
        })*
    };
}

impl<'de> Visitor<'de> for Survey<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a mapping")
    }

    any_scalar!(visit_bool: bool, visit_i64: i64, visit_i128: i128, visit_u64: u64,
        visit_u128: u128, visit_f64: f64, visit_str: &str);

    fn visit_unit<E: de::Error>(mut self) -> Result<(), E> {
        self.note(Kind::Scalar)
    }

    fn visit_none<E: de::Error>(mut self) -> Result<(), E> {
        self.note(Kind::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.note(Kind::Sequence)?;
        while items.next_element_seed(self.child())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        self.note(Kind::Mapping)?;
        while entries.next_key_seed(self.child())?.is_some() {
            entries.next_value_seed(self.child())?;
        }
        Ok(())
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(de::Error::custom(
            "YAML tags such as !name are not accepted",
        ))
    }
}

/// Where the second pass is.
struct Place<'k> {
    kinds: slice::Iter<'k, Kind>,
    /// Of the last scalar.
    line: usize,
}

/// The second pass: one node and all below it.
struct Reader<'p, 'k> {
    place: &'p mut Place<'k>,
}

impl<'p, 'k> Reader<'p, 'k> {
    fn child(&mut self) -> Reader<'_, 'k> {
        Reader { place: self.place }
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_, '_> {
    type Value = Node;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        match self.place.kinds.next() {
            Some(Kind::Scalar) => {
                let mut text = None;
                let Err(error) = deserializer.deserialize_str(Scalar { text: &mut text });
                let Some(text) = text else {
                    return Err(error);
                };
                self.place.line = line_of(&error.to_string());
                Ok(Node {
                    line: self.place.line,
                    value: Value::Scalar(text),
                })
            }
            Some(Kind::Sequence) => deserializer.deserialize_seq(self),
            Some(Kind::Mapping) => deserializer.deserialize_map(self),
            Some(Kind::Nothing) | None => Err(de::Error::custom("a value is missing")),
        }
    }
}

impl<'de> Visitor<'de> for Reader<'_, '_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or a mapping")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Node, A::Error> {
        let start = self.place.line;
        let mut nodes: Vec<Node> = Vec::new();
        while let Some(node) = items.next_element_seed(self.child())? {
            nodes.push(node);
        }
        Ok(Node {
            line: nodes.first().map_or(start, |node| node.line),
            value: Value::Sequence(nodes),
        })
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Node, A::Error> {
        let start = self.place.line;
        let mut nodes: Vec<(Node, Node)> = Vec::new();
        while let Some(key) = entries.next_key_seed(self.child())? {
            nodes.push((key, entries.next_value_seed(self.child())?));
        }
        Ok(Node {
            line: nodes.first().map_or(start, |(key, _)| key.line),
            value: Value::Mapping(nodes),
        })
    }
}

/// Takes the text of a scalar and fails, to learn its place from the error.
struct Scalar<'t> {
    text: &'t mut Option<String>,
}

impl<'de> Visitor<'de> for Scalar<'_> {
    type Value = Infallible;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a single value")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Infallible, E> {
        *self.text = Some(text.to_owned());
        Err(E::custom("here"))
    }
}

/// The line in `PATH: here at line L column C`. A seed may not know its error's type, so the place has to
/// be taken from its text; the very first character of a file is the one place that is not named there.
fn line_of(error: &str) -> usize {
    error
        .rsplit_once(" at line ")
        .and_then(|(_, place)| place.split_once(" column "))
        .and_then(|(line, _)| line.parse().ok())
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `line:text` of all scalars, and the brackets of what holds them.
    fn outline(node: &Node) -> String {
        match &node.value {
            Value::Scalar(text) => format!("{}:{text}", node.line),
            Value::Sequence(nodes) => {
                let items: Vec<_> = nodes.iter().map(outline).collect();
                format!("{}[{}]", node.line, items.join(" "))
            }
            Value::Mapping(nodes) => {
                let entries: Vec<_> = nodes
                    .iter()
                    .map(|(key, value)| format!("{}={}", outline(key), outline(value)))
                    .collect();
                format!("{}{{{}}}", node.line, entries.join(" "))
            }
        }
    }

    fn outline_of(text: &str) -> String {
        outline(&read(text).unwrap().unwrap())
    }

    fn syntax(text: &str) -> SyntaxError {
        read(text).unwrap_err()
    }

    #[test]
    fn scalars_keep_their_text_and_line() {
        assert_eq!(
            outline_of("a: 0640\n\n# c\nb: [1e3, 'true', ~]\na:\n  - x: 0x1\n    y:\n  - \"q\"\n"),
            "1{1:a=1:0640 4:b=4[4:1e3 4:true 4:~] 5:a=6[6{6:x=6:0x1 7:y=7:} 8:q]}"
        );
    }

    #[test]
    fn empty_collections_stand_where_the_last_scalar_was() {
        assert_eq!(
            outline_of("a: 1\nb: {}\nc: []"),
            "1{1:a=1:1 2:b=2{} 3:c=3[]}"
        );
    }

    #[test]
    fn lines_survive_keys_that_look_like_places() {
        let text = "x at line 7 column 7:\n  k at line 9 column 9: v at line 8 column 8\n";
        assert_eq!(
            outline_of(text),
            "1{1:x at line 7 column 7=2{2:k at line 9 column 9=2:v at line 8 column 8}}"
        );
    }

    #[test]
    fn aliases_are_followed_to_the_anchored_text() {
        assert_eq!(
            outline_of("a: &x\n  - 1\nb: *x\nc: &y 2\nd: *y\n"),
            "1{1:a=2[2:1] 3:b=2[2:1] 4:c=4:2 5:d=4:2}"
        );
    }

    #[test]
    fn carriage_returns_and_a_byte_order_mark_are_no_text() {
        assert_eq!(outline_of("\u{feff}a: 1\r\nb: 2\r\n"), "1{1:a=1:1 2:b=2:2}");
    }

    #[test]
    fn exactly_one_document() {
        assert_eq!(read("").unwrap(), None);
        assert_eq!(read("# nothing\n").unwrap(), None);
        assert_eq!(outline_of("---\na: 1\n...\n"), "2{2:a=2:1}");
        assert_eq!(
            syntax("a: 1\n---\nb: 1\n").reason,
            "must contain only 1 document; found more than one"
        );
    }

    #[test]
    fn syntax_errors_have_a_place_and_a_reason() {
        let error = syntax("a:\n  - 'x\n");
        assert_eq!((error.line, error.column), (Some(3), Some(1)));
        assert_eq!(
            error.reason,
            "found unexpected end of stream, while scanning a quoted scalar at line 2 column 5"
        );
        let error = syntax("a: \u{7}\n");
        assert_eq!((error.line, error.column), (Some(1), Some(4)));
        assert_eq!(error.reason, "the control character U+0007 is not allowed");
        assert!(syntax("a:\n\tb: 1\n").reason.contains("indent with spaces"));
        assert!(syntax("a: [::1]:6379\n").reason.contains("needs quotes"));
        assert!(syntax("a: *:6379\n").reason.contains("0.0.0.0"));
        assert!(syntax("a: !x 1\n").reason.contains("YAML tags"));
    }

    #[test]
    fn aliases_cannot_explode() {
        let mut text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (from, to) in ('a'..'h').zip('b'..='h') {
            let list = vec![format!("*{from}"); 10].join(", ");
            text += &format!("{to}: &{to} [{list}]\n");
        }
        let error = syntax(&text);
        assert!(
            error.reason.contains("repetition limit") || error.reason.contains("aliases followed"),
            "{error:?}"
        );
        assert!(syntax("a: &a [*a]\n").reason.contains("limit exceeded"));
    }
}
