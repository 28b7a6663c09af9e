//! `nuthatch locate`: on which server each key lives, to prove that nothing moves.
//!
//! Reads the configuration only: all servers count as alive, nothing is connected to.

use std::io::{self, BufRead, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::sync::Arc;

use super::arguments::PROGRAM;
use super::commands::LocateArguments;
use super::mistake::nearest;
use crate::config::{self, Config};
use crate::distribution::Distribution;
use crate::topology::{Pool, Topology};

const HEADER: &str = "key\thashed\thash\thash_hex\tserver\taddress";

pub fn run(arguments: &LocateArguments) -> ExitCode {
    match locate(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(mistake) => {
            for line in mistake.lines() {
                eprintln!("{PROGRAM}: {line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn locate(arguments: &LocateArguments) -> Result<(), String> {
    let loaded = config::load(&arguments.conf_file).map_err(|mistakes| mistakes.to_string())?;
    let pool = find_pool(&loaded.config, arguments.pool.as_deref())?;
    if pool.config.distribution == Distribution::Random {
        let name = &pool.config.name;
        eprintln!("{PROGRAM}: pool '{name}' has distribution: random, its keys live anywhere");
    }
    let mut table = Table {
        pool,
        out: BufWriter::new(io::stdout().lock()),
    };
    let written = table.write(arguments);
    match written.and_then(|()| table.out.flush()) {
        // A reader that has seen enough (`| head`).
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(format!("locating keys failed: {error}")),
        Ok(()) => Ok(()),
    }
}

fn find_pool(config: &Config, wanted: Option<&str>) -> Result<Arc<Pool>, String> {
    let names: Vec<&str> = config.pools.iter().map(|pool| pool.name.as_str()).collect();
    let index = match (wanted, names.as_slice()) {
        (None, [_]) => Some(0),
        (None, _) => {
            let names = names.join(", ");
            return Err(format!("--pool is needed, the file has several: {names}"));
        }
        (Some(wanted), names) => names.iter().position(|&name| name == wanted),
    };
    match (index, wanted) {
        (Some(index), _) => Ok(Arc::clone(&Topology::initial(config).pools[index])),
        (None, wanted) => Err(unknown_pool(wanted.unwrap_or_default(), &names)),
    }
}

pub(super) fn unknown_pool(wanted: &str, names: &[&str]) -> String {
    let meant = match nearest(wanted, names) {
        Some(name) => format!(", did you mean '{name}'?"),
        None => String::new(),
    };
    let names = names.join(", ");
    format!("there is no pool '{wanted}'{meant} (pools: {names})")
}

struct Table<W> {
    pool: Arc<Pool>,
    out: W,
}

impl<W: Write> Table<W> {
    fn write(&mut self, arguments: &LocateArguments) -> io::Result<()> {
        if !arguments.no_header {
            writeln!(self.out, "{HEADER}")?;
        }
        if arguments.keys.is_empty() {
            return self.keys_of(&mut io::stdin().lock());
        }
        for key in &arguments.keys {
            match key.as_bytes() {
                b"-" => self.keys_of(&mut io::stdin().lock())?,
                key => self.key(key)?,
            }
        }
        Ok(())
    }

    /// One key per line, of any bytes; the last line's end may be missing.
    fn keys_of(&mut self, input: &mut impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        while input.read_until(b'\n', &mut line)? > 0 {
            self.key(line.strip_suffix(b"\n").unwrap_or(&line))?;
            line.clear();
        }
        Ok(())
    }

    fn key(&mut self, key: &[u8]) -> io::Result<()> {
        let config = &self.pool.config;
        let hash = self.pool.hash_of(key);
        let server = match config.distribution {
            Distribution::Random => None,
            // Nothing is drawn for the others.
            Distribution::Ketama | Distribution::Modula => self.pool.route(key, || 0),
        };
        let key_shown = escaped(key);
        let part = escaped(self.pool.tag_part(key));
        write!(self.out, "{key_shown}\t{part}\t{hash}\t0x{hash:08x}\t")?;
        match server.map(|index| &config.servers[usize::from(index)]) {
            Some(server) => writeln!(self.out, "{}\t{}", server.name, server.address),
            None => writeln!(self.out, "{}\t-", no_server(config.distribution)),
        }
    }
}

fn no_server(distribution: Distribution) -> &'static str {
    match distribution {
        Distribution::Random => "(random)",
        Distribution::Ketama | Distribution::Modula => "(none)",
    }
}

/// A field of the table: printable text as it is, without tabs and ends of line, and so that no two keys
/// look the same.
pub(super) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '\t' => text.push_str("\\t"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                c if c.is_control() => {
                    let mut buffer = [0; 4];
                    push_hex(&mut text, c.encode_utf8(&mut buffer).as_bytes());
                }
                c => text.push(c),
            }
        }
        push_hex(&mut text, chunk.invalid());
    }
    text
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push_str(&format!("\\x{byte:02x}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stay_on_their_line_and_differ() {
        assert_eq!(escaped(b"plain:{tag}"), "plain:{tag}");
        assert_eq!(escaped("grün".as_bytes()), "grün");
        assert_eq!(escaped(b"a\tb\nc\rd\\"), r"a\tb\nc\rd\\");
        assert_eq!(escaped(b"\x00\x7f\xff"), r"\x00\x7f\xff");
        assert_eq!(escaped("\u{85}".as_bytes()), r"\xc2\x85");
    }

    #[test]
    fn an_unknown_pool_is_met_with_the_known_ones() {
        let text = unknown_pool("alhpa", &["alpha", "beta"]);
        assert_eq!(
            text,
            "there is no pool 'alhpa', did you mean 'alpha'? (pools: alpha, beta)"
        );
        assert!(!unknown_pool("zzz", &["alpha"]).contains("did you mean"));
    }
}
