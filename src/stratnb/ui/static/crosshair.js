// HTML above the canvas of a price chart: crosshair, read-out of all values, price tags and notes.
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const two = n => String(n).padStart(2, '0');
function stamp(ms) {
  const d = new Date(ms);
  return `${DAYS[d.getUTCDay()]} ${d.getUTCDate()} ${MONTHS[d.getUTCMonth()]} ${two(d.getUTCHours())}:${two(d.getUTCMinutes())}`;
}

function nearestIndex(times, t) {
  let lo = 0, hi = times.length - 1;
  while (hi - lo > 1) { const middle = (lo + hi) >> 1; if (times[middle] < t) lo = middle; else hi = middle; }
  return Math.abs(times[lo] - t) < Math.abs(times[hi] - t) ? lo : hi;
}

class Crosshair {
  constructor(model, canvas, host, box) {
    Object.assign(this, {
      model, canvas, box, figure: canvas.by('main'), source: canvas.by('src'), index: null,
      top: el('div', 'sn-readout'), over: el('div', 'sn-over'), tags: el('div'),
      vertical: el('div', 'sn-cross-x'), horizontal: el('div', 'sn-cross-y'), time: el('div', 'sn-axtag is-x'), price: el('div', 'sn-axtag is-y'),
    });
    this.over.setAttribute('aria-hidden', 'true');
    this.top.setAttribute('aria-live', 'off');
    this.over.append(this.tags, this.vertical, this.horizontal, this.time, this.price);
    box.append(this.over);
    host.prepend(this.top);
    box.tabIndex = 0;
    box.setAttribute('role', 'application');
    this.listen();
    this.read();
  }

  listen() {
    const { box, figure, source, model } = this;
    const later = () => requestAnimationFrame(() => requestAnimationFrame(() => { this.place(); this.refresh(); }));
    this.heard = [
      ['pointermove', event => this.point(event)], ['pointerleave', () => this.hide()],
      ['pointerdown', event => { this.down = event.clientX; }], ['pointerup', event => this.pick(event)],
      ['blur', () => this.hide()], ['keydown', event => this.key(event)],
    ];
    for (const [name, run] of this.heard) box.addEventListener(name, run);
    figure.y_range.change.connect(later);
    figure.x_range.change.connect(later);
    source.change.connect(later);
    this.resize = new ResizeObserver(() => setTimeout(later, 60));
    this.resize.observe(box);
    this.redraw = guarded(model, 'chart labels', () => { this.place(); this.refresh(); });
    for (const key of ['tags', 'notes', 'cfg']) model.on('change:' + key, this.redraw);
    setTimeout(later, 120);
  }

  stop() {
    this.resize.disconnect();
    for (const [name, run] of this.heard) this.box.removeEventListener(name, run);
    this.top.remove();
    this.over.remove();
    for (const key of ['tags', 'notes', 'cfg']) this.model.off('change:' + key, this.redraw);
  }

  frame() {
    const view = this.canvas.view(this.figure);
    return view?.frame?.bbox?.width > 0 && { box: view.frame.bbox, x: view.frame.x_scale, y: view.frame.y_scale };
  }

  number(x, digits = this.model.get('cfg').decimals ?? 2) {
    if (x == null || Number.isNaN(x)) return 'n/a';
    return x.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace('-', '−');
  }

  read(at = this.index) {
    const data = this.source.data, count = data.t?.length ?? 0, cfg = this.model.get('cfg');
    this.top.textContent = '';
    if (!count) return;
    const k = Math.min(at ?? count - 1, count - 1), change = data.c[k] - data.o[k], tone = change >= 0 ? 'up' : 'down';
    const put = (label, value, how = {}) => {
      const item = el('span', 'sn-rd');
      if (label) item.append(el('span', 'sn-rd-l' + (how.line ? ' is-line ' + how.line : ''), label));
      item.append(el('span', how.tone ? 'sn-t-' + how.tone : '', value));
      this.top.append(item);
    };
    const forming = data.a?.[k] < 1, which = forming ? '  (forming)' : at == null && cfg.live ? '  (last)' : '';
    this.top.append(el('span', 'sn-rd-time', stamp(data.t[k]) + which));
    put('O', this.number(data.o[k]));
    put('H', this.number(data.h[k]));
    put('L', this.number(data.l[k]));
    put('C', this.number(data.c[k]), { tone });
    const fraction = Math.abs(change / data.o[k] * 100).toFixed(2), sign = change >= 0 ? '+' : '−';
    put('', `${change >= 0 ? '▲' : '▼'} ${sign}${this.number(Math.abs(change))} (${sign}${fraction}%)`, { tone });
    put('Vol', this.number(data.v[k], 1));
    for (const [key, label, line] of cfg.lines || []) if (data[key]) put(label, this.number(data[key][k]), { line });
    for (const [key, label] of cfg.levels || []) if (data[key]) put(label, this.number(data[key][k]));
    if (!cfg.actions) return;
    put('Decision', this.decided(data, k, cfg) || 'none');
    this.top.lastChild.classList.add('is-row');
  }

