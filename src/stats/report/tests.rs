use serde_json::{Map, Value, json};

use super::*;
use crate::stats::PoolNames;

const ORIGIN: Origin<'static> = Origin {
    source: "host1",
    uptime: Duration::from_millis(61_900),
    timestamp: Duration::from_millis(1_795_235_584_900),
    places: &[],
};

const POOL_NAMES: [&str; 6] = [
    "client_eof",
    "client_err",
    "client_connections",
    "server_ejects",
    "forward_error",
    "fragments",
];

const SERVER_NAMES: [&str; 13] = [
    "server_eof",
    "server_err",
    "server_timedout",
    "server_connections",
    "server_ejected_at",
    "requests",
    "request_bytes",
    "responses",
    "response_bytes",
    "in_queue",
    "in_queue_bytes",
    "out_queue",
    "out_queue_bytes",
];

fn stats(pools: &[(&str, &[&str])], workers: usize) -> Stats {
    let names = pools.iter().enumerate();
    let names = names.map(|(slot, (name, servers))| PoolNames::numbered(slot, name, servers));
    Stats::new(names.collect(), workers)
}

fn parsed(stats: &Stats) -> Value {
    serde_json::from_str(&json(stats, ORIGIN)).expect("valid JSON")
}

/// The keys of an object in the order of the text, which `Value` does not keep. `text` is the inside of
/// an object without objects in it.
fn keys(text: &str) -> Vec<&str> {
    let pairs = text.split(", ").filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once(':').expect("a pair");
            value.parse::<u64>().expect("a number");
            key.trim_matches('"')
        })
        .collect()
}

