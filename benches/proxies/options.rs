//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Nuthatch beside other proxies, end to end: processor time per request, throughput, latency, memory.
///
/// Without one of the --features-ab, --latency and --growth the table of goals is measured. With one, only
/// what it names, unless --scenarios is given as well. See benches/README.md.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "proxies",
    bin_name = "cargo bench --bench proxies --",
    no_binary_name = true
)]
pub struct Options {
    /// What answers: real servers, or a stand-in without a store, so that the proxy is what limits
    #[arg(long, value_enum, default_value = "redis")]
    pub backend: BackendKind,

    /// Measured rounds; each runs every proxy once, in turn, after a round that warms up [default: 5, or 3
    /// with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: Option<u32>,

    /// Which of the table: names with commas between; --list prints them [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub scenarios: Vec<String>,

    /// Print the names of the scenarios and exit
    #[arg(long)]
    pub list: bool,

    /// A quarter of the requests and fewer rounds: a rough picture in a few minutes
    #[arg(long)]
    pub quick: bool,

    /// Nuthatch with everything on against the leanest configuration
    #[arg(long)]
    pub features_ab: bool,

    /// Latency beside nutcracker: alone, with a slow shard, with a greedy client
    #[arg(long)]
    pub latency: bool,

    /// Cost per unit as work grows: all, or some of servers, clients, keys, value and depth
    #[arg(
        long,
        value_name = "AXES",
        value_delimiter = ',',
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "servers,clients,keys,value,depth"
    )]
    pub growth: Vec<Axis>,

    /// The program measured, instead of the one that cargo has just built
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_nuthatch"), hide_default_value = true)]
    pub nuthatch: PathBuf,

    /// A second build of Nuthatch, to compare the two
    #[arg(long, value_name = "PATH")]
    pub also: Option<PathBuf>,

    /// nutcracker, if it is not in PATH
    #[arg(long, value_name = "PATH")]
    pub nutcracker: Option<PathBuf>,

    #[arg(long, value_name = "PATH")]
    pub predixy: Option<PathBuf>,

    #[arg(long, value_name = "PATH")]
    pub envoy: Option<PathBuf>,

    /// Do not bind the proxy to the first processor and everything else to the last one
    #[arg(long)]
    pub no_pin: bool,

    /// Everything on one processor, as the serial scenario always is
    #[arg(long, conflicts_with = "no_pin")]
    pub one_cpu: bool,

    /// Write all runs there
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write what is printed there, as benches/results has it
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,

    /// Cargo gives it to every benchmark.
    #[arg(long, hide = true)]
    pub bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BackendKind {
    Redis,
    Stub,
}

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Axis {
    Servers,
    Clients,
    Keys,
    Value,
    Depth,
}

impl Options {
    /// Is the table of goals wanted?
    pub fn wants_table(&self) -> bool {
        let other = self.features_ab || self.latency || !self.growth.is_empty();
        !self.scenarios.is_empty() || !other
    }

    pub fn wants(&self, scenario: &str) -> bool {
        self.scenarios.is_empty() || self.scenarios.iter().any(|name| name == scenario)
    }

    pub fn rounds(&self) -> usize {
        let usual = if self.quick { 3 } else { 5 };
        self.runs.map_or(usual, |runs| runs as usize)
    }

    /// How many requests instead of `usual`, still a whole number of `step` and at least two of them.
    pub fn requests(&self, usual: u64, step: u64) -> u64 {
        let wanted = if self.quick { usual / 4 } else { usual };
        (wanted / step).max(2) * step
    }
}
