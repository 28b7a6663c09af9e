// From what is to be shown to the document. All text goes in as text: names are whatever a file says.
const SVG = "http://www.w3.org/2000/svg";

function el(tag, className = "", text = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  return node;
}

function byId(id) {
  return document.getElementById(id);
}

// Writing what is there already would make the browser lay out anew.
function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function classes(node, className) {
  if (node.className !== className) node.className = className;
}

function hint(node, text) {
  if (node.title !== text) node.title = text;
}

// `views`: key to a view with `root` and `update(item)`; ends with one child per item, in their order.
function reconcile(parent, views, items, make) {
  const gone = new Set(views.keys());
  let next = parent.firstElementChild;
  for (const item of items) {
    gone.delete(item.key);
    if (!views.has(item.key)) views.set(item.key, make(item));
    const view = views.get(item.key);
    if (view.root === next) next = next.nextElementSibling;
    else parent.insertBefore(view.root, next);
    view.update(item);
  }
  for (const key of gone) {
    views.get(key).root.remove();
    views.delete(key);
  }
}

// A line of the last samples; one that is not known is a gap.
class Sparkline {
  constructor(label) {
    this.root = document.createElementNS(SVG, "svg");
    this.root.setAttribute("class", "line");
    this.root.setAttribute("viewBox", `0 0 ${SAMPLES - 1} 20`);
    this.root.setAttribute("preserveAspectRatio", "none");
    if (label) {
      this.root.setAttribute("role", "img");
      this.root.setAttribute("aria-label", label);
    } else {
      this.root.setAttribute("aria-hidden", "true");
    }
    this.area = this.root.appendChild(document.createElementNS(SVG, "path"));
    this.area.setAttribute("class", "area");
    this.line = this.root.appendChild(document.createElementNS(SVG, "path"));
  }

  update(values) {
    const top = Math.max(1e-9, ...values.map((value) => value ?? 0));
    let line = "";
    let area = "";
    let from = null;
    const offset = SAMPLES - values.length;
    for (let index = 0; index <= values.length; index += 1) {
      const x = offset + index;
      const value = index < values.length ? values[index] : null;
      if (value !== null) {
        const point = `${x} ${(19.5 - (value / top) * 19).toFixed(1)}`;
        line += from === null ? `M${point}` : `L${point}`;
        area += from === null ? `M${x} 20L${point}` : `L${point}`;
        from ??= x;
      } else if (from !== null) {
        area += `L${x - 1} 20Z`;
        from = null;
      }
    }
    this.line.setAttribute("d", line);
    this.area.setAttribute("d", area);
  }
}

// Named numbers side by side.
class Figures {
  constructor(root) {
    this.root = root;
    this.cells = new Map();
  }

  // `options.line`: a sparkline's description; `options.rule`: begins a group.
  add(name, label, options = {}) {
    const cell = el("div", [options.line ? "drawn" : "", options.rule ? "rule" : ""].join(" ").trim());
    const title = cell.appendChild(el("dt", "", label));
    if (options.hint) title.title = options.hint;
    const value = cell.appendChild(el("dd", "", NONE));
    value.dataset.figure = name;
    const line = options.line ? new Sparkline(options.line) : null;
    if (line) cell.append(line.root);
    this.root.append(cell);
    this.cells.set(name, { cell, value, line, base: cell.className, alarm: options.alarm });
  }

  set(name, value, format, values) {
    const { cell, value: node, line, base, alarm } = this.cells.get(name);
    put(node, format(value));
    const weight = value ? (alarm ? " alarm" : "") : " zero";
    classes(cell, (base + weight).trim());
    if (line && values) line.update(values);
  }

  show(name, visible) {
    this.cells.get(name).cell.hidden = !visible;
  }
}

const LATENCIES = [["p50", "p50"], ["p99", "p99"], ["p999", "p99.9"], ["max", "max"]];

// The columns of a pool's table after the server's name: class, heading, label on a small screen, and
// the width in pixels for numbers at their longest.
const COLUMNS = [
  { name: "state", title: "State", width: 94, className: "status" },
  { name: "endpoint", title: "Address", width: 152, className: "address wide", hint: "Where requests go now; below it the address in the configuration, if that is another" },
  { name: "source", title: "Given by", width: 112, className: "note wide", hint: "Who says so, and since when" },
  { name: "views", title: "Sentinels", width: 72, className: "views", hint: "How many of the sentinels name this address" },
  { name: "line", group: "Traffic per second", title: "last 2 min", width: 86, className: "edge", label: "2 min" },
  { name: "requests", group: "Traffic per second", title: "req", width: 44, className: "n", label: "req/s" },
  { name: "responses", group: "Traffic per second", title: "resp", width: 44, className: "n", label: "resp/s" },
  { name: "request_bytes", group: "Traffic per second", title: "sent", width: 60, className: "n", label: "sent/s" },
  { name: "response_bytes", group: "Traffic per second", title: "received", width: 60, className: "n", label: "recv/s" },
  ...LATENCIES.map(([name, title], index) => ({ name, group: "Latency", title, width: 63, className: index === 0 ? "n edge" : "n", label: title })),
  { name: "errors", group: "Errors", title: "per s", width: 46, className: "n edge", label: "errors/s" },
  { name: "allErrors", group: "Errors", title: "total", width: 46, className: "n", label: "errors" },
  { name: "inQueue", group: "In flight", title: "queued", width: 52, className: "n edge", label: "queued", hint: "Not sent yet" },
  { name: "outQueue", group: "In flight", title: "sent", width: 44, className: "n", label: "in flight", hint: "Sent, not answered yet" },
  { name: "connections", title: "Conn.", width: 52, className: "n edge", label: "conn.", hint: "Connections to the server" },
];

