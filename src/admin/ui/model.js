// From the two reports to what is shown: rates, states, problems. Knows no document.

// Samples in a sparkline: two minutes.
const SAMPLES = 120;
// A longer pause than this, in seconds, is a gap in the sparklines.
const GAP = 5;
// A server is called failing for as long after its last error, in seconds.
const TROUBLE = 10;

// What is remembered of one pool or server from sample to sample.
class Track {
  constructor() {
    this.before = null;
    this.at = 0;
    this.rates = {};
    this.requests = [];
    this.p99 = [];
    this.troubled = -Infinity;
  }

  forget() {
    this.before = null;
  }

  // `counters`: name to value or null; `at`: seconds on a clock that never goes back.
  add(counters, p99, at) {
    const before = this.before;
    const elapsed = at - this.at;
    // A counter that fell has begun anew, and the others with it.
    const anew = before === null || elapsed <= 0
      || Object.keys(counters).some((name) => (before[name] ?? 0) > (counters[name] ?? 0));
    this.rates = {};
    for (const [name, value] of Object.entries(counters)) {
      const known = !anew && value !== null && (before[name] ?? null) !== null;
      this.rates[name] = known ? (value - before[name]) / elapsed : null;
    }
    if (this.requests.length > 0 && elapsed > GAP) this.push(null, null);
    this.push(this.rate("requests"), p99 || null);
    if (this.rate("errors") > 0) this.troubled = at;
    this.before = counters;
    this.at = at;
  }

  push(requests, p99) {
    for (const [series, value] of [[this.requests, requests], [this.p99, p99]]) {
      series.push(value);
      if (series.length > SAMPLES) series.shift();
    }
  }

  rate(name) {
    return this.rates[name] ?? null;
  }
}

class Model {
  constructor() {
    this.tracks = new Map();
    this.started = null;
  }

  // `at`: when the reports came, in seconds on a clock that never goes back.
  digest(stats, topology, at) {
    const uptime = number(stats, "uptime");
    this.noticeRestart(number(stats, "timestamp"), uptime);
    const used = new Set();
    const pools = topology.pools.map((pool) => this.pool(pool, record(stats, pool.name), topology.timestamp_ms, at, used)).sort(byName);
    for (const key of this.tracks.keys()) if (!used.has(key)) this.tracks.delete(key);
    const total = (value) => sum(pools.map(value));
    return {
      version: own(stats, "version"),
      source: own(stats, "source"),
      uptime,
      workers: number(stats, "workers"),
      buffered: number(stats, "buffered_bytes"),
      resident: number(stats, "resident_bytes"),
      clients: total((pool) => pool.clients),
      requests: total((pool) => pool.track.rate("requests")),
      errors: total((pool) => pool.track.rate("errors")),
      inFlight: total((pool) => pool.inFlight),
      now: topology.timestamp_ms,
      pools,
      switches: pools.flatMap((pool) => pool.servers.flatMap((server) => server.switches)).sort((a, b) => b.at_ms - a.at_ms),
      problems: pools.flatMap((pool) => pool.problems).sort((a, b) => RANK[b.level] - RANK[a.level]),
    };
  }

  // Both are whole seconds of their own rounding.
  noticeRestart(timestamp, uptime) {
    const started = timestamp === null || uptime === null ? null : timestamp - uptime;
    if (this.started !== null && (started === null || Math.abs(started - this.started) > 2)) {
      for (const track of this.tracks.values()) track.forget();
    }
    this.started = started;
  }

  track(key, used, counters, p99, at) {
    used.add(key);
    if (!this.tracks.has(key)) this.tracks.set(key, new Track());
    const track = this.tracks.get(key);
    track.add(counters, p99, at);
    return track;
  }

  pool(pool, stats, now, at, used) {
    const servers = pool.servers.map((server) => this.server(pool, server, record(stats, server.name), now, at, used)).sort(byName);
    const classes = Object.keys(stats).filter((name) => name.startsWith("commands_") && number(stats, name) !== null);
    const counters = { requests: number(stats, "client_requests"), errors: number(stats, "forward_error") };
    for (const name of ["fragments", ...classes]) counters[name] = number(stats, name);
    const latencies = latencyOf(stats);
    const sentinels = pool.sentinels ?? null;
    return {
      key: JSON.stringify([pool.name]),
      name: pool.name,
      listen: pool.listen ?? "",
      stats,
      latencies,
      track: this.track(JSON.stringify([pool.name]), used, counters, latencies.p99, at),
      classes,
      servers,
      sentinels,
      clients: number(stats, "client_connections"),
      inFlight: sum(servers.map((server) => sum([server.inQueue, server.outQueue]))),
      held: sum(servers.map((server) => server.held)),
      problems: problemsOf(pool.name, servers, sentinels ?? []),
    };
  }

