// Summary, table of ops, ranges, plan and differences.

const opLink = op => make('button', {class: 'link', onclick: () => select(op, {show: true})}, op.name || op.type);
const findOp = (name, inside = functions) => { for (const one of inside) { const op = one.ops.find(o => o.name === name); if (op) return op; } return null; };

function plainTable(heads, rows, numbers = []) {
  return make('table', {class: 'plain'},
    make('thead', {}, make('tr', {}, ...heads.map((head, i) => make('th', {class: numbers.includes(i) ? 'num' : ''}, head)))),
    make('tbody', {}, ...rows.map(row => make('tr', {}, ...row.map((cell, i) => make('td', {class: numbers.includes(i) ? 'num' : ''}, cell))))));
}

// --- summary ----------------------------------------------------------------------------------------------------------

function summaryView() {
  const count = functions.reduce((sum, one) => sum + one.ops.length, 0);
  const tiles = [[count.toLocaleString('en'), count === 1 ? 'operation' : 'operations']];
  if (functions.length > 1) tiles.push([functions.length, 'functions']);
  for (const [value, label] of data.tiles) tiles.push([value, label]);
  if (data.plan) for (const unit of data.plan.units || []) tiles.push([percent(data.plan.shares[unit].ops), 'of ops on ' + (UNITS[unit] || unit)]);
  if (hasErrors) for (const [name, figures] of Object.entries(data.inspection.outputs || {})) tiles.push([decibels(figures.snr_db), 'output ' + name]);
  const view = make('div', {class: 'pad'},
    make('h2', {class: 'big'}, data.title),
    make('div', {class: 'dim'}, data.metadata.Description || ''),
    make('div', {class: 'tiles'}, ...tiles.map(([value, label]) => make('div', {class: 'tile'}, make('b', {}, value), make('span', {}, label)))));
  for (const [kind, title] of [['inputs', 'Inputs'], ['outputs', 'Outputs'], ['states', 'States']]) {
    const rows = data.interface[kind];
    if (rows.length) view.append(make('h3', {}, title), plainTable(['name', 'type', ''], rows.map(row => [row.name, make('span', {class: 'mono'}, row.type), row.about])));
  }
  view.append(make('h3', {}, 'Model'), make('div', {class: 'facts'}, ...data.summary.flatMap(([label, value]) => [make('span', {}, label), make('span', {}, value)])));
  if (functions.length > 1) view.append(make('h3', {}, 'Functions'), plainTable(['name', 'opset', 'operations'], functions.map(one => [make('button', {class: 'link', onclick: () => { state.function = one; state.selected = null; changed('function'); openTab('Graph'); }}, one.name), one.opset, one.ops.length]), [2]));
  const counts = new Map();
  for (const one of functions) for (const op of one.ops) counts.set(op.type, (counts.get(op.type) || 0) + 1);
  const sorted = [...counts].sort((a, b) => b[1] - a[1]);
  view.append(make('h3', {}, 'Operations by type'), plainTable(['type', 'count'], sorted.map(([type, n]) => [
    make('button', {class: 'link', onclick: () => { openTab('Ops'); table.filter('', type); }}, type),
    make('span', {}, make('i', {class: 'bar', style: {width: 1 + 260 * n / sorted[0][1] + 'px'}}), n)])));
  const metadata = Object.entries(data.metadata);
  if (metadata.length) view.append(make('h3', {}, 'Metadata'), make('div', {class: 'facts'}, ...metadata.flatMap(([key, value]) => [make('span', {}, key), make('span', {}, value)])));
  view.append(make('p', {class: 'dim'}, 'Written by ' + data.generator + '.'));
  return make('div', {class: 'view'}, view);
}

// --- table of ops -----------------------------------------------------------------------------------------------------