#[test]
fn text_has_twemproxys_order_and_spacing() {
    let text = json(
        &stats(&[("be", &["s1", "s2"]), ("alpha", &["s1"])], 2),
        ORIGIN,
    );
    let version = env!("CARGO_PKG_VERSION");
    let head = format!(
        r#"{{"service":"nuthatch", "source":"host1", "version":"{version}", "uptime":61, "timestamp":1795235584, "total_connections":2, "curr_connections":2, "#
    );
    let rest = text.strip_prefix(&head).expect(&text);
    let (header, rest) = rest.split_once(r#", "be": {"#).expect(rest);
    let header = header
        .strip_suffix(r#", "server_addresses":[]"#)
        .expect(header);
    assert_eq!(
        keys(header),
        [
            "workers",
            "topology_version",
            "config_generation",
            "config_reloads",
            "config_reload_failures",
            "config_loaded_at",
            "buffered_bytes",
            "resident_bytes",
            "memory_limit_bytes",
            "open_files_limit",
            "log_lines_dropped"
        ]
    );

    let (pool, rest) = rest.split_once(r#", "s1": {"#).expect(rest);
    assert_eq!(keys(pool)[..6], POOL_NAMES);
    let (server, rest) = rest.split_once(r#"},"s2": {"#).expect(rest);
    assert_eq!(keys(server)[..13], SERVER_NAMES);
    let (server, rest) = rest.split_once(r#"}},"alpha": {"#).expect(rest);
    assert_eq!(keys(server)[..13], SERVER_NAMES);
    let (_, rest) = rest.split_once(r#", "s1": {"#).expect(rest);
    let server = rest.strip_suffix("}}}").expect(rest);
    assert_eq!(keys(server)[..13], SERVER_NAMES);
    assert!(!text.contains('\n'));
}

/// Sets each counter to its own number, so that a metric wired to a neighbour's counter shows.
#[test]
fn every_value_is_its_own_counter_summed_over_workers() {
    let stats = stats(&[("p", &["a", "b"])], 2);
    for (w, worker) in stats.workers.iter().enumerate() {
        let tens = 10_u64.pow(w as u32 + 3);
        worker.buffered_bytes.set(tens);
        let pool = &worker.pools[0];
        pool.client_eof.set(tens + 1);
        pool.client_err.set(tens + 2);
        pool.client_connections.set(tens + 3);
        pool.forward_error.set(tens + 4);
        pool.fragments.set(tens + 5);
        pool.client_requests.set(tens + 6);
        pool.protocol_errors.set(tens + 7);
        pool.output_limit_closed.set(tens + 8);
        pool.client_paused.set(tens + 9);
        pool.proxy_protocol_errors.set(tens + 16);
        pool.slow_requests.set(tens + 10);
        pool.requests_denied.set(tens + 17);
        pool.max_request_bytes_hit.set(tens + 11);
        pool.max_arguments_hit.set(tens + 12);
        pool.client_pending_limit_hit.set(tens + 13);
        pool.client_output_limit_hit.set(tens + 14);
        pool.max_memory_hit.set(tens + 15);
        for (class, counter) in (100..).zip(&pool.commands) {
            counter.set(tens + class);
        }
        pool.latency.record(10 + w as u32, 3);
        let server = &pool.servers[1];
        server.server_eof.set(tens + 1);
        server.server_err.set(tens + 2);
        server.server_timedout.set(tens + 3);
        server.server_connections.set(tens + 4);
        server.requests.set(tens + 5);
        server.request_bytes.set(tens + 6);
        server.responses.set(tens + 7);
        server.response_bytes.set(tens + 8);
        server.in_queue.set(tens + 9);
        server.in_queue_bytes.set(tens + 10);
        server.out_queue.set(tens + 11);
        server.out_queue_bytes.set(tens + 12);
        server.held.set(tens + 13);
        server.held_bytes.set(tens + 14);
        server.resent.set(tens + 15);
        server.resubscribed.set(tens + 23);
        server.bounced.set(tens + 16);
        server.connect_failures.set(tens + 22);
        server.slow_requests.set(tens + 17);
        server.failed.set(tens + 18);
        server.rejected.set(tens + 19);
        server.hold_requests_hit.set(tens + 20);
        server.hold_bytes_hit.set(tens + 21);
        for (kind, counter) in (100..).zip(&server.errors) {
            counter.set(tens + kind);
        }
        server.latency.record(20 + w as u32, 5);
    }
    let control = &stats.control;
    control.total_connections.set(5);
    control.topology_version.set(6);
    control.pools[0].server_ejects.set(7);
    control.pools[0].server_returns.set(8);
    control.pools[0].client_refused.set(9);
    control.pools[0].servers[1].ejects.set(10);
    control.pools[0].servers[1].returns.set(11);
    control.pools[0].servers[1].server_ejected_at.set(12);
    control.pools[0].servers[1].switches.set(13);
    control.pools[0].servers[1].holds.set(14);
    control.pools[0].sentinels_up.set(15);
    control.pools[0].sentinels_known.set(16);
    control.pools[0].client_connections_hit.set(17);
    control.pools[0].open_files_hit.set(18);
    control.pools[0].listening.set(25);
    control.pools[0].servers[1].ejected.set(19);
    control.pools[0].servers[1].held_now.set(20);
    control.pools[0].servers[1].sentinel_managed.set(21);
    control.resident_bytes.set(22);
    control.memory_limit_bytes.set(23);
    control.open_files_limit.set(24);
    assert_eq!(stats.held(0, 1), (11_026, 11_028));

    let mut report = parsed(&stats);
    let mut pool = report["p"].take();
    let mut server = pool["b"].take();
    // One more than the macro takes.
    let resubscribed = server
        .as_object_mut()
        .expect("a server")
        .remove("resubscribed");
    assert_eq!(resubscribed, Some(json!(11_046)));
    assert_eq!(
        server,
        json!({
            "server_eof": 11_002, "server_err": 11_004, "server_timedout": 11_006,
            "server_connections": 11_008, "server_ejected_at": 12,
            "requests": 11_010, "request_bytes": 11_012,
            "responses": 11_014, "response_bytes": 11_016,
            "in_queue": 11_018, "in_queue_bytes": 11_020,
            "out_queue": 11_022, "out_queue_bytes": 11_024,
            "server_ejects": 10, "server_returns": 11, "switches": 13, "holds": 14,
            "held": 11_026, "held_bytes": 11_028, "resent": 11_030, "bounced": 11_032,
            "connect_failures": 11_044,
            "slow_requests": 11_034, "failed": 11_036, "rejected": 11_038,
            "errors_timeout": 11_200, "errors_connect": 11_202, "errors_lost": 11_204,
            "errors_no_master": 11_206, "errors_limit": 11_208,
            "hold_requests_hit": 11_040, "hold_bytes_hit": 11_042,
            "ejected": 19, "held_now": 20, "sentinel_managed": 21,
            "latency_p50_us": 20, "latency_p99_us": 21, "latency_p999_us": 21,
            "latency_max_us": 21, "latency_count": 10, "latency_sum_us": 205,
        })
    );
    let idle = pool["a"].take();
    let idle = idle.as_object().expect("a server");
    assert_eq!(idle.len(), SERVER.len() + LATENCY.len());
    assert!(idle.values().all(|value| value == 0), "{idle:?}");
    let commands = POOL.iter().map(|metric| metric.name);
    let commands = commands.filter(|name| name.starts_with("commands_"));
    for (class, name) in (100..).zip(commands) {
        let value = pool.as_object_mut().and_then(|pool| pool.remove(name));
        assert_eq!(value, Some(json!(11_000 + 2 * class)), "{name}");
    }
    assert_eq!(
        pool,
        json!({
            "client_eof": 11_002, "client_err": 11_004, "client_connections": 11_006,
            "server_ejects": 7, "forward_error": 11_008, "fragments": 11_010,
            "server_returns": 8, "client_requests": 11_012, "client_refused": 9,
            "client_paused": 11_018, "output_limit_closed": 11_016, "protocol_errors": 11_014,
            "proxy_protocol_errors": 11_032,
            "sentinels_up": 15, "sentinels_known": 16, "listening": 25,
            "requests_denied": 11_034, "slow_requests": 11_020,
            "max_request_bytes_hit": 11_022, "max_arguments_hit": 11_024,
            "client_pending_limit_hit": 11_026, "client_output_limit_hit": 11_028,
            "max_memory_hit": 11_030, "client_connections_hit": 17, "open_files_hit": 18,
            "latency_p50_us": 10, "latency_p99_us": 11, "latency_p999_us": 11,
            "latency_max_us": 11, "latency_count": 6, "latency_sum_us": 63,
            "a": null, "b": null,
        })
    );
    assert_eq!(report["workers"], 2);
    assert_eq!(report["topology_version"], 6);
    assert_eq!(report["buffered_bytes"], 11_000);
    assert_eq!(report["resident_bytes"], 22);
    assert_eq!(report["memory_limit_bytes"], 23);
    assert_eq!(report["open_files_limit"], 24);
    // One listener, 11006 clients, 11008 servers.
    assert_eq!(report["curr_connections"], 1 + 11_006 + 11_008);
    // One listener, 5 clients, all servers: open, eof, err, timed out.
    let servers = 11_008 + 11_002 + 11_004 + 11_006;
    assert_eq!(report["total_connections"], 1 + 5 + servers);
}

#[test]
fn a_gauge_taken_below_zero_stays_zero() {
    let stats = stats(&[("p", &["s"])], 1);
    let gauge = &stats.workers[0].pools[0].servers[0].server_connections;
    gauge.add(1);
    gauge.sub(2);
    assert_eq!(parsed(&stats)["p"]["s"]["server_connections"], 0);
}

#[test]
fn names_are_escaped() {
    let pool = "a\"b\\c";
    let server = "line\nbreak\u{1}\u{e9}\u{1f426}";
    let stats = stats(&[(pool, &[server])], 1);
    let place = Place {
        pool: pool.to_owned(),
        server: server.to_owned(),
        address: "no master (\"down\")".to_owned(),
        role_source: "sentinel",
    };
    let origin = Origin {
        source: "ho\"st",
        places: &[place],
        ..ORIGIN
    };
    let text = json(&stats, origin);
    let report: Value = serde_json::from_str(&text).expect(&text);
    assert_eq!(report["source"], "ho\"st");
    assert_eq!(report[pool][server]["requests"], 0);
    assert_eq!(
        report["server_addresses"],
        json!([{
            "pool": pool, "server": server,
            "address": "no master (\"down\")", "role_source": "sentinel",
        }])
    );
    assert!(!text.contains('\n'), "one line: {text}");
}

/// A parser keeps the last of two equal keys; the object must be that one.
#[test]
fn pools_and_servers_named_like_a_metric_are_found() {
    let stats = stats(&[("workers", &["requests", "fragments"])], 1);
    let report = parsed(&stats);
    assert!(report["workers"]["fragments"].is_object(), "{report}");
    assert!(report["workers"]["requests"].is_object(), "{report}");
}

#[test]
fn no_pools_and_no_workers_are_still_valid_json() {
    assert!(parsed(&stats(&[], 1)).is_object());
    let report = parsed(&stats(&[("p", &["s"])], 0));
    assert_eq!(report["p"]["s"]["requests"], 0);
}

/// The numbers of the JSON by name, objects and the header's hand-written part left out.
fn number_names(object: &Map<String, Value>) -> Vec<String> {
    let mut names: Vec<String> = object
        .iter()
        .filter(|(key, value)| value.is_u64() && !["uptime", "timestamp"].contains(&key.as_str()))
        .map(|(key, _)| key.clone())
        .collect();
    names.sort();
    names
}

#[test]
fn describe_lists_exactly_what_the_json_holds() {
    let text = describe();
    let mut sections = text.split("\n\n").map(|section| {
        let (title, lines) = section.split_once(":\n").expect("a title");
        let mut names: Vec<String> = lines
            .lines()
            .map(|line| {
                let (name, description) = line.trim_start().split_once('"').expect("a description");
                assert!(
                    description.len() > 1 && description.ends_with('"'),
                    "{line}"
                );
                name.trim_end().to_string()
            })
            .collect();
        names.sort();
        (title, names)
    });
    let report = parsed(&stats(&[("p", &["s"])], 1));
    let object = |value: &Value| number_names(value.as_object().expect("an object"));
    assert_eq!(sections.next(), Some(("pool stats", object(&report["p"]))));
    let server = object(&report["p"]["s"]);
    assert_eq!(sections.next(), Some(("server stats", server)));
    assert_eq!(sections.next(), Some(("process stats", object(&report))));
    assert_eq!(sections.next(), None);
}

/// `-D` has columns: a description never touches its name.
#[test]
fn long_names_keep_their_distance_from_the_description() {
    let line =
        "  client_pending_limit_hit \"# times a client was paused at client_pending_limit\"\n";
    assert!(describe().contains(line), "{}", describe());
}

#[test]
fn describe_begins_each_list_with_twemproxys_lines() {
    let text = describe();
    let pool = "pool stats:
  client_eof          \"# eof on client connections\"
  client_err          \"# errors on client connections\"
  client_connections  \"# active client connections\"
  server_ejects       \"# times backend server was ejected\"
  forward_error       \"# times we encountered a forwarding error\"
  fragments           \"# fragments created from a multi-vector request\"
";
    let server = "
server stats:
  server_eof          \"# eof on server connections\"
  server_err          \"# errors on server connections\"
  server_timedout     \"# timeouts on server connections\"
  server_connections  \"# active server connections\"
  server_ejected_at   \"timestamp when server was ejected in usec since epoch\"
  requests            \"# requests\"
  request_bytes       \"total request bytes\"
  responses           \"# responses\"
  response_bytes      \"total response bytes\"
  in_queue            \"# requests in incoming queue\"
  in_queue_bytes      \"current request bytes in incoming queue\"
  out_queue           \"# requests in outgoing queue\"
  out_queue_bytes     \"current request bytes in outgoing queue\"
";
    assert!(text.starts_with(pool), "{text}");
    assert!(text.contains(server), "{text}");
}
