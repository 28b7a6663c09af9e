// Asks for the reports, shows them, and says so when they do not come.

// Milliseconds from one answer to the next question; more if the answers themselves take long.
const PERIOD = 1000;
// Milliseconds an answer may take.
const PATIENCE = 5000;
// Milliseconds after which old data is called old.
const STALE = 3000;

const page = {
  model: new Model(),
  shown: null,
  answered: performance.now(),
  // Since when somebody looks: the time before that is no silence of the proxy.
  watched: performance.now(),
  failures: 0,
  reason: "",
  timer: 0,
  asking: false,
  pools: new Map(),
  problems: new Map(),
  switches: new Map(),
  totals: new Figures(byId("totals")),
};

for (const [name, label, options] of [
  ["requests", "Requests/s"], ["errors", "Errors/s", { alarm: true }], ["clients", "Clients"], ["inFlight", "In flight"],
  ["uptime", "Uptime"], ["workers", "Workers"], ["buffered", "Buffers"], ["resident", "Memory"],
]) page.totals.add(name, label, options);

async function get(path, signal) {
  let response;
  let text;
  try {
    response = await fetch(path, { signal, cache: "no-store" });
    text = await response.text();
  } catch {
    throw new Error("The proxy does not answer.");
  }
  if (!response.ok) throw new Error(`/${path} answers with status ${response.status}.`);
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`/${path} cannot be read.`);
  }
}

// What is no report must not take the last one from the screen.
function digest(stats, topology, at) {
  try {
    return page.model.digest(stats, topology, at / 1000);
  } catch (error) {
    throw new Error(`The answer cannot be shown: ${error.message}.`);
  }
}

// One question at a time; both reports are of about the same moment.
async function ask() {
  if (page.asking || document.hidden) return;
  page.asking = true;
  const begin = performance.now();
  const abort = new AbortController();
  const limit = setTimeout(() => abort.abort(), PATIENCE);
  try {
    const stats = await get("stats", abort.signal);
    const at = performance.now();
    const topology = await get("topology", abort.signal);
    page.shown = digest(stats, topology, at);
    page.answered = performance.now();
    page.failures = 0;
    show();
  } catch (error) {
    page.failures += 1;
    page.reason = error.message;
  } finally {
    clearTimeout(limit);
    page.asking = false;
    warn();
    const took = performance.now() - begin;
    schedule(page.failures === 1 ? 100 : Math.max(PERIOD - took, 3 * took, 100));
  }
}

function schedule(delay) {
  clearTimeout(page.timer);
  if (!document.hidden) page.timer = setTimeout(ask, delay);
}

function warn() {
  const now = performance.now();
  const age = now - page.answered;
  const stale = page.failures > 1 || Math.min(age, now - page.watched) > STALE;
  byId("banner").hidden = !stale;
  document.body.classList.toggle("stale", stale);
  if (!stale) return;
  put(byId("banner-text"), page.failures > 0 ? page.reason : "The proxy does not answer.");
  put(byId("banner-age"), page.shown ? `What is shown is ${span(age / 1000)} old.` : "Nothing could be read yet.");
}

function show() {
  const shown = page.shown;
  if (shown === null) return;
  filter(shown);
  showHeader(shown);
  showProblems(shown);
  reconcile(byId("pools"), page.pools, shown.pools, (pool) => new PoolCard(pool));
  showSwitches(shown);
}

function filter(shown) {
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const troubledOnly = byId("only-problems").checked;
  const matches = (text) => words.every((word) => text.includes(word));
  let all = 0;
  let visible = 0;
  for (const pool of shown.pools) {
    for (const server of pool.servers) {
      const troubled = RANK[server.state.level] > 0 || server.opinion?.level === "warn";
      server.visible = matches(server.words) && (!troubledOnly || troubled);
      all += 1;
      visible += server.visible ? 1 : 0;
    }
    pool.visible = pool.servers.some((server) => server.visible);
  }
  for (const event of shown.switches) {
    event.visible = matches(event.words);
    event.ago = (shown.now - event.at_ms) / 1000;
  }
  put(byId("shown"), visible === all ? plural(all, "server") : `${visible} of ${plural(all, "server")}`);
}

function showHeader(shown) {
  put(byId("version"), shown.version ?? "");
  put(byId("host"), shown.source ?? "");
  const bad = shown.problems.filter((problem) => problem.level === "bad").length;
  const warnings = shown.problems.length - bad;
  const level = bad > 0 ? "bad" : warnings > 0 ? "warn" : "ok";
  classes(byId("overall"), `state ${level}`);
  put(byId("overall"), bad > 0 ? `${bad} failing` : warnings > 0 ? plural(warnings, "warning") : "all well");
  const title = `${bad > 0 ? "\u2716 " : warnings > 0 ? "\u26a0 " : ""}${shown.source ?? ""} \u2013 Nuthatch`;
  if (document.title !== title) document.title = title;
  const totals = page.totals;
  for (const name of ["requests", "errors"]) totals.set(name, shown[name], rate);
  for (const name of ["clients", "inFlight", "workers"]) totals.set(name, shown[name], count);
  for (const name of ["buffered", "resident"]) totals.set(name, shown[name], bytes);
  totals.show("resident", shown.resident !== null);
  totals.set("uptime", shown.uptime, span);
}

function showProblems(shown) {
  const { problems } = shown;
  const level = problems.length === 0 ? "ok" : problems[0].level;
  byId("problems").hidden = problems.length === 0;
  classes(byId("problems"), `problems ${level}`);
  const more = problems.length > SHOWN_PROBLEMS ? `, the first ${SHOWN_PROBLEMS} of them` : "";
  put(byId("problems-title"), `${plural(problems.length, "problem")}${more}`);
  const lines = problems.slice(0, SHOWN_PROBLEMS).map((problem) => ({ ...problem, key: problem.level + problem.key }));
  reconcile(byId("problem-list"), page.problems, lines, (problem) => new ProblemLine(problem));
}

function showSwitches(shown) {
  const matching = shown.switches.filter((event) => event.visible);
  const recent = matching.slice(0, SHOWN_SWITCHES);
  byId("no-switches").hidden = shown.switches.length > 0;
  byId("switches").hidden = shown.switches.length === 0;
  byId("older").hidden = recent.length === matching.length;
  put(byId("older"), `${matching.length - recent.length} older ones are not shown.`);
  reconcile(byId("switch-rows"), page.switches, recent, (event) => new SwitchRow(event));
}

byId("tools").addEventListener("submit", (event) => event.preventDefault());
byId("filter").addEventListener("input", show);
byId("only-problems").addEventListener("change", show);
byId("fold").addEventListener("click", () => {
  const cards = [...page.pools.values()];
  const open = cards.some((card) => card.details.open);
  for (const card of cards) card.details.open = !open;
  show();
});
// Does not bubble.
byId("pools").addEventListener("toggle", () => {
  const open = [...page.pools.values()].some((card) => card.details.open);
  put(byId("fold"), open ? "Collapse all" : "Expand all");
  show();
}, true);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    clearTimeout(page.timer);
  } else {
    page.watched = performance.now();
    schedule(0);
  }
});
// An answer that is late is noticed before it is given up.
setInterval(() => {
  if (!document.hidden) warn();
}, PERIOD);
ask();