class OpTable {
  constructor() {
    this.columns = [
      ['#', 62, op => op.index, op => op.index, true],
      ['type', 190, op => op.type, op => make('b', {}, op.type)],
      ['name', 260, op => op.name],
      ['result', 220, op => op.results.map(r => r[1]).join(', ')],
      ['module', 240, op => op.at ? op.at.module || '' : ''],
      ['source', 220, op => op.at ? [op.at.source, op.at.file ? op.at.file.split('/').at(-1) + ':' + op.at.line : ''].filter(Boolean).join(', ') : ''],
    ];
    if (functions.length > 1) this.columns.splice(1, 0, ['function', 130, op => op.function.name]);
    if (data.plan) this.columns.splice(3, 0,
      ['unit', 128, op => op.plan ? op.plan.unit : '', op => op.plan ? unitChip(op.plan.unit) : ''],
      ['cost', 90, op => op.plan ? op.plan.cost : -1, op => op.plan ? seconds(op.plan.cost) : '', true]);
    if (data.inspection) {
      const number = key => op => op.error && op.error[key] !== undefined ? Number(op.error[key]) : null;
      const figures = key => op => op.error && op.error[key] ? Number(op.error[key].snr_db) : null;
      const extra = [['low', 92, number('low'), null, true], ['high', 92, number('high'), null, true]].map(c => [c[0], c[1], c[2], op => { const v = c[2](op); return v === null ? '' : text(v); }, true]);
      for (const key of ['overflow', 'underflow', 'nan']) extra.push([key === 'nan' ? 'NaN' : key, 92, number(key), op => { const v = number(key)(op); return v ? percent(v) : ''; }, true]);
      if (hasErrors) {
        for (const key of ['local', 'accumulated']) extra.push([key, 106, figures(key), op => op.error && op.error[key] ? decibels(op.error[key].snr_db) : '', true]);
        extra.push(['share', 84, number('share'), op => op.error && op.error.share ? percent(op.error.share) : '', true]);
      }
      this.columns.splice(4 + (data.plan ? 2 : 0), 0, ...extra);
    }
    if (data.diff) this.columns.splice(2, 0, ['difference', 96, op => op.diff ? op.diff.kind : '', op => op.diff ? make('span', {class: 'chip', style: {background: 'var(--' + op.diff.kind + ')'}}, op.diff.kind) : '']);
    this.all = functions.flatMap(one => one.ops);
    this.sorted = [0, 1];
    this.box = make('input', {type: 'search', placeholder: 'Filter', 'aria-label': 'Filter', oninput: () => this.update()});
    const types = [...new Set(this.all.map(op => op.type))].sort();
    this.type = make('select', {'aria-label': 'Type of op', onchange: () => this.update()}, make('option', {value: ''}, 'all types'), ...types.map(type => make('option', {value: type}, type)));
    this.count = make('span', {class: 'dim'});
    this.style = {gridTemplateColumns: this.columns.map(c => c[1] + 'px').join(' ')};
    this.head = make('div', {class: 'row head', style: this.style}, ...this.columns.map((column, i) => make('span', {class: column[4] ? 'num' : '', role: 'columnheader', onclick: () => { this.sorted = [i, this.sorted[0] === i ? -this.sorted[1] : column[4] && i ? -1 : 1]; this.update(); }}, column[0])));
    this.rows = make('div', {class: 'rows'});
    this.scroller = make('div', {class: 'grid'}, this.head, this.rows);
    this.scroller.addEventListener('scroll', () => this.paint());
    this.element = make('div', {class: 'view', id: 'ops'}, make('div', {class: 'controls'}, this.box, this.type, this.count), this.scroller);
    new ResizeObserver(() => this.paint()).observe(this.scroller);
    onChange(what => { if (what !== 'mode') this.paint(); });
    this.update();
  }

  filter(words, type) { this.box.value = words; this.type.value = type; this.update(); }