  // The decision at a candle in words: action, direction, reason, score.
  decided(data, k, cfg) {
    const action = cfg.actions?.[data.da?.[k]];
    if (!action) return '';
    const way = { 1: ' long', '-1': ' short' }[data.dd[k]] || '', score = data.ds[k];
    const words = [action + way, cfg.reasons?.[data.dr[k]], Number.isNaN(score) ? '' : 'score ' + this.number(score, 3)];
    return words.concat(data.dl[k] ? 'in catch-up' : '').filter(Boolean).join(' · ');
  }

  place() {
    const frame = this.frame();
    this.tags.textContent = '';
    if (!frame) return;
    this.over.style.setProperty('--fr', frame.box.right + 'px');
    this.over.style.setProperty('--fb', frame.box.bottom + 'px');
    this.placeTags(frame);
    this.placeNotes(frame);
  }

  // Tags on the price axis keep 19 px between them, so that none hides another.
  placeTags(frame) {
    const seen = this.model.get('tags').map(tag => ({ ...tag, at: frame.y.compute(tag.y) }))
      .filter(tag => tag.at > frame.box.top - 2 && tag.at < frame.box.bottom + 2).sort((a, b) => a.at - b.at);
    let last = -99;
    for (const tag of seen) {
      const top = Math.max(tag.at, last + 19);
      last = top;
      if (tag.axis) this.stick('sn-axtag is-y is-on sn-t-' + tag.tone, this.number(tag.y), top);
      if (tag.t) this.stick('sn-lvl sn-t-' + tag.tone, tag.t, top).style.right = `calc(100% - ${frame.box.right - 6}px)`;
    }
  }

  stick(cls, words, top) {
    const label = el('div', cls, words);
    label.style.top = top + 'px';
    this.tags.append(label);
    return label;
  }

  // Newer notes come first; one that would lie on another is left out until there is room for it.
  placeNotes(frame) {
    const { left, right, top, bottom } = frame.box, placed = [];
    for (const note of [...this.model.get('notes')].reverse()) {
      const x = frame.x.compute(note.x), y = frame.y.compute(note.y), wide = 8 + 7 * note.t.length;
      if (!(x >= left && x <= right && y >= top && y <= bottom)) continue;
      if (placed.some(other => Math.abs(other.x - x) < (other.wide + wide) / 2 && Math.abs(other.y - y) < 18)) continue;
      placed.push({ x, y, wide, label: this.stick('sn-note sn-t-' + note.tone + ' is-' + (note.at || 'above'), note.t, y) });
    }
    for (const { label, x } of placed) label.style.left = x + 'px';
    const edge = this.box.getBoundingClientRect().left + right - 4;
    const spills = placed.map(({ label, x }) => [label, x, label.getBoundingClientRect().right - edge]);
    for (const [label, x, spill] of spills) if (spill > 0) label.style.left = x - spill + 'px';
  }

  show(i, py) {
    const frame = this.frame(), data = this.source.data;
    if (!frame || !data.t?.length) return;
    this.index = i;
    this.when = data.t[i];
    this.over.classList.add('is-live');
    const x = frame.x.compute(data.t[i]), y = py ?? frame.y.compute(data.c[i]);
    this.vertical.style.left = x + 'px';
    this.horizontal.style.top = y + 'px';
    this.time.style.left = clamp(x, 60, frame.box.right - 40) + 'px';
    this.time.textContent = stamp(data.t[i]);
    this.price.style.top = y + 'px';
    this.price.textContent = this.number(frame.y.invert(y));
    this.read(i);
  }

  // Rows and ranges move below a resting pointer: what it reads is found again by place, or by time after a key.
  refresh() {
    const times = this.source.data.t;
    if (this.index == null || !times?.length) this.read();
    else if (this.spot) this.point(this.spot);
    else this.show(nearestIndex(times, this.when));
  }

  hide() {
    this.index = null;
    this.spot = null;
    this.over.classList.remove('is-live');
    this.read();
  }

  point(event) {
    const frame = this.frame(), times = this.source.data.t;
    if (!frame || !times?.length) return;
    const area = this.box.getBoundingClientRect(), x = event.clientX - area.left, y = event.clientY - area.top;
    if (x > frame.box.right || y > frame.box.bottom || y < frame.box.top) { this.hide(); return; }
    this.show(nearestIndex(times, frame.x.invert(x)), y);
    this.spot = { clientX: event.clientX, clientY: event.clientY };
  }

  // A click without a drag picks the candle under it.
  pick(event) {
    if (this.index != null && Math.abs(event.clientX - this.down) < 4) tell(this.model, { pick: this.source.data.t[this.index] });
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], last = (this.source.data.t?.length ?? 0) - 1;
    if (event.key === 'Escape') this.hide();
    if (event.key === 'Enter' && this.index != null) tell(this.model, { pick: this.source.data.t[this.index] });
    if (!step || last < 0) return;
    event.preventDefault();
    this.spot = null;
    this.show(clamp((this.index ?? last) + step * (event.shiftKey ? 10 : 1), 0, last));
  }
}
