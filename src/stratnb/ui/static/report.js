// A report that was saved as a page: each chart and table gets a stand-in for its model, which lives in no kernel.
(() => {
  const bytes = text => {
    const raw = atob(text), view = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) view[i] = raw.charCodeAt(i);
    return new DataView(view.buffer);
  };
  const filled = ({ n, fill }) => new DataView(new Float64Array(n).fill(fill ?? NaN).buffer);

  class Model {
    constructor(part) { Object.assign(this, { part, heard: {} }); }
    get(name) { return this.part.state[name]; }
    on(name, run) { (this.heard[name] ||= []).push(run); }
    off(name, run) { this.heard[name] = (this.heard[name] || []).filter(other => other !== run); }
    send(message) {
      if (message.error) document.body.dataset.fault = `${message.where}: ${message.error}`;
      if (message.ready) setTimeout(() => this.answer());
    }
    answer() {
      const { message, buffers } = this.part, data = buffers.map(text => typeof text === 'string' ? bytes(text) : filled(text));
      for (const run of this.heard['msg:custom'] || []) run(message, data);
    }
  }

  const states = JSON.parse(document.getElementById('sn-states').textContent);
  for (const place of document.querySelectorAll('[data-state]')) {
    const part = states[Number(place.dataset.state)];
    window.stratnb[part.draw]({ model: new Model(part), el: place });
  }

  const theme = document.getElementById('sn-theme'), body = document.body;
  const say = () => { theme.textContent = body.dataset.jpThemeLight === 'true' ? 'Dark' : 'Light'; };
  theme.addEventListener('click', () => {
    const light = body.dataset.jpThemeLight !== 'true';
    body.dataset.jpThemeLight = String(light);
    document.documentElement.style.colorScheme = light ? 'light' : 'dark';
    say();
  });
  document.getElementById('sn-print').addEventListener('click', () => window.print());
  say();
})();