  update() {
    const words = this.box.value.toLowerCase().split(/\s+/).filter(Boolean), type = this.type.value;
    this.shown = this.all.filter(op => (!type || op.type === type) && words.every(word => searchText(op).includes(word)));
    const [index, direction] = this.sorted, key = this.columns[index][2];
    this.shown.sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === y) return a.index - b.index;
      if (x === null || x === undefined || Number.isNaN(x)) return 1;
      if (y === null || y === undefined || Number.isNaN(y)) return -1;
      return direction * (typeof x === 'number' ? x - y : String(x).localeCompare(String(y), 'en', {numeric: true}));
    });
    [...this.head.children].forEach((cell, i) => { cell.textContent = this.columns[i][0] + (i === index ? direction > 0 ? ' ▴' : ' ▾' : ''); });
    this.count.textContent = this.shown.length === this.all.length ? this.all.length + ' ops' : this.shown.length + ' of ' + this.all.length + ' ops';
    this.rows.style.height = this.shown.length * 28 + 'px';
    this.paint();
  }

  // Only the rows in sight are there.
  paint() {
    const first = Math.max(0, Math.floor(this.scroller.scrollTop / 28) - 5), last = first + Math.ceil((this.scroller.clientHeight || 700) / 28) + 12;
    this.rows.replaceChildren(...this.shown.slice(first, last).map((op, i) => make('div', {
      class: 'row' + (op === state.selected ? ' on' : ''), style: {...this.style, top: (first + i) * 28 + 'px'},
      onclick: () => select(op), ondblclick: () => select(op, {show: true}),
    }, ...this.columns.map(([, , key, cell, number]) => { const shown = (cell || key)(op); return make('span', {class: number ? 'num' : '', title: shown instanceof Node ? '' : shown}, shown); }))));
  }
}

function searchText(op) {
  if (op.words === undefined) op.words = [op.type, op.name, ...op.results.flat(), ...op.operands.flatMap(([, names]) => names), placeText(op.at)].join(' ').toLowerCase();
  return op.words;
}

const unitChip = unit => make('span', {class: 'chip', style: {background: `var(--${unit in UNITS ? unit : 'other'})`}}, UNITS[unit] || unit);

// --- ranges -----------------------------------------------------------------------------------------------------------

// Every op as a bar from its smallest to its largest magnitude, on a scale of powers of two, beside float16's limits.
class RangePlot {
  constructor() {
    const rows = data.inspection
      ? data.inspection.ops.filter(row => row.low !== undefined).map(row => ({name: row.name, low: Number(row.low), high: Number(row.high), bad: row.overflow > 0 || row.nan > 0, op: findOp(row.name, running)}))
      : functions.flatMap(one => Object.entries(one.constants).filter(([, c]) => c.low !== undefined).map(([name, c]) => ({name, low: Number(c.low), high: Number(c.high), bad: false, op: (one.users.get(name) || [])[0]})));
    this.bars = rows.filter(row => Number.isFinite(row.low) && Number.isFinite(row.high));
    this.canvas = make('canvas', {class: 'plot'});
    const what = data.inspection ? 'values' : 'weights';
    const content = make('div', {class: 'pad'}, make('h2', {class: 'big'}, data.inspection ? 'Ranges of values' : 'Ranges of weights'),
      make('p', {class: 'dim'}, `A bar for the values of each ${data.inspection ? 'op' : 'constant'}, in the program’s order: above the middle what is positive, below it what is negative, on a scale of powers of two. Dashed lines: float16 ends at 65504, and loses precision under 2⁻¹⁴.`), this.canvas);
    if (!this.bars.length) content.append(make('p', {}, `There are no ${what} to show.`));
    const inspection = data.inspection || {};
    for (const [key, title] of [['first_overflow', 'First overflow'], ['first_nan', 'First NaN'], ['culprit', 'Most of the error']]) {
      const found = inspection[key];
      if (found) content.append(make('h3', {}, title), make('div', {class: 'card'}, make('b', {}, found.op + (found.operand ? ', operand ' + found.operand : '')), make('div', {}, found.why), make('div', {class: 'dim'}, found.location || '')));
    }
    this.element = make('div', {class: 'view'}, content);
    this.tip = make('div', {id: 'tip', hidden: ''});
    document.body.append(this.tip);
    this.canvas.addEventListener('pointermove', event => this.point(event));
    this.canvas.addEventListener('pointerleave', () => { this.tip.hidden = true; });
    this.canvas.addEventListener('click', event => { const bar = this.at(event); if (bar && bar.op) select(bar.op); });
    new ResizeObserver(() => this.paint()).observe(this.canvas);
    onChange(what2 => { if (what2 === 'theme' || what2 === 'selected') this.paint(); });
  }

  at(event) { return this.bars[Math.floor((event.offsetX - 56) / (this.canvas.clientWidth - 68) * this.bars.length)]; }

