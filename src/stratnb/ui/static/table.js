// Tables and key figures. A patch changes the model's own rows once, before any view sees it; each view then repaints
// only the cells named. A gap in the sequence asks Python for the whole state.
function tableInit({ model }) {
  let seq = model.get('seq');
  model.on('change:seq', () => { seq = model.get('seq'); });
  model.on('msg:custom', message => {
    if (!message.patch) return;
    if (message.seq !== seq + 1) { message.stale = true; tell(model, { need: 'state' }); return; }
    seq = message.seq;
    const rows = new Map(model.get('rows').map(row => [row.id, row]));
    for (const id in message.patch) if (rows.has(id)) Object.assign(rows.get(id), message.patch[id]);
  });
}

const table = ({ model, el: host }) => guarded(model, 'table', openTable)(model, host);

function openTable(model, host) {
  host.classList.add('sn-tablebox', 'sn-k-' + model.get('kind'));
  const view = model.get('kind') === 'kpi' ? new Figures(model, host) : new Grid(model, host);
  const onMessage = guarded(model, 'table', message => {
    if (!message.patch || message.stale) return;
    const started = performance.now();
    for (const id in message.patch) view.patch(id, message.patch[id]);
    cost(message, started);
  });
  const paint = guarded(model, 'table', () => view.paint()), events = view.events.map(name => 'change:' + name);
  model.on('msg:custom', onMessage);
  for (const event of events) model.on(event, paint);
  const leave = join(host);
  return () => {
    model.off('msg:custom', onMessage);
    for (const event of events) model.off(event, paint);
    leave();
  };
}

class Figures {
  constructor(model, host) {
    Object.assign(this, { model, events: ['rows'], cells: new Map(), list: el('dl', 'sn-kpis') });
    this.list.setAttribute('aria-label', model.get('caption'));
    host.append(this.list);
    this.paint();
  }

  paint() {
    this.list.textContent = '';
    this.cells.clear();
    for (const row of this.model.get('rows')) {
      const group = el('div', 'sn-kpi sn-p' + (row.pri || 1)), value = el('dd');
      if (row.title) group.title = row.title;
      group.append(el('dt', '', row.label), value);
      fill(value, row.v);
      this.cells.set(row.id, value);
      this.list.append(group);
    }
  }

  patch(id, change) {
    if ('v' in change && this.cells.has(id)) fill(this.cells.get(id), change.v);
  }
}

class Grid {
  constructor(model, host) {
    Object.assign(this, {
      model, host, events: ['rows', 'cols', 'query', 'only', 'page', 'empty', 'frozen', 'current'],
      page: 0, sort: null, current: model.get('current') || null, known: model.get('current'), rows: new Map(), drawn: null,
      scroll: el('div', 'sn-scroll'), table: el('table', 'sn-table'), head: el('tr'), body: el('tbody'),
      empty: el('div', 'sn-empty'), foot: el('div', 'sn-pager'),
    });
    const head = el('thead');
    head.append(this.head);
    this.table.append(el('caption', 'sn-vh', model.get('caption')), head, this.body);
    this.scroll.append(this.table);
    host.append(this.scroll, this.empty, this.foot);
    host.addEventListener('click', guarded(model, 'table click', event => this.click(event)));
    host.addEventListener('keydown', guarded(model, 'table key', event => this.key(event)));
    this.body.addEventListener('focusin', event => {
      const row = event.target.closest('tr');
      if (row && row.tabIndex !== 0) this.arm(row);
    });
    const started = performance.now();
    this.paint();
    (window.__sn_perf ||= {})[model.get('caption')] = { rows: model.get('rows').length, build_ms: performance.now() - started, at: performance.now() };
  }

  heads(cols) {
    if (this.drawn === cols) return;
    this.drawn = cols;
    this.head.textContent = '';
    for (const col of cols) {
      const cell = el('th', [col.align === 'r' ? 'is-r' : '', col.cls || ''].join(' ').trim());
      cell.scope = 'col';
      if (col.title) cell.title = col.title;
      if (col.sort === false) cell.append(el('span', col.hide ? 'sn-vh' : '', col.label));
      else {
        const button = el('button', 'sn-sort', col.label);
        button.type = 'button';
        button.dataset.sort = col.key;
        cell.append(button);
      }
      this.head.append(cell);
    }
    this.arrows();
  }

  make(row, cols) {
    const line = el('tr', row.cls || '');
    line.dataset.id = row.id;
    line.tabIndex = -1;
    if (row.span != null) {
      const cell = el('td', '', row.span);
      cell.colSpan = cols.length;
      line.append(cell);
      return line;
    }
    cols.forEach((col, i) => {
      const cell = el(i === 0 && col.head !== false ? 'th' : 'td', [col.align === 'r' ? 'is-r' : '', col.cls || ''].join(' ').trim());
      if (cell.tagName === 'TH') cell.scope = 'row';
      fill(cell, row[col.key]);
      line.append(cell);
    });
    return line;
  }

  // One row at a time is in the Tab order (roving focus); its buttons follow it.
  arm(row) {
    for (const other of this.body.rows) {
      const on = other === row;
      other.tabIndex = on ? 0 : -1;
      for (const button of other.querySelectorAll('button')) button.tabIndex = on ? 0 : -1;
    }
  }