// A width for each column but the server's name, which gets the rest.
function columnWidths() {
  const group = el("colgroup");
  group.append(el("col"));
  for (const column of COLUMNS) {
    const node = group.appendChild(el("col", column.name === "views" ? "views" : ""));
    if (column.width) node.style.width = `${column.width}px`;
  }
  return group;
}

function cell(tag, role, className = "", text = "") {
  const node = el(tag, className, text);
  node.setAttribute("role", role);
  return node;
}

function heading(title, scope, className, tip) {
  const node = cell("th", "columnheader", className, title);
  node.scope = scope;
  if (tip) node.title = tip;
  return node;
}

// Two rows: columns of a group have the group above them.
function tableHead() {
  const head = cell("thead", "rowgroup");
  const [upper, lower] = [cell("tr", "row"), cell("tr", "row")];
  const first = heading("Server", "col");
  first.rowSpan = 2;
  upper.append(first);
  let last = null;
  for (const column of COLUMNS) {
    const numeric = column.className.includes("n ") || column.className === "n" ? "n" : "";
    const edge = column.className.includes("edge") ? "edge" : "";
    const place = [numeric, edge, column.name === "views" ? "views" : ""].join(" ").trim();
    if (!column.group) {
      const node = heading(column.title, "col", place, column.hint);
      node.rowSpan = 2;
      upper.append(node);
    } else {
      if (last?.dataset.group !== column.group) {
        last = upper.appendChild(heading(column.group, "colgroup", "group edge"));
        last.dataset.group = column.group;
        last.colSpan = COLUMNS.filter((other) => other.group === column.group).length;
      }
      lower.append(heading(column.title, "col", place, column.hint));
    }
  }
  head.append(upper, lower);
  return head;
}

class ServerRow {
  constructor(server) {
    this.root = cell("tr", "row");
    this.root.dataset.server = server.name;
    const name = this.root.appendChild(cell("th", "rowheader", "", server.name));
    name.scope = "row";
    name.title = server.name;
    this.cells = {};
    for (const column of COLUMNS) {
      const node = this.root.appendChild(cell("td", "cell", column.className));
      if (column.label) node.dataset.label = column.label;
      node.dataset.column = column.name;
      this.cells[column.name] = node;
    }
    this.line = new Sparkline("");
    this.cells.line.append(this.line.root);
    this.state = this.cells.state.appendChild(el("span", "state"));
    this.endpoint = this.cells.endpoint.appendChild(el("span"));
    this.address = this.cells.endpoint.appendChild(el("small"));
    this.source = this.cells.source.appendChild(el("span"));
    this.since = this.cells.source.appendChild(el("span", "muted"));
    this.views = this.cells.views.appendChild(el("span"));
  }

  update(server) {
    this.root.hidden = !server.visible;
    if (!server.drawn) return;
    const { track, state } = server;
    classes(this.root, RANK[state.level] > 0 ? state.level : "");
    classes(this.state, `state ${state.level}`);
    put(this.state, state.text);
    hint(this.cells.state, state.note);
    // Why there is none is among the problems, and would stretch the column.
    const none = server.endpoint.startsWith("no master") || server.endpoint.endsWith("(no address yet)");
    put(this.endpoint, none ? "none" : server.endpoint);
    put(this.address, server.address === server.endpoint ? "" : server.address);
    this.address.hidden = server.address === server.endpoint;
    hint(this.cells.endpoint, server.endpoint);
    put(this.source, server.source);
    put(this.since, server.since === null ? "" : `, ${age(server.since)}`);
    hint(this.cells.source, server.epoch === null ? "" : `configuration epoch ${server.epoch}`);
    this.opinion(server.opinion);
    this.line.update(track.requests);
    for (const name of ["requests", "responses"]) this.number(name, track.rate(name), rate);
    for (const name of ["request_bytes", "response_bytes"]) this.number(name, track.rate(name), bytes);
    for (const [name] of LATENCIES) this.number(name, server.latencies[name], latency);
    for (const name of ["inQueue", "outQueue", "connections"]) this.number(name, server[name], count);
    this.number("errors", track.rate("errors"), rate, "alarm");
    this.number("allErrors", server.errors, count);
    const part = (name) => count(number(server.stats, name));
    hint(this.cells.allErrors, `${part("server_err")} connection errors, ${part("server_timedout")} timeouts, ${
      part("server_eof")} closed by the server (no error)`);
  }

  number(name, value, format, alarm = "") {
    const node = this.cells[name];
    put(node, format(value));
    node.classList.toggle("zero", !value);
    if (alarm) node.classList.toggle(alarm, value > 0);
  }

  opinion(opinion) {
    const { text, level, notes } = opinion ?? { text: NONE, level: "off", notes: [] };
    put(this.views, text);
    classes(this.views, level === "warn" ? "state warn" : "");
    hint(this.cells.views, notes.join("\n"));
  }
}
