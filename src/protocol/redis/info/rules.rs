//! What becomes of each field of INFO, by its section and name. The fields are those of Redis 7 and 8
//! (`server.c`, `genRedisInfoString`); one that is not known goes the way of its section.

/// How the values of several servers become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// It says something of one process or address only.
    Drop,
    /// The proxy's answer, whatever the servers say.
    Is(&'static str),
    /// The number of the proxy's clients: the servers' are its connections.
    Clients,
    /// The value all have; none if they differ.
    Same,
    /// Added up; in `a=1,b=2` each by itself. What is no number: [`Rule::Same`].
    Sum,
    /// The smallest, likewise.
    Least,
    /// The largest, likewise.
    Most,
    /// Added up, where 0 means that there is no limit.
    Limit,
    /// The lowest version.
    Version,
    /// `ok` unless one says otherwise.
    Status,
    /// Every different value, in a line of its own.
    Distinct,
    /// A line of Commandstats: [`Rule::Sum`] and the mean of what was added up.
    Calls,
    /// A line of Keyspace: [`Rule::Sum`], and `avg_ttl` weighted by the keys that have one.
    Keys,
    /// A number of bytes for people, of the merged field without `_human`.
    Human,
    /// The quotient of two merged fields.
    Ratio(&'static str, &'static str),
    /// As a percentage.
    Percent(&'static str, &'static str),
    /// `used_memory_dataset_perc`: as [`Rule::Percent`], of what is used without `used_memory_startup`.
    Dataset,
}

pub(super) fn rule(section: &str, key: &str) -> Rule {
    let (known, others): (&[(&str, Rule)], Rule) = match section {
        "Server" => (SERVER, Rule::Same),
        "Clients" => (CLIENTS, Rule::Sum),
        "Memory" => (MEMORY, Rule::Sum),
        "Persistence" => (PERSISTENCE, Rule::Most),
        "Stats" => (STATS, Rule::Sum),
        "Replication" => (REPLICATION, Rule::Drop),
        "Modules" => (&[], Rule::Distinct),
        "Commandstats" => (&[], Rule::Calls),
        "Latencystats" => (&[], Rule::Most),
        "Cluster" => (CLUSTER, Rule::Drop),
        "Keyspace" => (&[], Rule::Keys),
        _ => (&[], Rule::Sum),
    };
    match known.iter().find(|(name, _)| *name == key) {
        Some((_, rule)) => *rule,
        None if key.ends_with("_human") => Rule::Human,
        None if section == "Server" && key.starts_with("listener") => Rule::Drop,
        None => others,
    }
}

const SERVER: &[(&str, Rule)] = &[
    ("redis_version", Rule::Version),
    ("valkey_version", Rule::Version),
    ("redis_mode", Rule::Is("standalone")),
    ("server_mode", Rule::Is("standalone")),
    ("process_id", Rule::Drop),
    ("process_supervised", Rule::Drop),
    ("run_id", Rule::Drop),
    ("tcp_port", Rule::Drop),
    ("executable", Rule::Drop),
    ("config_file", Rule::Drop),
    ("server_time_usec", Rule::Most),
    ("uptime_in_seconds", Rule::Least),
    ("uptime_in_days", Rule::Least),
    ("hz", Rule::Most),
    ("configured_hz", Rule::Most),
    ("lru_clock", Rule::Most),
    ("io_threads_active", Rule::Most),
];

const CLIENTS: &[(&str, Rule)] = &[
    ("connected_clients", Rule::Clients),
    ("client_recent_max_input_buffer", Rule::Most),
    ("client_recent_max_output_buffer", Rule::Most),
];

const MEMORY: &[(&str, Rule)] = &[
    ("used_memory_peak_time", Rule::Most),
    (
        "used_memory_peak_perc",
        Rule::Percent("used_memory", "used_memory_peak"),
    ),
    ("used_memory_dataset_perc", Rule::Dataset),
    ("maxmemory", Rule::Limit),
    ("maxmemory_policy", Rule::Same),
    (
        "allocator_frag_ratio",
        Rule::Ratio("allocator_active", "allocator_allocated"),
    ),
    (
        "allocator_rss_ratio",
        Rule::Ratio("allocator_resident", "allocator_active"),
    ),
    (
        "rss_overhead_ratio",
        Rule::Ratio("used_memory_rss", "allocator_resident"),
    ),
    (
        "mem_fragmentation_ratio",
        Rule::Ratio("used_memory_rss", "used_memory"),
    ),
    // Every server has the same ones.
    ("number_of_cached_scripts", Rule::Most),
    ("number_of_functions", Rule::Most),
    ("number_of_libraries", Rule::Most),
    ("active_defrag_running", Rule::Most),
];

const PERSISTENCE: &[(&str, Rule)] = &[
    ("loading_start_time", Rule::Least),
    ("loading_total_bytes", Rule::Sum),
    ("loading_rdb_used_mem", Rule::Sum),
    ("loading_loaded_bytes", Rule::Sum),
    ("loading_loaded_perc", Rule::Least),
    ("current_cow_peak", Rule::Sum),
    ("current_cow_size", Rule::Sum),
    ("current_save_keys_processed", Rule::Sum),
    ("current_save_keys_total", Rule::Sum),
    ("rdb_changes_since_last_save", Rule::Sum),
    ("rdb_last_save_time", Rule::Least),
    ("rdb_last_bgsave_status", Rule::Status),
    ("rdb_saves", Rule::Sum),
    ("rdb_saves_consecutive_failures", Rule::Sum),
    ("rdb_last_cow_size", Rule::Sum),
    ("rdb_last_load_keys_expired", Rule::Sum),
    ("rdb_last_load_keys_loaded", Rule::Sum),
    ("aof_last_bgrewrite_status", Rule::Status),
    ("aof_last_write_status", Rule::Status),
    ("aof_rewrites", Rule::Sum),
    ("aof_rewrites_consecutive_failures", Rule::Sum),
    ("aof_last_cow_size", Rule::Sum),
    ("aof_current_size", Rule::Sum),
    ("aof_base_size", Rule::Sum),
    ("aof_buffer_length", Rule::Sum),
    ("aof_pending_bio_fsync", Rule::Sum),
    ("aof_delayed_fsync", Rule::Sum),
    ("module_fork_last_cow_size", Rule::Sum),
];

const STATS: &[(&str, Rule)] = &[
    ("expired_stale_perc", Rule::Most),
    ("current_eviction_exceeded_time", Rule::Most),
    ("current_active_defrag_time", Rule::Most),
    ("latest_fork_usec", Rule::Most),
    // A pattern is a subscription to every server, a channel to one.
    ("pubsub_patterns", Rule::Most),
];

const REPLICATION: &[(&str, Rule)] = &[
    ("role", Rule::Is("master")),
    ("connected_slaves", Rule::Sum),
    ("master_failover_state", Rule::Same),
];

const CLUSTER: &[(&str, Rule)] = &[("cluster_enabled", Rule::Is("0"))];
