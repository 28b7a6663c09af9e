//! Failovers one after the other: nothing is lost, and nothing accumulates.

use std::fs;
use std::time::Instant;

use crate::scene::{load, moment, start, switches};
use crate::sentinel::Cluster;
use crate::support::Proxy;

/// How many, unless `NUTHATCH_FAILOVERS` says otherwise.
const FAILOVERS: usize = 6;

/// After so many, everything that is allocated once has been.
const WARM: usize = 4;

struct Usage {
    files: usize,
    threads: usize,
    resident_kb: usize,
}

fn usage(proxy: &Proxy) -> Usage {
    let count = |what: &str| {
        let entries = fs::read_dir(format!("/proc/{}/{what}", proxy.pid()));
        entries.expect("the proxy runs").count()
    };
    let status = fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    Usage {
        files: count("fd"),
        threads: count("task"),
        resident_kb: resident.expect("a size"),
    }
}

#[test]
fn failovers_in_a_row_lose_nothing_and_leave_nothing_behind() {
    let wanted = std::env::var("NUTHATCH_FAILOVERS").ok();
    let failovers = wanted.map_or(FAILOVERS, |n| {
        n.parse().expect("NUTHATCH_FAILOVERS is a number")
    });
    let cluster = Cluster::build().patient().hasty().start();
    let proxy = start(cluster.pool());
    let writers = load(&cluster, &proxy);
    let mut warm = None;
    for n in 0..failovers {
        let shard = n % 2;
        let before = cluster.settle(shard);
        cluster.wait_replica(shard, 1 - before);
        cluster.wait_acquainted(shard);
        let begin = Instant::now();
        cluster.failover(shard);
        cluster.wait_switch(shard, begin);
        if n + 1 == WARM {
            moment();
            warm = Some(usage(&proxy));
        }
    }
    moment();
    let end = usage(&proxy);
    let report = writers.finish(&cluster);
    report.assert_sound();
    for shard in 0..2 {
        report.assert_no_errors(shard);
        assert_eq!(report.lost(shard), 0, "{report}");
        let done = switches(&proxy, cluster.name(shard)) as usize;
        assert_eq!(done, (failovers + 1 - shard) / 2, "{}", proxy.log());
    }
    if let Some(warm) = warm {
        eprintln!(
            "{failovers} failovers: {} -> {} files, {} -> {} threads, {} -> {} kB",
            warm.files, end.files, warm.threads, end.threads, warm.resident_kb, end.resident_kb
        );
        // Connections to a former master may still be closing.
        assert!(
            end.files <= warm.files + 4,
            "{} -> {} files",
            warm.files,
            end.files
        );
        assert!(end.threads <= warm.threads + 1);
        assert!(end.resident_kb <= warm.resident_kb + 8 * 1024);
    }
}
