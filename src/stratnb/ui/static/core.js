// Small builders, the error channel to Python and the registry of views that are on the page.
// Every string reaches the page through textContent or setAttribute: no HTML is built from data.
const el = (tag, cls, text) => {
  const node = document.createElement(tag);
  if (cls) node.className = cls;
  if (text != null) node.textContent = text;
  return node;
};
const svg = (tag, attrs) => {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const key in attrs) node.setAttribute(key, attrs[key]);
  return node;
};
const clamp = (x, lo, hi) => Math.min(hi, Math.max(lo, x));

// A view may outlive its kernel: a message that cannot be sent is dropped, never thrown.
function tell(model, message) {
  try { model.send(message); } catch { /* the kernel is gone */ }
}

function complain(model, where, error) {
  console.error(`stratnb ${where}:`, error);
  tell(model, { error: String(error?.message ?? error).slice(0, 500), where });
}

const guarded = (model, where, run) => (...args) => {
  try { return run(...args); } catch (error) { complain(model, where, error); return undefined; }
};

const hosts = new Set();
let onHost = () => {};

function join(host) {
  hosts.add(host);
  onHost();
  return () => hosts.delete(host);
}

const watching = () => [...hosts].some(host => host.isConnected);

// Measured costs for tests and benchmarks: messages applied, browser milliseconds, latency from the kernel.
function cost(message, started) {
  const sum = window.__sn_cost ||= { n: 0, ms: 0, lat: [] };
  sum.n += 1;
  sum.ms += performance.now() - started;
  if (message.ts && sum.lat.length < 5000) sum.lat.push(Date.now() - message.ts * 1000);
}
