// The table of ops: only the rows in sight are there.

const ROW = 28; // pixels

// Columns in order. `key` gives what is sorted by (null for nothing), `show` what stands in the cell.
function opColumns() {
  const plain = (name, width, key, show = key) => ({name, width, key, show, number: false});
  const number = (name, width, key, show) => ({name, width, key, number: true, show: op => shown(key(op), show)});
  const shown = (value, show) => (value === null || value === undefined ? '' : show(value));
  const chip = (label, shade) => make('span', {class: 'chip', style: {background: `var(--${shade})`}}, label);
  const row = (key, field) => op => {
    const found = op.error && (field ? op.error[key] && op.error[key][field] : op.error[key]);
    return found === null || found === undefined ? null : Number(found);
  };
  const share = value => (value ? percent(value) : '');
  const source = at => [at.source, at.file ? `${at.file.split('/').at(-1)}:${at.line}` : ''].filter(Boolean).join(', ');

  const columns = [number('#', 62, op => op.index, String)];
  if (functions.length > 1) columns.push(plain('function', 130, op => op.function.name));
  const kind = op => (op.diff ? op.diff.kind : '');
  if (data.diff) columns.push(plain('difference', 96, kind, op => (op.diff ? chip(kind(op), kind(op)) : '')));
  columns.push(
    plain(
      'type',
      190,
      op => op.type,
      op => make('b', {}, op.type),
    ),
  );
  columns.push(plain('name', 260, op => op.name));
  if (data.plan) {
    columns.push(
      plain(
        'unit',
        128,
        op => (op.plan ? op.plan.unit : ''),
        op => (op.plan ? unitChip(op.plan.unit) : ''),
      ),
    );
    columns.push(number('cost', 90, op => (op.plan ? op.plan.cost : null), seconds));
  }
  columns.push(plain('result', 220, op => op.results.map(result => result[1]).join(', ')));
  if (data.inspection) {
    columns.push(number('low', 92, row('low'), text), number('high', 92, row('high'), text));
    columns.push(number('overflow', 92, row('overflow'), share), number('underflow', 92, row('underflow'), share));
    columns.push(number('NaN', 92, row('nan'), share));
  }
  if (hasErrors) {
    columns.push(number('local', 106, row('local', 'snr_db'), decibels));
    columns.push(number('accumulated', 106, row('accumulated', 'snr_db'), decibels));
    columns.push(number('share', 84, row('share'), share));
  }
  columns.push(plain('module', 240, op => (op.at && op.at.module) || ''));
  columns.push(plain('source', 220, op => (op.at ? source(op.at) : '')));
  return columns;
}

class OpTable {
  constructor() {
    this.columns = opColumns();
    this.style = {gridTemplateColumns: this.columns.map(column => column.width + 'px').join(' ')};
    this.all = functions.flatMap(one => one.ops);
    this.sorted = [0, 1]; // which column, and 1 for upwards
    const update = () => this.update();
    this.box = make('input', {type: 'search', placeholder: 'Filter', 'aria-label': 'Filter', oninput: update});
    const types = [...new Set(this.all.map(op => op.type))].sort();
    this.type = make(
      'select',
      {'aria-label': 'Type of op', onchange: update},
      make('option', {value: ''}, 'all types'),
      ...types.map(type => make('option', {value: type}, type)),
    );
    this.count = make('span', {class: 'dim'});
    this.head = make('div', {class: 'row head', style: this.style}, ...this.columns.map((c, i) => this.headOf(c, i)));
    this.rows = make('div', {class: 'rows'});
    this.scroller = make('div', {class: 'grid'}, this.head, this.rows);
    const controls = make('div', {class: 'controls'}, this.box, this.type, this.count);
    this.element = make('div', {class: 'view', id: 'ops'}, controls, this.scroller);
    this.scroller.addEventListener('scroll', () => this.paint());
    new ResizeObserver(() => this.paint()).observe(this.scroller);
    onChange(what => {
      if (what !== 'mode') this.paint();
    });
    this.update();
  }

  headOf(column, i) {
    const sort = () => {
      const first = column.number && i ? -1 : 1; // the largest numbers are what one looks for
      this.sorted = [i, this.sorted[0] === i ? -this.sorted[1] : first];
      this.update();
    };
    return make('span', {class: column.number ? 'num' : '', role: 'columnheader', onclick: sort}, column.name);
  }

  filter(words, type) {
    this.box.value = words;
    this.type.value = type;
    this.update();
  }

  update() {
    const words = this.box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const type = this.type.value;
    this.shown = this.all.filter(
      op => (!type || op.type === type) && words.every(word => searchText(op).includes(word)),
    );
    const [index, direction] = this.sorted;
    this.shown.sort(ordering(this.columns[index].key, direction));
    [...this.head.children].forEach((cell, i) => {
      cell.textContent = this.columns[i].name + (i === index ? (direction > 0 ? ' ▴' : ' ▾') : '');
    });
    const [some, all] = [this.shown.length, this.all.length];
    this.count.textContent = some === all ? `${all} ops` : `${some} of ${all} ops`;
    this.rows.style.height = some * ROW + 'px';
    this.paint();
  }

  paint() {
    const first = Math.max(0, Math.floor(this.scroller.scrollTop / ROW) - 5);
    const last = first + Math.ceil((this.scroller.clientHeight || 700) / ROW) + 12;
    this.rows.replaceChildren(...this.shown.slice(first, last).map((op, i) => this.row(op, first + i)));
  }

  row(op, place) {
    const cells = this.columns.map(column => {
      const content = column.show(op);
      const title = content instanceof Node ? '' : content;
      return make('span', {class: column.number ? 'num' : '', title}, content);
    });
    const attributes = {
      class: op === state.selected ? 'row on' : 'row',
      style: {...this.style, top: place * ROW + 'px'},
      onclick: () => select(op),
      ondblclick: () => select(op, {show: true}),
    };
    return make('div', attributes, ...cells);
  }
}

// Compares ops by a key; what has none comes last, and what is equal keeps the program's order.
function ordering(key, direction) {
  const missing = value => value === null || value === undefined || Number.isNaN(value);
  return (a, b) => {
    const [x, y] = [key(a), key(b)];
    if (missing(x) || missing(y)) return missing(x) - missing(y) || a.index - b.index;
    const apart = typeof x === 'number' ? Math.sign(x - y) : x.localeCompare(y, 'en', {numeric: true});
    return direction * apart || a.index - b.index;
  };
}

function searchText(op) {
  if (op.words === undefined)
    op.words = [op.type, op.name, ...op.results.flat(), ...op.operands.flatMap(([, names]) => names), placeText(op.at)]
      .join(' ')
      .toLowerCase();
  return op.words;
}

const unitChip = unit =>
  make('span', {class: 'chip', style: {background: `var(--${unit in UNITS ? unit : 'other'})`}}, UNITS[unit] || unit);