  selection(cols) {
    const query = (this.model.get('query') || '').toLowerCase(), only = Object.entries(this.model.get('only') || {});
    let rows = this.model.get('rows').filter(row => only.every(([key, values]) => !values.length || values.includes(row.f?.[key])));
    if (query) rows = rows.filter(row => cols.some(col => textOf(row[col.key]).toLowerCase().includes(query)));
    if (!this.sort) return rows;
    const { key, way } = this.sort;
    return [...rows].sort((a, b) => {
      const x = sortOf(a[key]), y = sortOf(b[key]);
      return (x < y ? -1 : x > y ? 1 : 0) * way;
    });
  }

  paint() {
    const cols = this.model.get('cols'), had = this.focused();
    if (this.model.get('current') !== this.known) this.current = this.known = this.model.get('current');
    this.heads(cols);
    const rows = this.selection(cols), size = this.model.get('page') || rows.length || 1, pages = Math.max(1, Math.ceil(rows.length / size));
    this.page = clamp(this.page, 0, pages - 1);
    this.rows.clear();
    this.body.textContent = '';
    const batch = document.createDocumentFragment();
    for (const row of rows.slice(this.page * size, this.page * size + size)) {
      const line = this.make(row, cols);
      this.rows.set(row.id, line);
      batch.append(line);
    }
    this.body.append(batch);
    this.mark();
    this.arm(this.rows.get(had) || this.rows.get(this.current) || this.body.rows[0]);
    if (had && this.rows.get(had)) this.rows.get(had).focus({ preventScroll: true });
    if (this.model.get('frozen')) this.freeze(this.body);
    this.blank(rows.length);
    this.pager(rows.length, size, pages);
  }

  focused() {
    return this.host.contains(document.activeElement) ? document.activeElement.closest('tr')?.dataset.id : null;
  }

  blank(count) {
    const words = this.model.get('empty') || {};
    this.empty.textContent = '';
    this.empty.hidden = count > 0;
    this.scroll.hidden = count === 0 && words.hide !== false;
    if (!count) this.empty.append(el('strong', '', words.t || 'Nothing to show'), el('span', '', words.sub || ''));
  }

  pager(count, size, pages) {
    this.foot.textContent = '';
    this.foot.hidden = pages < 2;
    if (pages < 2) return;
    const step = (text, way, label) => {
      const button = el('button', 'sn-act', text);
      button.type = 'button';
      button.setAttribute('aria-label', label);
      button.disabled = this.page + way < 0 || this.page + way >= pages;
      button.onclick = () => { this.page += way; this.paint(); };
      return button;
    };
    const first = this.page * size;
    this.foot.append(el('span', '', `${first + 1}–${Math.min(count, first + size)} of ${count}`), step('‹', -1, 'Previous page'), step('›', 1, 'Next page'));
  }

  freeze(part) {
    for (const button of part.querySelectorAll('button')) { button.setAttribute('aria-disabled', 'true'); button.title = 'Engine offline'; }
  }

  mark() {
    for (const [id, line] of this.rows) {
      if (id === this.current) line.setAttribute('aria-current', 'true');
      else line.removeAttribute('aria-current');
    }
  }

  arrows() {
    for (const button of this.head.querySelectorAll('[data-sort]')) {
      const cell = button.parentElement;
      if (this.sort?.key === button.dataset.sort) cell.setAttribute('aria-sort', this.sort.way > 0 ? 'ascending' : 'descending');
      else cell.removeAttribute('aria-sort');
    }
  }

  open(id) {
    this.current = id;
    this.mark();
    tell(this.model, { act: 'open', id });
  }

  click(event) {
    const head = event.target.closest('[data-sort]');
    if (head) {
      const key = head.dataset.sort;
      this.sort = this.sort?.key !== key ? { key, way: 1 } : this.sort.way === 1 ? { key, way: -1 } : null;
      this.arrows();
      this.paint();
      return;
    }
    const row = event.target.closest('tbody tr');
    if (!row) return;
    const button = event.target.closest('button[data-a]');
    this.arm(row);
    if (!button) { if (this.model.get('selectable')) this.open(row.dataset.id); return; }
    const off = button.getAttribute('aria-disabled') === 'true' || this.model.get('frozen');
    if (!off) tell(this.model, { act: button.dataset.a, id: row.dataset.id });
  }

  key(event) {
    const row = event.target.closest('tbody tr');
    if (!row) return;
    const rows = this.body.rows;
    const to = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling, Home: rows[0], End: rows[rows.length - 1] }[event.key];
    if (to) { event.preventDefault(); this.arm(to); to.focus(); return; }
    const press = event.target === row && (event.key === 'Enter' || event.key === ' ');
    if (press && this.model.get('selectable')) { event.preventDefault(); this.open(row.dataset.id); }
  }

  // A focused button in a patched cell keeps the focus.
  patch(id, change) {
    if ('f' in change) { this.paint(); return; }  // it may now belong on the page or not
    const line = this.rows.get(id);
    if (!line) return;
    if ('cls' in change) line.className = change.cls || '';
    if ('span' in change) { line.cells[0].textContent = change.span ?? ''; return; }
    this.model.get('cols').forEach((col, i) => {
      if (!(col.key in change)) return;
      const cell = line.cells[i], buttons = () => [...cell.querySelectorAll('button')], at = buttons().indexOf(document.activeElement);
      fill(cell, change[col.key]);
      if (this.model.get('frozen')) this.freeze(cell);
      if (line.tabIndex === 0) for (const button of buttons()) button.tabIndex = 0;
      if (at >= 0) buttons()[at]?.focus();
    });
  }
}
