// Once per page: the heartbeat, pressed states for screen readers, Escape, copying of error details.
// A hidden tab throttles its timers to one a minute, a worker's timer is not throttled, so the heartbeat runs on one.
function ticker(period, run) {
  try {
    const source = new Blob([`setInterval(() => postMessage(0), ${period})`], { type: 'text/javascript' }), url = URL.createObjectURL(source);
    const worker = new Worker(url);
    URL.revokeObjectURL(url);
    worker.onmessage = run;
    return () => worker.terminate();
  } catch {
    const timer = setInterval(run, period);
    return () => clearInterval(timer);
  }
}

// The kernel answers each heartbeat. When it is silent the page says so itself, because nobody else can.
const SILENT_MS = 15000;

function silence(since) {
  for (const root of document.querySelectorAll('.sn-root')) {
    const old = root.querySelector(':scope > .sn-silent');
    root.classList.toggle('is-silent', since !== null);
    if (since === null) { old?.remove(); continue; }
    const words = `The kernel has not answered since ${new Date(since).toISOString().slice(11, 19)} UTC. Values are the last known ones; `
      + 'it is busy or gone. If this stays, reload the page.';
    if (old) { old.textContent = words; continue; }
    const banner = el('div', 'sn-banner sn-silent', words);
    banner.setAttribute('role', 'alert');
    root.prepend(banner);
  }
}

function presence({ model }) {
  const page = window.__sn_page ||= Math.random().toString(36).slice(2);
  let heard = Date.now(), silent = false;
  const beat = () => {
    if (!watching()) { heard = Date.now(); return; }
    if (Date.now() - heard > SILENT_MS) { silent = true; silence(heard); }
    tell(model, { beat: page, hidden: document.hidden });
  };
  const before = onHost;
  onHost = () => { before(); beat(); };
  model.on('msg:custom', message => {
    if (!message.pong) return;
    heard = Date.now();
    if (silent) { silent = false; silence(null); }
  });
  document.addEventListener('visibilitychange', beat);
  const stop = ticker(5000, beat);
  beat();
  return () => { stop(); document.removeEventListener('visibilitychange', beat); onHost = before; };
}

// ToggleButtons tell which one is pressed only by a class.
function mirror() {
  for (const button of document.querySelectorAll('.sn-root .widget-toggle-button, .sn-root .widget-toggle-buttons button')) {
    const pressed = String(button.classList.contains('mod-active'));
    if (button.getAttribute('aria-pressed') !== pressed) button.setAttribute('aria-pressed', pressed);
  }
  // A file picker counts its files in its label; here it only says what it does.
  for (const button of document.querySelectorAll('.sn-root .sn-upload')) {
    if (button.title && button.textContent !== button.title) button.textContent = button.title;
  }
}

// What acts on the engine is out of reach while that is gone, and says which login it needs to who has not got it.
// What only an owner may do bears `sn-owner`, or is one of these actions of a row.
const NEEDS = role => ` · needs the ${role} login`, OWNERS = new Set(['rollback', 'adopt']);
const LOCAL = new Set(['open', 'more', 'go', 'only', 'sort', 'revert']);

function needed(button, panel) {
  if (LOCAL.has(button.dataset.a) || button.disabled || !panel) return '';  // a disabled one says what it lacks itself
  const role = button.closest('.sn-owner') || OWNERS.has(button.dataset.a) ? 'owner' : 'operator';
  const lacks = panel.classList.contains('is-viewer') || (role === 'owner' && panel.classList.contains('is-operator'));
  return lacks ? NEEDS(role) : '';
}

function gate() {
  for (const part of document.querySelectorAll('.sn-root .sn-acts, .sn-root td.is-acts')) {
    const panel = part.closest('.sn-panel, .sn-enginebox'), off = !!panel?.classList.contains('is-offline');
    if (part.inert !== off) part.inert = off;
    for (const button of part.matches('button') ? [part] : part.querySelectorAll('.sn-btn, .sn-act')) {
      const needs = needed(button, panel), bare = ['operator', 'owner'].reduce((text, role) => text.replace(NEEDS(role), ''), button.title);
      const title = needs ? (bare || button.textContent) + needs : bare;
      if (button.title !== title) button.title = title;
    }
  }
}

function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).catch(() => {});
  const area = el('textarea', 'sn-vh', text);
  document.body.append(area);
  area.select();
  document.execCommand('copy');
  area.remove();
  return Promise.resolve();
}

let due = 0;
new MutationObserver(() => { if (!due) due = setTimeout(() => { due = 0; mirror(); gate(); }, 50); })
  .observe(document.body, { subtree: true, childList: true, attributes: true, attributeFilter: ['class', 'title', 'disabled'] });
document.addEventListener('keydown', event => {
  if (event.key !== 'Escape') return;
  const open = [...document.querySelectorAll('.sn-confirm:not(.sn-off) .sn-cancel')].find(button => button.offsetParent);
  open?.click();
});
document.addEventListener('click', event => {
  const details = event.target.closest?.('.sn-copy')?.closest('.sn-strip, .sn-copybox')?.querySelector('.sn-details');
  if (details) copy(details.textContent);
});
