// Numbers as text. `null` is a value that is not there.
const NONE = "\u2013";

function own(object, key) {
  return object !== null && typeof object === "object" && Object.hasOwn(object, key) ? object[key] : undefined;
}

// A pool or server may bear the name of a number; then there is an object in its place.
function number(object, key) {
  const value = own(object, key);
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

function record(object, key) {
  const value = own(object, key);
  return value !== null && typeof value === "object" ? value : {};
}

function sum(values) {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : known.reduce((a, b) => a + b, 0);
}

function plural(n, word) {
  return `${n} ${word}${n === 1 ? "" : "s"}`;
}

// Three digits that count.
function digits(value) {
  return value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
}

function scaled(value, base, units) {
  let unit = 0;
  let rest = value;
  while (rest >= base - 0.5 && unit < units.length - 1) {
    rest /= base;
    unit += 1;
  }
  return (unit === 0 ? String(Math.round(rest)) : digits(rest)) + units[unit];
}

function count(value) {
  if (value === null) return NONE;
  return value < 10000 ? String(Math.round(value)) : scaled(value, 1000, ["", "k", "M", "G", "T"]);
}

function rate(value) {
  if (value === null) return NONE;
  return value > 0 && value < 9.95 ? value.toFixed(1) : count(value);
}

function bytes(value) {
  return value === null ? NONE : scaled(value, 1024, [" B", " KB", " MB", " GB", " TB"]);
}

function millis(value) {
  if (value === null) return NONE;
  return value < 999.5 ? `${Number.isInteger(value) ? value : digits(value)} ms` : `${digits(value / 1000)} s`;
}

// Microseconds; nothing was served where there are none.
function latency(micros) {
  return micros === null || micros === 0 ? NONE : micros < 995 ? `${(micros / 1000).toFixed(2)} ms` : `${
    micros < 999500 ? `${digits(micros / 1000)} ms` : `${digits(micros / 1e6)} s`}`;
}

function span(seconds) {
  if (seconds === null) return NONE;
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

// In the largest unit only.
function age(seconds) {
  return span(seconds).split(" ").slice(0, 2).join(" ");
}

function clock(ms) {
  const time = new Date(ms);
  const two = (n) => String(n).padStart(2, "0");
  const day = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
  return `${day} ${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}
