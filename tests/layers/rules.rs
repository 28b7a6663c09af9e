//! The checks behind `tests/layers.rs`, on one source text at a time.
//!
//! Works on tokens, so comments and strings never count. Test code is exempt from all but the length:
//! what stands under `#[cfg(test)]`, and the files `tests.rs` and `*_tests.rs` and folders `tests`, whose
//! `mod` line must then stand under `#[cfg(test)]`.

use std::collections::BTreeMap;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// Lines of a file, its tests included.
pub const MAX_LINES: usize = 500;

/// Top modules that are shells as a whole, with all below them.
const SHELLS: [&str; 5] = ["worker", "admin", "app", "cli", "main"];

/// What only a shell may name, as a path's tokens. The first covers `tokio_util` and its like too.
const IMPURE: &[&[&str]] = &[
    &["tokio"],
    &["Instant", "::", "now"],
    &["SystemTime", "::", "now"],
    &["TcpStream"],
    &["TcpListener"],
    &["UdpSocket"],
    &["UnixStream"],
    &["UnixListener"],
    &["thread", "::", "sleep"],
    &["thread", "::", "spawn"],
];

#[derive(Debug, PartialEq)]
pub struct Offence {
    pub line: usize,
    pub what: String,
}

/// Module name to layer, from the table's rows `| 1 | [`config`], .. |`.
pub type Layers = BTreeMap<String, usize>;

pub fn layers(lib: &str) -> Layers {
    let mut layers = Layers::new();
    for line in lib.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, layer, modules, ..] = cells[..] else {
            continue;
        };
        let Ok(layer) = layer.parse() else {
            continue;
        };
        for name in modules.split('`').skip(1).step_by(2) {
            let before = layers.insert(name.to_string(), layer);
            assert_eq!(before, None, "{name} is twice in the table");
        }
    }
    layers
}

/// Every offence of one file; `path` is relative to `src/`.
pub fn check(path: &str, source: &str, layers: &Layers) -> Vec<Offence> {
    let mut offences = Vec::new();
    let lines = source.lines().count();
    if lines > MAX_LINES {
        offences.push(Offence {
            line: lines,
            what: format!("{lines} lines, at most {MAX_LINES}"),
        });
    }
    if is_test_file(path) {
        return offences;
    }
    let tokens: TokenStream = source
        .parse()
        .unwrap_or_else(|error| panic!("src/{path}: {error}"));
    let tokens = without_tests(tokens);
    check_test_modules(&tokens, &mut offences);
    match path {
        "lib.rs" => check_table(&tokens, layers, &mut offences),
        "main.rs" => {}
        _ => {
            let module = module_path(path);
            let own = module[0].clone();
            if layers.contains_key(&own) {
                let scan = Scan { own, layers };
                scan.check(&tokens, module.len(), &mut offences);
            }
        }
    }
    if !is_shell(path) {
        check_purity(&tokens, &mut offences);
    }
    offences
}

fn is_test_file(path: &str) -> bool {
    path.split('/')
        .any(|part| is_test_name(part.trim_end_matches(".rs")))
}

fn is_test_name(module: &str) -> bool {
    module == "tests" || module.ends_with("_tests")
}

fn is_shell(path: &str) -> bool {
    let parts: Vec<&str> = path
        .split('/')
        .map(|part| part.trim_end_matches(".rs"))
        .collect();
    SHELLS.contains(&parts[0]) || parts.contains(&"task")
}

/// `stats/report.rs` -> stats, report; `stats/mod.rs` -> stats.
fn module_path(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = path
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_string)
        .collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// Leaves out every item under `#[cfg(test)]`, at any depth; all of a file under `#![cfg(test)]`.
fn without_tests(tokens: TokenStream) -> Vec<TokenTree> {
    let mut kept = Vec::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        if is_punct(&token, '#') {
            match tokens.peek() {
                Some(next) if is_cfg_test(next) => {
                    skip_item(&mut tokens);
                    continue;
                }
                Some(next) if is_punct(next, '!') => {
                    let bang = tokens.next();
                    if tokens.peek().is_some_and(is_cfg_test) {
                        return Vec::new();
                    }
                    kept.push(token);
                    kept.extend(bang);
                    continue;
                }
                _ => {}
            }
        }
        kept.push(match token {
            TokenTree::Group(group) => {
                let inner = without_tests(group.stream()).into_iter().collect();
                let mut rest = Group::new(group.delimiter(), inner);
                rest.set_span(group.span());
                rest.into()
            }
            other => other,
        });
    }
    kept
}

/// Up to and with the item's braces or semicolon.
fn skip_item(tokens: &mut impl Iterator<Item = TokenTree>) {
    for token in tokens {
        let braces = matches!(&token, TokenTree::Group(g) if g.delimiter() == Delimiter::Brace);
        if braces || is_punct(&token, ';') {
            return;
        }
    }
}

fn is_cfg_test(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket
        && group.stream().to_string().replace(' ', "") == "cfg(test)")
}

/// A file that is exempt by its name must be test code.
fn check_test_modules(tokens: &[TokenTree], offences: &mut Vec<Offence>) {
    for pair in tokens.windows(2) {
        if is_ident(&pair[0], "mod") && is_test_name(&pair[1].to_string()) {
            offences.push(Offence {
                line: line(&pair[1]),
                what: format!("mod {} without #[cfg(test)]", pair[1]),
            });
        }
    }
    for group in groups(tokens) {
        check_test_modules(&group, offences);
    }
}

