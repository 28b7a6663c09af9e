// A card per pool, the problems above them and the switches below.

// Rows of the failover history that are shown.
const SHOWN_SWITCHES = 200;
// Problems that are listed.
const SHOWN_PROBLEMS = 50;

const LIMITS = [
  ["protocol_errors", "Bad protocol", "Clients closed for malformed input, since the start"],
  ["client_refused", "Refused", "Clients refused because client_connections was reached, since the start"],
  ["client_paused", "Paused", "Times a client was not read from until it took its replies, since the start"],
  ["output_limit_closed", "Output limit", "Clients closed because they left too many reply bytes unread, since the start"],
];

class PoolCard {
  constructor(pool) {
    this.root = el("section", "card pool");
    this.root.setAttribute("aria-label", `Pool ${pool.name}`);
    this.root.dataset.pool = pool.name;
    this.details = this.root.appendChild(el("details"));
    this.details.open = true;
    const summary = this.details.appendChild(el("summary"));
    summary.append(el("h2", "", pool.name));
    this.listen = summary.appendChild(el("span", "address"));
    this.state = summary.appendChild(el("span", "state"));
    this.brief = summary.appendChild(el("span", "brief"));
    this.figures = new Figures(this.details.appendChild(el("dl", "figures")));
    this.addFigures();
    this.addTable(pool);
    [this.commands, this.commandList] = this.addExtra("Commands/s");
    [this.sentinels, this.sentinelList] = this.addExtra("Sentinels");
    this.rows = new Map();
    this.chips = new Map();
    this.shares = new Map();
  }

  addFigures() {
    const add = (...args) => this.figures.add(...args);
    add("requests", "Requests/s", { line: "Requests per second in the last two minutes" });
    add("errors", "Errors/s", { alarm: true, hint: "Error replies of the proxy itself" });
    add("clients", "Clients");
    add("inFlight", "In flight", { hint: "Requests queued for or sent to servers" });
    add("held", "Held", { hint: "Requests that wait for a failover" });
    add("p99", "p99", { line: "99th percentile of the latency in the last two minutes", rule: true });
    for (const [name, title] of LATENCIES) if (name !== "p99") add(name, title);
    add("forward_error", "Errors", { rule: true, hint: "Error replies of the proxy itself, since the start" });
    for (const [name, title, tip] of LIMITS) add(name, title, { hint: tip });
  }

  addTable(pool) {
    const scroll = this.details.appendChild(el("div", "scroll"));
    // So that the keyboard can scroll it.
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", `Servers of ${pool.name}`);
    this.table = scroll.appendChild(cell("table", "table", "servers"));
    this.table.append(el("caption", "unseen", `Servers of ${pool.name}`), columnWidths(), tableHead());
    this.body = this.table.appendChild(cell("tbody", "rowgroup"));
  }

  addExtra(title) {
    const root = this.details.appendChild(el("div", "extra"));
    root.append(el("span", "title", title));
    return [root, root.appendChild(el("span", "list"))];
  }

  update(pool) {
    this.root.hidden = !pool.visible;
    if (!pool.visible) return;
    put(this.listen, pool.listen);
    const troubled = pool.servers.filter((server) => RANK[server.state.level] > 0);
    const level = troubled.reduce((worst, server) => (RANK[server.state.level] > RANK[worst] ? server.state.level : worst), "ok");
    classes(this.state, `state ${level}`);
    const of = plural(pool.servers.length, "server");
    put(this.state, troubled.length === 0 ? of : `${troubled.length} of ${of} in trouble`);
    put(this.brief, `${rate(pool.track.rate("requests"))} req/s`);
    this.brief.hidden = this.details.open;
    const drawn = this.details.open;
    if (drawn) this.updateFigures(pool);
    classes(this.table, pool.sentinels === null ? "servers no-sentinels" : "servers");
    const rows = pool.servers.map((server) => Object.assign(server, { drawn: drawn && server.visible }));
    reconcile(this.body, this.rows, rows, (server) => new ServerRow(server));
    this.commands.hidden = pool.classes.length === 0;
    reconcile(this.commandList, this.shares, pool.classes.map((name) => ({ key: name, value: pool.track.rate(name) })),
      (item) => new Share(item.key.slice("commands_".length)));
    this.sentinels.hidden = pool.sentinels === null;
    const chips = (pool.sentinels ?? []).map((sentinel, index) => ({ ...sentinel, key: `${index} ${sentinel.address}` }));
    reconcile(this.sentinelList, this.chips, chips, () => new SentinelChip());
  }

  updateFigures(pool) {
    const { figures } = this;
    const { track, latencies } = pool;
    figures.set("requests", track.rate("requests"), rate, track.requests);
    figures.set("errors", track.rate("errors"), rate);
    figures.set("clients", pool.clients, count);
    figures.set("inFlight", pool.inFlight, count);
    figures.set("held", pool.held, count);
    for (const [name] of LATENCIES) figures.set(name, latencies[name], latency, name === "p99" ? track.p99 : null);
    for (const name of ["forward_error", ...LIMITS.map(([limit]) => limit)]) figures.set(name, number(pool.stats, name), count);
  }
}

class Share {
  constructor(name) {
    this.root = el("span");
    this.root.append(el("span", "of", `${name} `));
    this.value = this.root.appendChild(el("span"));
  }

  update(item) {
    put(this.value, rate(item.value));
  }
}

class SentinelChip {
  constructor() {
    this.root = el("span");
    this.state = this.root.appendChild(el("span", "state"));
    this.address = this.state.appendChild(el("span", "address"));
    this.word = this.state.appendChild(el("span"));
  }

  update(sentinel) {
    classes(this.state, `state ${sentinel.up && !sentinel.tilt ? "ok" : "warn"}`);
    put(this.address, sentinel.address);
    put(this.word, sentinel.tilt ? "tilt" : sentinel.up ? "" : "not up");
    hint(this.root, [sentinel.configured ? "from the configuration" : "learned from another sentinel", sentinel.problem].filter(Boolean).join("; "));
  }
}

class ProblemLine {
  constructor(problem) {
    this.root = el("li");
    this.root.append(el("span", `state ${problem.level} name`, `${problem.pool} / ${problem.name}`));
    this.text = this.root.appendChild(el("span"));
  }

  update(problem) {
    put(this.text, problem.text);
  }
}

class SwitchRow {
  constructor(event) {
    this.root = cell("tr", "row");
    this.root.dataset.switch = event.server;
    const [when, ago] = [el("span", "", clock(event.at_ms)), el("span", "muted")];
    this.ago = ago;
    this.add("When", "wide full").append(when, ago);
    this.add("Pool", "wide", event.pool);
    this.add("Server", "wide", event.server);
    this.add("From", "address wide", event.from);
    this.add("To", "address wide", event.to);
    this.add("Learned by", "wide", event.via);
    this.add("Sentinel", "address wide", event.sentinel ?? NONE);
    this.add("Epoch", "n", event.epoch == null ? NONE : String(event.epoch));
    this.add("Held", "n", millis(event.held_ms));
    this.add("Decided in", "n", millis(event.announced_to_decided_ms));
    this.add("Verified in", "n", millis(event.decided_to_verified_ms));
  }

  add(label, className, text = "") {
    const node = this.root.appendChild(cell("td", "cell", className, text));
    node.dataset.label = label;
    return node;
  }

  update(event) {
    this.root.hidden = !event.visible;
    put(this.ago, `  ${span(event.ago)} ago`);
  }
}
