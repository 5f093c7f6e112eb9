// Summary, plan and differences.

const link = (label, act) => make('button', {class: 'link', onclick: act}, label);
const opLink = (op, label = op.name || op.type) => link(label, () => select(op, {show: true}));
const heading = words => make('h3', {}, words);
const unitName = unit => UNITS[unit] || unit;
const view = (...children) => make('div', {class: 'view'}, make('div', {class: 'pad'}, ...children));

// A table; the columns whose numbers are in `numbers` are set to the right.
function plainTable(heads, rows, numbers = []) {
  const style = i => ({class: numbers.includes(i) ? 'num' : ''});
  const head = make('tr', {}, ...heads.map((name, i) => make('th', style(i), name)));
  const body = rows.map(row => make('tr', {}, ...row.map((cell, i) => make('td', style(i), cell))));
  return make('table', {class: 'plain'}, make('thead', {}, head), make('tbody', {}, ...body));
}

// Large numbers, each with what it counts, and a colour if it has one.
function tiles(rows) {
  const tile = ([value, label, shade]) =>
    make('div', {class: 'tile'}, make('b', shade ? {style: {color: shade}} : {}, value), make('span', {}, label));
  return make('div', {class: 'tiles'}, ...rows.map(tile));
}

const facts = rows => make('div', {class: 'facts'}, ...rows.flat().map(words => make('span', {}, words)));

// --- summary --------------------------------------------------------------------------------------------------------

function summaryView() {
  const count = functions.reduce((sum, one) => sum + one.ops.length, 0);
  const numbers = [[count.toLocaleString('en'), count === 1 ? 'operation' : 'operations'], ...data.tiles];
  if (functions.length > 1) numbers.push([functions.length, 'functions']);
  if (data.plan) {
    for (const unit of data.plan.units)
      numbers.push([percent(data.plan.shares[unit].ops), `of ops on ${unitName(unit)}`]);
  }
  if (hasErrors) {
    const outputs = Object.entries(data.inspection.outputs || {});
    for (const [name, figures] of outputs) numbers.push([decibels(figures.snr_db), `output ${name}`]);
  }
  return view(
    make('h2', {class: 'big'}, data.title),
    make('div', {class: 'dim'}, data.metadata.Description || ''),
    tiles(numbers),
    ...interfaceTables(),
    heading('Model'),
    facts(data.summary),
    ...(functions.length > 1 ? [heading('Functions'), functionTable()] : []),
    heading('Operations by type'),
    typeTable(),
    ...(Object.keys(data.metadata).length ? [heading('Metadata'), facts(Object.entries(data.metadata))] : []),
    make('p', {class: 'dim'}, `Written by ${data.generator}.`),
  );
}

function interfaceTables() {
  const titles = {inputs: 'Inputs', outputs: 'Outputs', states: 'States'};
  return Object.entries(titles).flatMap(([kind, title]) => {
    const rows = data.interface[kind].map(row => [row.name, make('span', {class: 'mono'}, row.type), row.about]);
    return rows.length ? [heading(title), plainTable(['name', 'type', ''], rows)] : [];
  });
}

function functionTable() {
  const open = one => {
    state.function = one;
    state.selected = null;
    changed('function');
    openTab('Graph');
  };
  const rows = functions.map(one => [link(one.name, () => open(one)), one.opset, one.ops.length]);
  return plainTable(['name', 'opset', 'operations'], rows, [2]);
}

function typeTable() {
  const counts = new Map();
  for (const one of functions) for (const op of one.ops) counts.set(op.type, (counts.get(op.type) || 0) + 1);
  const sorted = [...counts].sort((a, b) => b[1] - a[1]);
  const open = type => {
    openTab('Ops');
    table.filter('', type);
  };
  const bar = n => make('i', {class: 'bar', style: {width: 1 + (260 * n) / sorted[0][1] + 'px'}});
  const rows = sorted.map(([type, n]) => [link(type, () => open(type)), make('span', {}, bar(n), n)]);
  return plainTable(['type', 'count'], rows);
}

// --- plan -----------------------------------------------------------------------------------------------------------

function planView() {
  const plan = data.plan;
  const numbers = [
    [seconds(plan.cost), 'estimated in all'],
    [plan.segments.length, 'segments'],
    [plan.transfers.length, 'transfers'],
  ];
  for (const unit of plan.units) {
    const share = plan.shares[unit];
    numbers.push([share.count, `ops on ${unitName(unit)}, ${percent(share.cost)} of the time`]);
  }
  return view(
    make('h2', {class: 'big'}, plan.target ? `Plan for ${plan.target}` : 'Plan'),
    ...(plan.notes || []).map(note => make('div', {class: 'note'}, note)),
    tiles(numbers),
    heading('Units in the program’s order'),
    unitStrip(plan.ops),
    ...plan.units.flatMap(unit => refusalTable(plan.ops, unit)),
    ...(plan.segments.length ? [heading('Segments'), segmentTable(plan.segments)] : []),
    ...(plan.transfers.length ? [heading('Transfers'), transferTable(plan.transfers)] : []),
  );
}