  point(event) {
    const bar = this.at(event);
    this.tip.hidden = !bar;
    if (!bar) return;
    this.tip.replaceChildren(make('b', {}, bar.op ? bar.op.type : ''), ' ' + bar.name, make('br'), text(bar.low) + ' … ' + text(bar.high));
    this.tip.style.left = Math.min(event.clientX + 14, innerWidth - 330) + 'px';
    this.tip.style.top = event.clientY + 16 + 'px';
  }

  paint() {
    const {clientWidth: width, clientHeight: height} = this.canvas, ratio = devicePixelRatio || 1;
    if (!width) return;
    [this.canvas.width, this.canvas.height] = [width * ratio, height * ratio];
    const pen = this.canvas.getContext('2d');
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const [least, most] = [-24, Math.max(18, ...this.bars.map(bar => Math.log2(Math.max(Math.abs(bar.low), Math.abs(bar.high), 1e-12)) + 2))];
    const middle = height / 2, half = height / 2 - 12;
    const scale = magnitude => magnitude === 0 ? 0 : Math.max(0.5, half * (Math.log2(magnitude) - least) / (most - least));
    pen.font = font('small'); pen.textBaseline = 'middle'; pen.textAlign = 'right';
    for (let power = -20; power < most; power += 5 * Math.ceil((most - least) / 60)) for (const sign of [1, -1]) {
      const y = middle - sign * scale(2 ** power);
      pen.strokeStyle = color('soft'); pen.setLineDash([]); line(pen, 56, y, width - 12, y);
      pen.fillStyle = color('faint'); pen.fillText((sign < 0 ? '−' : '') + '2' + raised(power), 50, y);
    }
    const step = (width - 68) / Math.max(1, this.bars.length);
    this.bars.forEach((bar, i) => {
      const up = bar.high > 0 ? scale(bar.high) : 0, down = bar.low < 0 ? scale(-bar.low) : 0;
      pen.fillStyle = bar.op && bar.op === state.selected ? color('text') : bar.bad ? color('worst') : color('accent');
      const from = bar.low > 0 ? scale(bar.low) : 0, to = bar.high < 0 ? scale(-bar.high) : 0;
      pen.globalAlpha = 0.85;
      pen.fillRect(56 + i * step, middle - up, Math.max(0.6, step - (step > 3 ? 1 : 0)), Math.max(1.5, up - from + Math.max(0, down - to)));
      pen.globalAlpha = 1;
    });
    pen.strokeStyle = color('line'); line(pen, 56, middle, width - 12, middle);
    pen.setLineDash([5, 4]);
    for (const [limit, name] of [[65504, 'bad'], [2 ** -14, 'faint']]) for (const sign of [1, -1]) { pen.strokeStyle = color(name); line(pen, 56, middle - sign * scale(limit), width - 12, middle - sign * scale(limit)); }
    pen.setLineDash([]);
  }
}

const raised = number => String(number).replace(/[-0-9]/g, c => c === '-' ? '⁻' : '⁰¹²³⁴⁵⁶⁷⁸⁹'[c]);

function line(pen, ax, ay, bx, by) { pen.beginPath(); pen.moveTo(ax, ay); pen.lineTo(bx, by); pen.stroke(); }

// --- plan -------------------------------------------------------------------------------------------------------------