/// The modules declared in `lib.rs` are those of its table.
fn check_table(tokens: &[TokenTree], layers: &Layers, offences: &mut Vec<Offence>) {
    let mut missing = layers.clone();
    for pair in tokens.windows(2) {
        let name = pair[1].to_string();
        if is_ident(&pair[0], "mod") && missing.remove(&name).is_none() {
            offences.push(Offence {
                line: line(&pair[1]),
                what: format!("{name} is not in the table of layers"),
            });
        }
    }
    for name in missing.into_keys() {
        offences.push(Offence {
            line: 1,
            what: format!("{name} is in the table of layers but is no module"),
        });
    }
}

/// Looks for paths out of one top module.
struct Scan<'a> {
    own: String,
    layers: &'a Layers,
}

impl Scan<'_> {
    /// `depth`: modules from the crate's root to these tokens.
    fn check(&self, tokens: &[TokenTree], depth: usize, offences: &mut Vec<Offence>) {
        let mut index = 0;
        while index < tokens.len() {
            let token = &tokens[index];
            if is_ident(token, "crate") {
                let follows = path_separator(tokens, index + 1);
                let renamed = tokens.get(index + 1).is_some_and(|t| is_ident(t, "as"));
                if follows || renamed {
                    self.check_target(token, tokens.get(index + 3), offences);
                }
            } else if is_ident(token, "super") {
                let mut ups = 1;
                while path_separator(tokens, index + 1)
                    && tokens.get(index + 3).is_some_and(|t| is_ident(t, "super"))
                {
                    index += 3;
                    ups += 1;
                }
                if ups == depth && path_separator(tokens, index + 1) {
                    self.check_target(token, tokens.get(index + 3), offences);
                }
            }
            if let TokenTree::Group(group) = token {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                // `mod name { .. }` is one module further down.
                let module = index >= 2 && is_ident(&tokens[index - 2], "mod");
                self.check(&inner, depth + usize::from(module), offences);
            }
            index += 1;
        }
    }

    /// `target` follows the crate's root in a path: a module or a list of paths in braces.
    fn check_target(
        &self,
        root: &TokenTree,
        target: Option<&TokenTree>,
        offences: &mut Vec<Offence>,
    ) {
        match target {
            Some(TokenTree::Ident(name)) => {
                let module = name.to_string();
                if let Some(what) = self.refusal(&module) {
                    offences.push(Offence {
                        line: name.span().start().line,
                        what,
                    });
                }
            }
            Some(TokenTree::Group(group)) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                for path in inner.split(|token| is_punct(token, ',')) {
                    if let Some(first) = path.first() {
                        self.check_target(root, Some(first), offences);
                    }
                }
            }
            _ => offences.push(Offence {
                line: line(root),
                what: "names the whole crate".to_string(),
            }),
        }
    }

    fn refusal(&self, module: &str) -> Option<String> {
        if module == self.own {
            return None;
        }
        let own = self.layers[&self.own];
        match self.layers.get(module) {
            Some(&layer) if layer < own => None,
            Some(layer) => Some(format!(
                "{} (layer {own}) names {module} (layer {layer})",
                self.own
            )),
            None => Some(format!("{module} is not in the table of layers")),
        }
    }
}

fn check_purity(tokens: &[TokenTree], offences: &mut Vec<Offence>) {
    for index in 0..tokens.len() {
        let rest = &tokens[index..];
        for words in IMPURE {
            if begins_with(rest, words) {
                offences.push(Offence {
                    line: line(&rest[0]),
                    what: format!("{} outside of a shell", words.concat()),
                });
            }
        }
        // `Instant::elapsed` reads the clock.
        if let [dot, name, TokenTree::Group(arguments), ..] = rest
            && is_punct(dot, '.')
            && is_ident(name, "elapsed")
            && arguments.stream().is_empty()
        {
            offences.push(Offence {
                line: line(name),
                what: ".elapsed() outside of a shell".to_string(),
            });
        }
    }
    for group in groups(tokens) {
        check_purity(&group, offences);
    }
}

fn begins_with(tokens: &[TokenTree], words: &[&str]) -> bool {
    let mut at = 0;
    for &word in words {
        let matches = match word {
            "::" => path_separator(tokens, at),
            "tokio" => tokens[at].to_string().split('_').next() == Some(word),
            _ => tokens.get(at).is_some_and(|token| is_ident(token, word)),
        };
        if !matches {
            return false;
        }
        at += if word == "::" { 2 } else { 1 };
    }
    true
}

fn groups(tokens: &[TokenTree]) -> impl Iterator<Item = Vec<TokenTree>> {
    tokens.iter().filter_map(|token| match token {
        TokenTree::Group(group) => Some(group.stream().into_iter().collect()),
        _ => None,
    })
}

fn path_separator(tokens: &[TokenTree], at: usize) -> bool {
    let colon = |at: usize| tokens.get(at).is_some_and(|token| is_punct(token, ':'));
    colon(at) && colon(at + 1)
}

fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

fn is_ident(token: &TokenTree, name: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == name)
}

fn line(token: &TokenTree) -> usize {
    token.span().start().line
}
