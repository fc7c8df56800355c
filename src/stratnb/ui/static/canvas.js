// A bokeh figure in the page: embedding, colours from CSS variables, and the operations that Python sends.
const library = () => window.Bokeh?.[BOKEH_VERSION] ?? (window.Bokeh?.version === BOKEH_VERSION ? window.Bokeh : null);

async function bokeh() {
  for (let i = 0; i < 1000 && !library(); i++) await new Promise(ok => setTimeout(ok, 10));
  if (!library()) throw Error('BokehJS is missing');
  if (document.body.dataset.voila !== undefined || document.body.classList.contains('sn-report')) library().set_log_level?.('error'); // charts start empty: no range yet
  return library();
}

// Any CSS colour (also color-mix) becomes rgba by painting one pixel and reading it back.
const pixel = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
function colour(host, spec) {
  const [name, alpha] = spec.split('/'), probe = el('span');
  probe.style.color = `var(${name})`;
  host.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  pixel.clearRect(0, 0, 1, 1);
  pixel.fillStyle = value;
  pixel.fillRect(0, 0, 1, 1);
  const [r, g, b] = pixel.getImageData(0, 0, 1, 1).data;
  return `rgba(${r},${g},${b},${alpha || 1})`;
}

// Columns come as JSON (null is missing) or as the index of a binary buffer of float64.
function column(value, buffers) {
  if (Array.isArray(value)) return value.map(x => x === null ? NaN : x);
  const view = buffers[value.buffer], bytes = view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
  return new Float64Array(bytes);
}

// How many of the ascending values are below x.
function below(values, x) {
  let lo = 0, hi = values.length;
  while (lo < hi) { const middle = (lo + hi) >> 1; if (values[middle] < x) lo = middle + 1; else hi = middle; }
  return lo;
}

function offer(name, href) {
  const link = el('a');
  link.download = name;
  link.href = href;
  link.click();
  if (href.startsWith('blob:')) setTimeout(() => URL.revokeObjectURL(href), 10000);
}

const columns = (data, buffers) => Object.fromEntries(Object.entries(data).map(([key, value]) => [key, column(value, buffers)]));

class Canvas {
  constructor(model, host, box) { Object.assign(this, { model, host, box }); }

  async embed() {
    const B = await bokeh(), views = await B.embed.embed_item(JSON.parse(this.model.get('item')), this.box);
    this.root = Array.isArray(views) ? views[0] : views.roots ? [...views.roots][0] : views;
    this.doc = this.root.model.document;
    this.named = new Map();
    this.levels = new Map();
    this.theme();
    this.quiet(this.box);
    this.watch = new MutationObserver(() => this.theme());
    this.watch.observe(document.body, { attributes: true, attributeFilter: ['data-jp-theme-name', 'data-jp-theme-light', 'class'] });
  }

  by(name) {
    if (!this.named.has(name)) this.named.set(name, this.doc.get_model_by_name(name));
    return this.named.get(name);
  }

  theme() {
    const memo = {}, rgba = spec => memo[spec] ||= colour(this.host, spec);
    for (const [name, property, spec] of this.model.get('theme')) {
      this.by(name)?.setv({ [property]: Array.isArray(spec) ? spec.map(rgba) : rgba(spec) });
    }
  }

  // One Tab stop per chart at most: BokehJS's own event layer leaves the Tab order and draws no ring after a click.
  quiet(node) {
    for (const child of [...(node.shadowRoot?.children || []), ...node.children]) {
      if (child.classList?.contains('bk-events')) { child.tabIndex = -1; child.style.outline = 'none'; }
      this.quiet(child);
    }
  }

  apply(op, buffers) {
    const target = this.by(op.model);
    if (!target) throw Error(`the figure has no model ${op.model}`);
    if (op.op === 'attr') target.setv(op.data);
    else if (op.op === 'set') target.data = columns(op.data, buffers);
    else if (op.op === 'stream') target.stream(columns(op.data, buffers), op.rollover);
    else if (op.op === 'patch') target.patch(this.changes(target, op.data));
    else if (op.op === 'levels') this.levels.set(op.model, { ...op, parts: op.parts.map(part => columns(part, buffers)), shown: null });
    else throw Error(`unknown operation ${op.op}`);
  }

  // Of sources with several versions the finest is drawn that fits the view, with half a view of room on both sides.
  zoom(start, end) {
    for (const kept of this.levels.values()) {
      const { key, most, parts, attrs } = kept, room = (end - start) / 2, inside = part => {
        const times = part[key];
        return [below(times, start), below(times, end)];
      };
      let at = parts.length - 1;
      while (at > 0) { const [a, b] = inside(parts[at]); if (b - a <= most) break; at -= 1; }
      const times = parts[at][key], from = below(times, start - room), to = below(times, end + room), shown = kept.shown;
      const [a, b] = inside(parts[at]);
      if (shown && shown.at === at && shown.from <= a && shown.to >= b) continue;
      kept.shown = { at, from, to };
      const target = this.by(kept.model), length = to - from;
      const blank = Object.fromEntries(Object.keys(target.data).map(name => [name, new Float64Array(length).fill(NaN)]));
      for (const name in parts[at]) blank[name] = parts[at][name].subarray(from, to);
      for (const [name, properties] of attrs[at] || []) this.by(name).setv(properties);
      target.data = blank;
    }
  }

  // Index -1 is the last row, resolved here, so Python keeps no copy.
  changes(source, data) {
    const length = source.get_length() ?? 0, place = i => i < 0 ? length + i : i;
    return new Map(Object.entries(data).map(([key, pairs]) => [key, pairs.map(([i, x]) => [place(i), x === null ? NaN : x])]));
  }

  view(model) {
    const find = view => view.model === model ? view : [...(view.child_views || [])].map(find).find(Boolean);
    return find(this.root);
  }

  png(name) {
    const drawn = this.root.export('png').canvas, sheet = document.createElement('canvas'), pen = sheet.getContext('2d');
    sheet.width = drawn.width;
    sheet.height = drawn.height;
    pen.fillStyle = colour(this.host, '--sn-panel');
    pen.fillRect(0, 0, sheet.width, sheet.height);
    pen.drawImage(drawn, 0, 0);
    offer(name, sheet.toDataURL('image/png'));
  }

  clear() {
    this.watch?.disconnect();
    this.doc?.clear();
  }
}
