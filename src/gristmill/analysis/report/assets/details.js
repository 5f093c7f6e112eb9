// What the panel beside the graph says of an op.

const USERS = 24; // of a result, that are listed

const pair = (label, value) =>
  make('div', {class: 'pair'}, make('span', {title: label}, label), make('span', {}, value));
const card = (...children) => make('div', {class: 'card'}, ...children);
const code = words => make('div', {class: 'mono'}, words);
const dim = words => make('span', {class: 'dim'}, words);

function details(op) {
  const operands = op.operands.flatMap(([slot, names]) =>
    names.map((name, i) => operandCard(op.function, names.length > 1 ? `${slot} ${i}` : slot, name)),
  );
  return [
    make('button', {class: 'close', title: 'Close (Esc)', onclick: () => select(null)}, '×'),
    make('h2', {}, op.type),
    make('div', {class: 'name'}, op.name),
    make('div', {}, ...detailButtons(op)),
    ...(op.at ? [heading('Source'), ...placeLines(op.at)] : []),
    heading('Results'),
    ...op.results.map(([name, type]) => resultCard(op.function, name, type)),
    ...(operands.length ? [heading('Operands'), ...operands] : []),
    ...(op.diff ? [heading('Difference'), diffCard(op.diff)] : []),
    ...(op.plan ? [heading('Plan'), ...planLines(op.plan)] : []),
    ...(op.error ? errorLines(op.error) : []),
  ];
}

function detailButtons(op) {
  const button = (label, act) => make('button', {class: 'tool', onclick: act}, label);
  const toggle = () => {
    openTab('Graph');
    graph.toggle(op);
    changed('selected');
  };
  const found = [];
  if (state.tab !== 'Graph') found.push(button('Show in graph', () => select(op, {show: true})));
  if (op.blocks) found.push(button(graph.expanded.has(op) ? 'Hide blocks' : `Show ${op.blocks.length} blocks`, toggle));
  return found;
}

function placeLines(at) {
  const line = at.file && at.file + (at.line ? `:${at.line}` : '');
  const rows = {module: at.module, operator: at.source, line};
  return Object.entries(rows).flatMap(([label, value]) => (value ? [pair(label, value)] : []));
}

function resultCard(one, name, type) {
  const users = one.users.get(name) || [];
  const links = users.slice(0, USERS).flatMap((user, i) => [i ? ', ' : '', opLink(user)]);
  const more = users.length > USERS ? ` and ${users.length - USERS} more` : '';
  return card(make('b', {}, name), code(type), users.length ? make('div', {}, dim('used by '), ...links, more) : null);
}

function operandCard(one, slot, name) {
  const constant = one.constants[name];
  if (constant) return constantCard(slot, name, constant);
  const maker = one.makers.get(name);
  const origin = maker ? [opLink(maker, name), dim(` from ${maker.type}`)] : [name, dim(' input')];
  return card(pair(slot, make('span', {}, ...origin, code(one.types.get(name) || ''))));
}

function constantCard(slot, name, constant) {
  const {type, text: contents, low, high, mean, zeros, finite, histogram} = constant;
  if (contents !== undefined && contents.length < 40) {
    return card(pair(slot, make('span', {}, make('span', {class: 'mono'}, contents), dim(`  ${type}`))));
  }
  const found = card(pair(slot, make('span', {}, name, code(type))));
  if (constant['made by']) found.append(pair('made by', constant['made by']));
  if (contents !== undefined) found.append(code(contents));
  if (finite < 1) found.append(pair('finite', percent(finite)));
  if (low === undefined) return found;
  found.append(pair('mean', text(mean)), zeros ? pair('zeros', percent(zeros)) : '', bins(histogram));
  found.append(make('div', {class: 'ends'}, make('span', {}, text(low)), make('span', {}, text(high))));
  return found;
}

function bins(counts) {
  const most = Math.max(...counts);
  const bar = count => make('i', {style: {height: `${(100 * count) / most}%`}});
  return make('div', {class: 'bins', title: 'Distribution'}, ...counts.map(bar));
}

function diffCard(row) {
  const changes = (row.changes || []).map(change => make('div', {}, change));
  return card(make('b', {style: {color: `var(--${row.kind})`}}, row.kind), ...changes);
}

function planLines(row) {
  const others = Object.entries(row.costs || {}).filter(([unit]) => unit !== row.unit);
  const refusals = Object.entries(row.refusals || {}).map(([unit, {reason, fix, confidence}]) => {
    const sure = confidence ? ` (${confidence} confidence)` : '';
    const help = fix ? make('div', {class: 'fix'}, fix) : null;
    return make('div', {class: 'reason'}, make('b', {}, `not ${unitName(unit)}: `), reason + sure, help);
  });
  return [
    pair('unit', unitChip(row.unit)),
    pair('time', seconds(row.cost)),
    ...others.map(([unit, cost]) => pair(`on ${unitName(unit)}`, seconds(cost))),
    ...refusals,
  ];
}

function errorLines(row) {
  const empty = row.low === undefined || Number(row.low) > Number(row.high);
  const parts = [heading('Values'), pair('range', empty ? 'no finite number' : `${text(row.low)} … ${text(row.high)}`)];
  const shares = {overflow: 'beyond float16', underflow: 'vanishing', nan: 'NaN'};
  for (const [key, label] of Object.entries(shares)) if (row[key]) parts.push(pair(label, percent(row[key])));
  const figures = {local: 'Error of this op alone', accumulated: 'Error up to here'};
  for (const [key, label] of Object.entries(figures))
    if (row[key]) parts.push(heading(label), ...figureLines(row[key]));
  if (row.share) parts.push(pair('share of all', percent(row.share)));
  return parts;
}

function figureLines({snr_db, psnr_db, max_abs, cosine}) {
  return [
    pair('signal to noise', decibels(snr_db)),
    ...(psnr_db === undefined ? [] : [pair('peak to noise', decibels(psnr_db))]),
    ...(max_abs === undefined ? [] : [pair('largest', text(max_abs))]),
    ...(cosine === undefined ? [] : [pair('cosine', text(cosine, 8))]),
  ];
}