function unitStrip(rows) {
  const runs = [];
  for (const row of rows) {
    if (runs.length && runs.at(-1).unit === row.unit) runs.at(-1).count++;
    else runs.push({unit: row.unit, count: 1});
  }
  const piece = ({unit, count}) =>
    make('i', {title: `${unitName(unit)}: ${count} ops`, style: {flexGrow: count, background: `var(--${unit})`}});
  return make('div', {class: 'strip'}, ...runs.map(piece));
}

// Why ops are not on a unit, equal reasons of one type of op together, the most frequent first.
function refusalTable(ops, unit) {
  const reasons = new Map();
  for (const row of ops) {
    const refusal = (row.refusals || {})[unit];
    if (!refusal) continue;
    const key = JSON.stringify([row.type, refusal.reason, refusal.fix]);
    if (!reasons.has(key)) reasons.set(key, []);
    reasons.get(key).push(row);
  }
  const rows = [...reasons.values()]
    .sort((a, b) => b.length - a.length)
    .map(refused => {
      const {type, name, refusals} = refused[0];
      const op = findOp(name, planned);
      return [
        make('b', {}, op ? opLink(op, type) : type),
        refused.length,
        refusals[unit].reason,
        refusals[unit].fix || '',
        refusals[unit].confidence || '',
      ];
    });
  const title = heading(`Why ops are not on ${unitName(unit)}`);
  return rows.length ? [title, plainTable(['op', 'ops', 'reason', 'what helps', 'confidence'], rows, [1])] : [];
}

function segmentTable(segments) {
  const end = name => {
    const op = findOp(name, planned);
    return op ? opLink(op) : name || '';
  };
  const rows = segments.map(({unit, ops, inputs, outputs, cost}, i) => {
    const ends = [end(ops[0]), end(ops.at(-1))];
    return [i + 1, unitChip(unit), ops.length, ...ends, inputs.length, outputs.length, seconds(cost)];
  });
  return plainTable(['', 'unit', 'ops', 'from', 'to', 'takes', 'gives', 'time'], rows, [0, 2, 5, 6, 7]);
}

function transferTable(transfers) {
  const rows = transfers.map(({value, type, source, destination, cost}) => {
    return [value, make('span', {class: 'mono'}, type), unitName(source), unitName(destination), seconds(cost)];
  });
  return plainTable(['value', 'type', 'from', 'to', 'time'], rows, [4]);
}

// --- differences ----------------------------------------------------------------------------------------------------

const MOST = 2000; // rows of a table

function diffView() {
  const found = data.diff;
  const shade = (kind, n) => (n ? `var(--${kind})` : '');
  const kinds = ['added', 'removed', 'changed'].map(kind => [
    found[kind].length,
    kind,
    shade(kind, found[kind].length),
  ]);
  const notes = [...found.functions, ...found.interface];
  const same = !notes.length && kinds.every(([n]) => !n);
  return view(
    make('h2', {class: 'big'}, `Beside ${found.name}`),
    tiles([...kinds, [found.same, 'unchanged']]),
    ...(notes.length ? [heading('Interface'), ...notes.map(note => make('div', {}, note))] : []),
    ...diffTable('Changed', found.changed, 'what'),
    ...diffTable('Added', found.added, 'result'),
    ...diffTable('Removed', found.removed, 'result'),
    same ? make('p', {}, 'The programs are the same, op for op.') : null,
  );
}

function diffTable(title, rows, last) {
  if (!rows.length) return [];
  const several = functions.length > 1;
  const cells = row => {
    const op = title === 'Removed' ? null : findOp(row.name, named(row.function));
    const name = row.old && row.old !== row.name ? `${row.name}, was ${row.old}` : row.name;
    const changes = (row.changes || []).map(change => make('div', {}, change));
    const what = changes.length ? make('div', {}, ...changes) : row.results;
    return [make('b', {}, row.type), op ? opLink(op, name) : name, ...(several ? [row.function] : []), what];
  };
  const heads = ['type', 'name', ...(several ? ['function'] : []), last];
  return [heading(`${title} (${rows.length})`), plainTable(heads, rows.slice(0, MOST).map(cells))];
}
