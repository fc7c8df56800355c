// A live chart. A new view asks for a snapshot; after it, messages count up by one, and a gap asks for the next snapshot.
class Live {
  constructor(model, canvas) {
    Object.assign(this, { model, canvas, seq: null, asked: false, free: false, applying: false, timer: 0, range: canvas.by('xr') });
    this.moved = guarded(model, 'chart range', () => this.onRange());
    this.flush = () => { if (this.timer) this.tellRange(); };
    if (this.range) this.range.change.connect(this.moved);
    document.addEventListener('pointerdown', this.flush, true);  // Python hears of a pan before it hears of the next click
    this.ask();
  }

  ask() {
    if (this.asked) return;
    this.asked = true;
    tell(this.model, { ready: true });
  }

  receive(message, buffers) {
    const started = performance.now();
    if (message.png || message.file) { this.save(message); return; }
    if (!message.ops) return;
    if (message.snapshot) this.asked = false;
    else if (this.seq === null || message.seq !== this.seq + 1) { this.ask(); return; }
    this.applying = true;
    try {
      for (const op of message.ops) this.canvas.apply(op, buffers);
      this.seq = message.seq;
      this.show(message.range, message.force);
      this.fit();
    } catch (error) {
      this.seq = null;
      throw error;
    } finally { this.applying = false; }
    cost(message, started);
  }

  show(range, force) {
    if (!this.range || !range || (this.free && !force)) return;
    this.free = false;
    this.range.setv({ start: range[0], end: range[1] });
    this.canvas.zoom(range[0], range[1]);
  }

  // BokehJS fits a logarithmic axis to all rows; this fits it to candles, shown lines, stop and entry in view.
  fit() {
    const axis = this.canvas.by('yr'), { start, end } = this.range || {}, seen = [];
    if (axis?.type !== 'Range1d') return;
    const take = (name, x, ...keys) => {
      const data = this.canvas.by(name).data;
      data[x].forEach((t, i) => { if (t >= start && t <= end) for (const key of keys) if (data[key][i] > 0) seen.push(data[key][i]); });
    };
    const lines = Object.keys(this.canvas.by('src').data).filter(key => this.canvas.by('r_' + key)?.visible && key[0] === 'k');
    take('src', 't', 'l', 'h', ...lines);
    take('stop', 'x', 'y');
    take('entry', 'x1', 'y');
    if (!seen.length) return;
    const low = seen.reduce((a, b) => Math.min(a, b)), high = seen.reduce((a, b) => Math.max(a, b)), room = (high / low) ** 0.1;
    axis.setv({ start: low / room, end: high * room });
  }

  // Only a person's pan or zoom gets here: Python then stops following and pages older candles in.
  onRange() {
    if (this.applying) return;
    this.canvas.zoom(this.range.start, this.range.end);
    this.fit();
    this.free = true;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.tellRange(), 120);
  }

  tellRange() {
    clearTimeout(this.timer);
    this.timer = 0;
    tell(this.model, { range: [this.range.start, this.range.end] });
  }

  stop() {
    clearTimeout(this.timer);
    document.removeEventListener('pointerdown', this.flush, true);
  }

  save(message) {
    if (message.saved || !this.canvas.host.offsetParent) return;
    message.saved = true;
    if (message.png) this.canvas.png(message.png);
    else offer(message.file, URL.createObjectURL(new Blob([message.text], { type: 'text/csv' })));
  }
}

// One embedding of the figure; a new figure (another scale) makes a new one in the same box.
class Drawing {
  constructor(model, host, box) {
    Object.assign(this, { model, host, box, ends: [], canvas: new Canvas(model, host, box) });
  }

  async open() {
    const { model, host, box, canvas, ends } = this;
    box.style.visibility = 'hidden';  // until it is themed: no flash of default colours
    await canvas.embed();
    requestAnimationFrame(() => { box.style.visibility = ''; });
    const cross = model.get('cfg').cross ? new Crosshair(model, canvas, host, box) : null;
    const receive = guarded(model, 'chart', (message, buffers) => { this.live.receive(message, buffers || []); });
    if (cross) ends.push(() => cross.stop());
    model.on('msg:custom', receive);
    ends.push(() => model.off('msg:custom', receive));
    this.live = new Live(model, canvas);
    ends.push(() => this.live.stop());
    this.entry = { model, doc: canvas.doc, by: name => canvas.by(name), root: canvas.root, live: this.live, cross };
    (window.__sn_charts ||= []).push(this.entry);
    return this;
  }

  close() {
    for (const end of this.ends) end();
    window.__sn_charts = (window.__sn_charts || []).filter(entry => entry !== this.entry);
    this.canvas.clear();
    this.box.textContent = '';
  }
}

async function chart({ model, el: host }) {
  host.classList.add('sn-chart');
  const box = el('div', 'sn-chart-box'), leave = join(host);
  box.style.height = model.get('height');
  box.setAttribute('role', 'img');
  box.setAttribute('aria-label', model.get('caption'));
  host.append(box);
  let drawing = null, turn = Promise.resolve();
  const open = () => {
    turn = turn.then(async () => {
      drawing?.close();
      drawing = null;
      drawing = await new Drawing(model, host, box).open();
    }).catch(error => complain(model, 'chart', error));
    return turn;
  };
  const onCaption = () => box.setAttribute('aria-label', model.get('caption'));
  const onHeight = () => { box.style.height = model.get('height'); };
  await open();
  model.on('change:item', open);
  model.on('change:caption', onCaption);
  model.on('change:height', onHeight);
  return () => {
    leave();
    model.off('change:item', open);
    model.off('change:caption', onCaption);
    model.off('change:height', onHeight);
    turn.then(() => drawing?.close());
  };
}
