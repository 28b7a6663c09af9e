//! A running nutcracker with one pool for every hash and distribution of a layout.

use std::fmt::Write;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nuthatch::distribution::Distribution;
use nuthatch::hash::Hash;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::backends::random_loopback;
use super::layout::Layout;

/// Far beyond what a loaded machine needs; only a hang gets here.
const PATIENCE: Duration = Duration::from_secs(30);

/// Killed when dropped.
pub struct Nutcracker {
    process: Child,
    pub pools: Vec<(Hash, Distribution)>,
    directory: TempDir,
}

/// Where the program is, `None` if it is not installed.
pub fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .map(|directory| directory.join("nutcracker"))
        .find(|program| program.is_file())
}

impl Nutcracker {
    /// Returns once it listens everywhere. `options` go into every pool.
    pub async fn start(
        program: &Path,
        rng: &mut fastrand::Rng,
        layout: &Layout,
        options: &str,
    ) -> Nutcracker {
        let directory = tempfile::tempdir().expect("a directory");
        let pools: Vec<(Hash, Distribution)> = Hash::ALL
            .into_iter()
            .flat_map(|hash| layout.distributions.iter().map(move |&d| (hash, d)))
            .collect();
        let file = directory.path().join("nutcracker.yml");
        fs::write(
            &file,
            configuration(&pools, layout, options, directory.path()),
        )
        .unwrap();

        let stats = TcpListener::bind((random_loopback(rng), 0)).and_then(|l| l.local_addr());
        let stats = stats.expect("a free loopback port");
        let process = Command::new(program)
            .arg("-c")
            .arg(&file)
            .arg("-o")
            .arg(directory.path().join("log"))
            .args([
                "-a",
                &stats.ip().to_string(),
                "-s",
                &stats.port().to_string(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nutcracker runs");
        let mut nutcracker = Nutcracker {
            process,
            pools,
            directory,
        };
        nutcracker.listening().await;
        nutcracker
    }

    async fn listening(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        for pool in 0..self.pools.len() {
            while UnixStream::connect(socket(self.directory.path(), pool))
                .await
                .is_err()
            {
                let exit = self.process.try_wait().unwrap();
                if exit.is_some() || Instant::now() > deadline {
                    let log = fs::read_to_string(self.directory.path().join("log"));
                    panic!("nutcracker does not listen ({exit:?}): {log:?}");
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }

    /// A client of the pool at this position in `pools`.
    pub async fn connect(&self, pool: usize) -> Client {
        let stream = UnixStream::connect(socket(self.directory.path(), pool)).await;
        Client(stream.expect("nutcracker accepts"))
    }
}

impl Drop for Nutcracker {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub struct Client(UnixStream);

impl Client {
    /// Sends one GET per key in one go. Answers the number of the backend that replied, or the error.
    pub async fn ask(&mut self, keys: &[Vec<u8>]) -> Vec<Result<usize, String>> {
        let mut requests = Vec::new();
        for key in keys {
            requests.extend_from_slice(format!("*2\r\n$3\r\nGET\r\n${}\r\n", key.len()).as_bytes());
            requests.extend_from_slice(key);
            requests.extend_from_slice(b"\r\n");
        }
        let (read, mut write) = self.0.split();
        let mut lines = BufReader::new(read).lines();
        let mut replies = Vec::new();
        let exchange = async {
            let receive = async {
                while replies.len() < keys.len() {
                    let line = lines.next_line().await.expect("a reply");
                    let line = line.expect("nutcracker keeps the connection");
                    replies.push(match line.strip_prefix(':') {
                        Some(number) => Ok(number.parse().expect("a number")),
                        None => Err(line),
                    });
                }
            };
            let (sent, ()) = tokio::join!(write.write_all(&requests), receive);
            sent.expect("nutcracker reads");
        };
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .expect("replies in time");
        replies
    }
}

fn socket(directory: &Path, pool: usize) -> PathBuf {
    directory.join(format!("pool{pool}"))
}

fn configuration(
    pools: &[(Hash, Distribution)],
    layout: &Layout,
    options: &str,
    directory: &Path,
) -> String {
    let mut text = String::new();
    for (i, (hash, distribution)) in pools.iter().enumerate() {
        let listen = socket(directory, i);
        write!(
            text,
            "pool{i}:\n  listen: {}\n  redis: true\n  hash: {}\n  distribution: {}\n{options}",
            listen.display(),
            hash.name(),
            distribution.name()
        )
        .unwrap();
        if let Some(tag) = &layout.hash_tag {
            writeln!(text, "  hash_tag: {}", quoted(tag)).unwrap();
        }
        text.push_str("  servers:\n");
        for line in &layout.lines {
            writeln!(text, "    - {}", quoted(line)).unwrap();
        }
    }
    text
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