function planView() {
  const plan = data.plan, ops = plan.ops;
  const view = make('div', {class: 'pad'}, make('h2', {class: 'big'}, 'Plan' + (plan.target ? ' for ' + plan.target : '')), ...(plan.notes || []).map(note => make('div', {class: 'note'}, note)));
  const tiles = [[seconds(plan.cost), 'estimated in all'], [(plan.segments || []).length, 'segments'], [(plan.transfers || []).length, 'transfers']];
  for (const unit of plan.units || []) { const share = plan.shares[unit]; tiles.push([share.count, `ops on ${UNITS[unit] || unit}, ${percent(share.cost)} of the time`]); }
  view.append(make('div', {class: 'tiles'}, ...tiles.map(([value, label]) => make('div', {class: 'tile'}, make('b', {}, value), make('span', {}, label)))));
  const runs = [];
  for (const row of ops) if (runs.length && runs.at(-1).unit === row.unit) runs.at(-1).count++; else runs.push({unit: row.unit, count: 1});
  view.append(make('h3', {}, 'Units in the program’s order'), make('div', {class: 'strip'}, ...runs.map(run => make('i', {title: `${UNITS[run.unit] || run.unit}: ${run.count} ops`, style: {flexGrow: run.count, background: `var(--${run.unit})`}}))));
  for (const unit of plan.units || []) {
    const reasons = new Map();
    for (const row of ops) {
      const refusal = (row.refusals || {})[unit];
      if (!refusal) continue;
      const key = JSON.stringify([row.type, refusal.reason, refusal.fix]);
      if (!reasons.has(key)) reasons.set(key, []);
      reasons.get(key).push(row);
    }
    if (!reasons.size) continue;
    const sorted = [...reasons].sort((a, b) => b[1].length - a[1].length);
    view.append(make('h3', {}, `Why ops are not on ${UNITS[unit] || unit}`), plainTable(['op', 'ops', 'reason', 'what helps'], sorted.map(([key, rows]) => {
      const [type, reason, fix] = JSON.parse(key), op = findOp(rows[0].name);
      return [make('b', {}, op ? make('button', {class: 'link', onclick: () => select(op, {show: true})}, type) : type), rows.length, reason, fix || ''];
    }), [1]));
  }
  if ((plan.segments || []).length) view.append(make('h3', {}, 'Segments'), plainTable(['', 'unit', 'ops', 'from', 'to', 'takes', 'gives', 'time'], plan.segments.map((segment, i) => {
    const ends = [segment.ops[0], segment.ops.at(-1)].map(name => { const op = findOp(name); return op ? opLink(op) : name || ''; });
    return [i + 1, unitChip(segment.unit), segment.ops.length, ...ends, segment.inputs.length, segment.outputs.length, seconds(segment.cost)];
  }), [0, 2, 5, 6, 7]));
  if ((plan.transfers || []).length) view.append(make('h3', {}, 'Transfers'), plainTable(['value', 'type', 'from', 'to', 'time'], plan.transfers.map(t => [t.value, make('span', {class: 'mono'}, t.type), UNITS[t.source] || t.source, UNITS[t.destination] || t.destination, seconds(t.cost)]), [4]));
  return make('div', {class: 'view'}, view);
}

// --- differences ------------------------------------------------------------------------------------------------------

function diffView() {
  const found = data.diff;
  const view = make('div', {class: 'pad'}, make('h2', {class: 'big'}, 'Beside ' + found.name), make('div', {class: 'tiles'},
    ...[['added', found.added.length], ['removed', found.removed.length], ['changed', found.changed.length], ['same', found.same]].map(([kind, n]) =>
      make('div', {class: 'tile'}, make('b', {style: {color: n ? `var(--${kind})` : ''}}, n), make('span', {}, kind === 'same' ? 'unchanged' : kind)))));
  const notes = [...found.functions, ...found.interface];
  if (notes.length) view.append(make('h3', {}, 'Interface'), ...notes.map(note => make('div', {}, note)));
  for (const [kind, title] of [['changed', 'Changed'], ['added', 'Added'], ['removed', 'Removed']]) {
    if (!found[kind].length) continue;
    const heads = ['type', 'name', ...(functions.length > 1 ? ['function'] : []), kind === 'changed' ? 'what' : 'result'];
    const rows = found[kind].slice(0, 2000).map(row => {
      const op = kind === 'removed' ? null : findOp(row.name, functions.filter(one => one.name === row.function));
      const name = row.old && row.old !== row.name ? `${row.name}, was ${row.old}` : row.name;
      return [make('b', {}, row.type), op ? make('button', {class: 'link', onclick: () => select(op, {show: true})}, name) : name, ...(functions.length > 1 ? [row.function] : []),
        kind === 'changed' ? make('div', {}, ...row.changes.map(change => make('div', {}, change))) : row.results];
    });
    view.append(make('h3', {}, `${title} (${found[kind].length})`), plainTable(heads, rows));
  }
  if (!found.added.length && !found.removed.length && !found.changed.length) view.append(make('p', {}, 'The programs are the same, op for op.'));
  return make('div', {class: 'view'}, view);
}
