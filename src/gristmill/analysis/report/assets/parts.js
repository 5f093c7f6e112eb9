// What all views share: the model's data in memory, colours, and small pieces of the page.

const data = JSON.parse(document.getElementById('data').textContent);
const $ = id => document.getElementById(id);

// Makes an element. Text and attributes come from models: they are set as text, never as markup.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === 'class') element.className = value;
    else if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (key === 'style') Object.assign(element.style, value);
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(
    ...children.filter(child => child !== null && child !== undefined).map(c => (c instanceof Node ? c : String(c))),
  );
  return element;
}

const color = name =>
  getComputedStyle(document.documentElement)
    .getPropertyValue('--' + name)
    .trim();

function text(value, digits = 4) {
  const number = Number(value);
  if (value === null || value === undefined || value === '') return '';
  if (number === Infinity) return '∞';
  if (number === -Infinity) return '−∞';
  if (Number.isNaN(number)) return 'NaN';
  const rounded = Number(number.toPrecision(digits));
  const tiny = rounded && Math.abs(rounded) < 1e-3;
  return (tiny ? rounded.toExponential() : String(rounded)).replaceAll('-', '−');
}
const percent = share => (share ? (share >= 0.0005 ? (100 * share).toPrecision(3) + ' %' : '< 0.05 %') : '0');
const decibels = value => (value === undefined ? '' : Number(value) === Infinity ? 'exact' : text(value, 3) + ' dB');
const seconds = value =>
  value === undefined
    ? ''
    : value >= 1
      ? text(value, 3) + ' s'
      : value >= 1e-3
        ? text(value * 1e3, 3) + ' ms'
        : text(value * 1e6, 3) + ' µs';
const UNITS = {cpu: 'CPU', gpu: 'GPU', neural_engine: 'Neural Engine'};
const placeText = at =>
  !at ? '' : [at.module, at.source, at.file ? at.file + (at.line ? ':' + at.line : '') : ''].filter(Boolean).join(', ');

// --- the ops of all functions, each with what a plan, an inspection and a comparison say of it ---------------------

const functions = data.functions.map(makeFunction);

function makeFunction(source) {
  const found = {
    name: source.name,
    opset: source.opset,
    block: source.block,
    constants: source.constants,
    ops: [],
    makers: new Map(),
    users: new Map(),
    types: new Map(),
  };
  const visit = (block, holder) => {
    for (const [name, type] of block.inputs) found.types.set(name, type);
    for (const op of block.ops) {
      Object.assign(op, {index: found.ops.length, holder, function: found});
      found.ops.push(op);
      for (const [, names] of op.operands)
        for (const name of names) {
          if (!found.users.has(name)) found.users.set(name, []);
          if (found.users.get(name).at(-1) !== op) found.users.get(name).push(op);
        }
      for (const [name, type] of op.results) {
        found.makers.set(name, op);
        found.types.set(name, type);
      }
      for (const inner of op.blocks || []) visit(inner, op);
    }
  };
  visit(source.block, null);
  found.byName = new Map(found.ops.map(op => [op.name, op]));
  return found;
}

// The op of a name, in the first function that has one.
function findOp(name, inside = functions) {
  for (const one of inside) if (one.byName.has(name)) return one.byName.get(name);
  return null;
}

// Notes rows that others wrote about ops, under `key`.
function join(rows, key, inside) {
  for (const row of rows) {
    const op = findOp(row.name, inside);
    if (op) op[key] = row;
  }
}

const named = name => functions.filter(one => one.name === name);
const running = named(data.running);
const planned = data.plan ? named(data.plan.function || data.running) : [];
if (data.plan) join(data.plan.ops, 'plan', planned);
if (data.inspection) join(data.inspection.ops, 'error', running);
if (data.diff) {
  for (const kind of ['added', 'changed']) {
    for (const row of data.diff[kind]) join([{...row, kind}], 'diff', named(row.function));
  }
}
const hasErrors = !!data.inspection && data.inspection.ops.some(row => row.accumulated);

// --- colours -------------------------------------------------------------------------------------------------------

function kindOfType(type) {
  const name = (type || '').split(/[\s<]/)[0];
  if (name === 'fp16' || name === 'fp32' || name === 'bool') return name;
  return /^u?int/.test(name) ? 'int' : 'other';
}

// Decibels of the signal over everything that has gathered up to an op: 40 dB is 1 %, 60 dB is 0.1 %.
function grade(op) {
  const row = op.error;
  if (!row) return 'none';
  if (row.nan > 0 || row.overflow > 0) return 'worst';
  if (!row.accumulated) return 'good';
  const found = Number(row.accumulated.snr_db);
  return found < 20 ? 'worst' : found < 40 ? 'bad' : found < 60 ? 'fair' : 'good';
}

const MODES = {
  type: {
    label: 'Type',
    of: (op, type) => kindOfType(type),
    keys: [
      ['fp16', 'float16'],
      ['fp32', 'float32'],
      ['int', 'integer'],
      ['bool', 'bool'],
      ['other', 'other'],
    ],
  },
};
if (data.plan)
  MODES.device = {
    label: 'Device',
    of: op => (op && op.plan ? op.plan.unit : 'none'),
    keys: [...(data.plan.units || Object.keys(UNITS)).map(u => [u, UNITS[u] || u]), ['none', 'no unit']],
  };
if (data.inspection) {
  MODES.error = {
    label: hasErrors ? 'Error' : 'Overflow',
    of: op => (op ? grade(op) : 'none'),
    keys: hasErrors
      ? [
          ['good', 'over 60 dB'],
          ['fair', '40 to 60 dB'],
          ['bad', '20 to 40 dB'],
          ['worst', 'under 20 dB, or lost'],
          ['none', 'not measured'],
        ]
      : [
          ['good', 'in range'],
          ['worst', 'beyond float16, or NaN'],
          ['none', 'not measured'],
        ],
  };
}
if (data.diff)
  MODES.diff = {
    label: 'Difference',
    of: op => (op && op.diff ? op.diff.kind : 'same'),
    keys: [
      ['added', 'added'],
      ['changed', 'changed'],
      ['same', 'unchanged'],
    ],
  };

const state = {
  function: functions.find(one => one.name === data.running) || functions[0],
  mode: data.diff ? 'diff' : hasErrors ? 'error' : data.plan ? 'device' : 'type',
  selected: null,
  found: new Set(),
  tab: null,
};
const listeners = [];
const onChange = listener => listeners.push(listener);
const changed = what => listeners.forEach(listener => listener(what));

function select(op, options = {}) {
  if (op && op.function !== state.function) {
    state.function = op.function;
    changed('function');
  }
  state.selected = op;
  changed(options.show ? 'show' : 'selected');
}
