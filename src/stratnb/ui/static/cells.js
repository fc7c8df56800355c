// A cell is a text or {t text, sub, tone, dot, title, n sort key, bar 0..1 with btone and mark, div -1..1, spark [..],
// chips [{t, tone, title}], acts [{a, t, kind, label, off}]}.
function meter(cell) {
  const box = el('span', 'sn-bar sn-t-' + (cell.btone || 'accent')), fillBar = el('i');
  fillBar.style.width = clamp(cell.bar, 0, 1) * 100 + '%';
  box.append(fillBar);
  if (cell.mark != null) {
    const mark = el('b');
    mark.style.left = clamp(cell.mark, 0, 1) * 100 + '%';
    box.append(mark);
  }
  return box;
}

function balance(value) {
  const box = el('span', 'sn-div sn-t-' + (value >= 0 ? 'up' : 'down')), part = el('i');
  const width = clamp(Math.abs(value), 0, 1) * 50;
  part.style.width = width + '%';
  part.style.left = (value >= 0 ? 50 : 50 - width) + '%';
  box.append(part);
  return box;
}

function sparkline(values) {
  const W = 88, H = 20, points = values.filter(Number.isFinite), lo = Math.min(...points), hi = Math.max(...points);
  const scale = hi > lo ? (H - 4) / (hi - lo) : 0, last = Math.max(1, points.length - 1);
  const line = svg('svg', { viewBox: `0 0 ${W} ${H}`, class: 'sn-spark', 'aria-hidden': 'true' });
  const at = (y, i) => `${(i * W / last).toFixed(1)},${(H - 2 - (y - lo) * scale).toFixed(1)}`;
  line.append(svg('polyline', { points: points.map(at).join(' ') }));
  return line;
}

function chip(spec) {
  const tag = el('span', 'sn-tag sn-t-' + (spec.tone || 'mute'), spec.t);
  if (spec.title) tag.title = spec.title;
  return tag;
}

function action(spec) {
  const button = el('button', 'sn-act' + (spec.kind ? ' is-' + spec.kind : ''), spec.t);
  button.type = 'button';
  button.dataset.a = spec.a;
  button.tabIndex = -1;
  button.setAttribute('aria-label', spec.label || spec.t);
  button.title = spec.off || spec.label || spec.t;
  if (spec.off) button.setAttribute('aria-disabled', 'true');
  return button;
}

function fill(box, cell) {
  box.textContent = '';
  box.removeAttribute('title');
  if (cell == null) return;
  if (typeof cell !== 'object') { box.textContent = cell; return; }
  if (cell.title) box.title = cell.title;
  if (cell.dot) box.append(el('span', 'sn-dot sn-t-' + cell.dot));
  if (cell.t != null) box.append(el('span', 'sn-v' + (cell.tone ? ' sn-t-' + cell.tone : ''), cell.t));
  if (cell.sub) box.append(el('span', 'sn-sub', cell.sub));
  if (cell.bar != null) box.append(meter(cell));
  if (cell.div != null) box.append(balance(cell.div));
  if (cell.spark?.length > 1) box.append(sparkline(cell.spark));
  for (const spec of cell.chips || []) box.append(chip(spec));
  for (const spec of cell.acts || []) box.append(action(spec));
}

const textOf = cell => cell == null ? '' : typeof cell !== 'object' ? String(cell)
  : [cell.t, cell.sub, ...(cell.chips || []).map(c => c.t)].join(' ');
const sortOf = cell => cell == null ? '' : typeof cell === 'object' ? (cell.n ?? cell.t ?? '') : cell;