  server(pool, server, stats, now, at, used) {
    const key = JSON.stringify([pool.name, server.name]);
    const errors = sum([number(stats, "server_err"), number(stats, "server_timedout")]);
    const counters = { errors };
    for (const name of ["requests", "responses", "request_bytes", "response_bytes"]) counters[name] = number(stats, name);
    const latencies = latencyOf(stats);
    const shown = {
      key,
      pool: pool.name,
      name: server.name,
      address: server.address,
      endpoint: server.endpoint,
      source: server.phase !== undefined ? "Sentinel" : server.address === server.endpoint ? "fixed" : "resolved",
      since: server.since_ms == null ? null : (now - server.since_ms) / 1000,
      epoch: server.epoch ?? null,
      stats,
      errors,
      latencies,
      track: this.track(key, used, counters, latencies.p99, at),
      connections: number(stats, "server_connections"),
      inQueue: number(stats, "in_queue"),
      outQueue: number(stats, "out_queue"),
      held: number(stats, "held"),
      opinion: server.views === undefined ? null : opinionOf(server),
      switches: switchesOf(pool.name, server),
    };
    shown.state = stateOf(server, shown, now, at);
    shown.words = [pool.name, server.name, server.address, server.endpoint, shown.state.text, shown.source].join(" ").toLowerCase();
    return shown;
  }
}

function latencyOf(stats) {
  const value = (name) => number(stats, `latency_${name}_us`);
  return { p50: value("p50"), p99: value("p99"), p999: value("p999"), max: value("max") };
}

// The reports keep twemproxy's order, in which nobody finds anything.
const ORDER = new Intl.Collator("en", { numeric: true });
const byName = (a, b) => ORDER.compare(a.name, b.name);

const RANK = { off: 0, ok: 0, warn: 1, bad: 2 };

// The most telling first. `note` says more, `text` is one or two words.
function stateOf(server, shown, now, at) {
  const state = (level, text, note = "") => ({ level, text, note });
  const held = shown.held > 0 ? plural(shown.held, "request") : "no request";
  if (server.phase === "held") {
    const ends = server.hold_ends_in_ms === null ? "" : `, at most ${millis(server.hold_ends_in_ms)} more`;
    const towards = server.candidate ? ` for ${server.candidate}` : "";
    return state("warn", "held", `${held} waiting${towards}${ends}`);
  }
  if (server.endpoint.startsWith("no master")) return state("bad", "no master", server.endpoint);
  if (server.ejected) {
    const since = number(shown.stats, "server_ejected_at");
    return state("bad", "ejected", since ? `${span((now - since / 1000) / 1000)} ago` : "");
  }
  if (server.endpoint.endsWith("(no address yet)")) return state("bad", "no address", server.endpoint);
  const troubled = at - shown.track.troubled < TROUBLE;
  if (troubled && !shown.connections) return state("bad", "failing", "no connection, errors in the last seconds");
  if (server.phase === "verifying") return state("warn", "verifying", `asking ${server.candidate} whether it is a master`);
  if (server.phase === "unknown") return state("warn", "unknown", "no sentinel knows this master");
  if (server.phase === "suspect") return state("warn", "suspect", "somebody doubts this master");
  if (server.phase === "init") return state("warn", "starting", "no word of a sentinel yet");
  if (troubled) return state("warn", "errors", "errors in the last seconds");
  return shown.connections ? state("ok", "up") : state("off", "idle", "no connection, none was needed");
}

// What the sentinels say of a server's master.
function opinionOf(server) {
  const asked = server.views.filter((view) => view.reachable);
  const agreeing = asked.filter((view) => view.agrees === true);
  const differing = asked.filter((view) => view.agrees === false);
  const down = asked.filter((view) => view.down);
  const text = `${agreeing.length}/${server.views.length}`;
  const say = (view) => `${view.sentinel} says ${view.address}`
    + (view.epoch == null ? "" : ` (epoch ${view.epoch})`);
  const notes = differing.map(say);
  for (const view of down) notes.push(`${view.sentinel} says that it is down`);
  for (const view of asked) if (view.failover_in_progress) notes.push(`${view.sentinel} sees a failover in progress`);
  const level = differing.length > 0 || down.length > 0 ? "warn" : agreeing.length < server.views.length ? "off" : "ok";
  return { text, level, notes };
}

// The first master found is no failover.
function switchesOf(pool, server) {
  const history = server.history ?? [];
  const first = (server.switches ?? 0) - history.length;
  return history
    .map((event, index) => ({ ...event, pool, server: server.name, key: JSON.stringify([pool, server.name, first + index]) }))
    .filter((event) => event.from !== null)
    .map((event) => ({ ...event, words: [pool, server.name, event.from, event.to].join(" ").toLowerCase() }));
}

function problemsOf(pool, servers, sentinels) {
  const problems = [];
  const add = (kind, level, name, text) => problems.push({ key: JSON.stringify([pool, name, kind]), level, pool, name, text });
  for (const { name, state, opinion } of servers) {
    const text = state.note.startsWith(state.text) ? state.note : [state.text, state.note].filter(Boolean).join(": ");
    if (RANK[state.level] > 0) add("state", state.level, name, text);
    if (opinion?.level === "warn") add("opinion", "warn", name, opinion.notes.join("; "));
  }
  for (const sentinel of sentinels) {
    if (!sentinel.up) add("sentinel", "warn", sentinel.address, `sentinel is not up: ${sentinel.problem ?? "not connected"}`);
    else if (sentinel.tilt) add("sentinel", "warn", sentinel.address, "sentinel is in tilt mode");
  }
  return problems;
}
