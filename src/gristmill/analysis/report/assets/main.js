// The page itself: tabs, search, details of the op at hand, light and dark.

// --- light and dark ------------------------------------------------------------------------------------------------

const system = matchMedia('(prefers-color-scheme: dark)');
let theme = 'auto';
function applyTheme() {
  document.documentElement.dataset.theme = theme === 'auto' ? (system.matches ? 'dark' : 'light') : theme;
  $('theme').textContent = {auto: '◐', light: '☀', dark: '☾'}[theme];
  changed('theme');
}
$('theme').addEventListener('click', () => {
  theme = {auto: 'light', light: 'dark', dark: 'auto'}[theme];
  applyTheme();
});
system.addEventListener('change', applyTheme);
applyTheme();

// --- tabs ----------------------------------------------------------------------------------------------------------

$('title').textContent = data.title;
$('title').title = data.title;
const views = {},
  tabs = {};
function addTab(name, view) {
  views[name] = view;
  view.dataset.tab = name;
  $('views').append(view);
  tabs[name] = make('button', {role: 'tab', onclick: () => openTab(name)}, name);
  $('tabs').append(tabs[name]);
}
function openTab(name) {
  state.tab = name;
  for (const [key, view] of Object.entries(views)) {
    view.hidden = key !== name;
    tabs[key].setAttribute('aria-selected', String(key === name));
  }
  $('details').hidden = !state.selected || !['Graph', 'Ops', 'Ranges'].includes(name);
}

const graph = new GraphView($('views'));
const table = new OpTable();
addTab('Summary', summaryView());
addTab('Graph', graph.element);
addTab('Ops', table.element);
addTab('Ranges', new RangePlot().element);
if (data.plan) addTab('Plan', planView());
if (data.diff) addTab('Difference', diffView());

const chooser = $('function');
chooser.hidden = functions.length < 2;
chooser.append(...functions.map((one, i) => make('option', {value: i}, one.name)));
chooser.addEventListener('change', () => {
  state.function = functions[chooser.value];
  state.selected = null;
  changed('function');
  changed('selected');
});

// --- details of an op ----------------------------------------------------------------------------------------------

const pair = (label, value) =>
  make('div', {class: 'pair'}, make('span', {title: label}, label), make('span', {}, value));

function details(op) {
  const one = op.function,
    parts = [
      make('button', {class: 'close', title: 'Close (Esc)', onclick: () => select(null)}, '×'),
      make('h2', {}, op.type),
      make('div', {class: 'name'}, op.name),
    ];
  const show =
    state.tab !== 'Graph'
      ? make('button', {class: 'tool', onclick: () => select(op, {show: true})}, 'Show in graph')
      : null;
  const inner = op.blocks
    ? make(
        'button',
        {
          class: 'tool',
          onclick: () => {
            openTab('Graph');
            graph.toggle(op);
          },
        },
        graph.expanded.has(op) ? 'Hide blocks' : `Show ${op.blocks.length} blocks`,
      )
    : null;
  if (show || inner) parts.push(make('div', {}, ...[show, inner].filter(Boolean)));
  if (op.at) {
    parts.push(make('h3', {}, 'Source'));
    if (op.at.module) parts.push(pair('module', op.at.module));
    if (op.at.source) parts.push(pair('operator', op.at.source));
    if (op.at.file) parts.push(pair('line', op.at.file + (op.at.line ? ':' + op.at.line : '')));
  }
  parts.push(make('h3', {}, 'Results'));
  for (const [name, type] of op.results) {
    const users = one.users.get(name) || [];
    parts.push(
      make(
        'div',
        {class: 'card'},
        make('b', {}, name),
        make('div', {class: 'mono'}, type),
        users.length
          ? make(
              'div',
              {},
              make('span', {class: 'dim'}, 'used by '),
              ...users.slice(0, 24).flatMap((user, i) => [i ? ', ' : '', opLink(user)]),
              users.length > 24 ? ` and ${users.length - 24} more` : '',
            )
          : null,
      ),
    );
  }
  if (op.operands.length) parts.push(make('h3', {}, 'Operands'));
  for (const [slot, names] of op.operands)
    for (const [i, name] of names.entries()) parts.push(operand(one, names.length > 1 ? `${slot} ${i}` : slot, name));
  if (op.diff)
    parts.push(
      make('h3', {}, 'Difference'),
      make(
        'div',
        {class: 'card'},
        make('b', {style: {color: `var(--${op.diff.kind})`}}, op.diff.kind),
        ...(op.diff.changes || []).map(change => make('div', {}, change)),
      ),
    );
  if (op.plan) parts.push(...planDetails(op.plan));
  if (op.error) parts.push(...errorDetails(op.error));
  return parts;
}

function operand(one, slot, name) {
  const constant = one.constants[name],
    maker = one.makers.get(name);
  if (!constant)
    return make(
      'div',
      {class: 'card'},
      pair(
        slot,
        make(
          'span',
          {},
          maker ? make('button', {class: 'link', onclick: () => select(maker, {show: true})}, name) : name,
          maker ? make('span', {class: 'dim'}, ' from ' + maker.type) : make('span', {class: 'dim'}, ' input'),
          make('div', {class: 'mono'}, one.types.get(name) || ''),
        ),
      ),
    );
  if (constant.text !== undefined && constant.text.length < 40 && constant.low === undefined)
    return make(
      'div',
      {class: 'card'},
      pair(
        slot,
        make(
          'span',
          {},
          make('span', {class: 'mono'}, constant.text),
          make('span', {class: 'dim'}, '  ' + constant.type),
        ),
      ),
    );
  const card = make(
    'div',
    {class: 'card'},
    pair(slot, make('span', {}, name, make('div', {class: 'mono'}, constant.type))),
  );
  if (constant['made by']) card.append(pair('made by', constant['made by']));
  if (constant.text !== undefined) card.append(make('div', {class: 'mono'}, constant.text));
  if (constant.low !== undefined) {
    const most = Math.max(...constant.histogram);
    card.append(
      pair('mean', text(constant.mean)),
      constant.zeros ? pair('zeros', percent(constant.zeros)) : '',
      constant.finite < 1 ? pair('finite', percent(constant.finite)) : '',
      make(
        'div',
        {class: 'bins', title: 'Distribution'},
        ...constant.histogram.map(n => make('i', {style: {height: (100 * n) / most + '%'}})),
      ),
      make('div', {class: 'ends'}, make('span', {}, text(constant.low)), make('span', {}, text(constant.high))),
    );
  } else if (constant.finite === 0) card.append(pair('finite', 'none'));
  return card;
}

function planDetails(row) {
  const parts = [make('h3', {}, 'Plan'), pair('unit', unitChip(row.unit)), pair('time', seconds(row.cost))];
  for (const [unit, cost] of Object.entries(row.costs || {}))
    if (unit !== row.unit) parts.push(pair('on ' + (UNITS[unit] || unit), seconds(cost)));
  for (const [unit, refusal] of Object.entries(row.refusals || {}))
    parts.push(
      make(
        'div',
        {class: 'reason'},
        make('b', {}, 'not ' + (UNITS[unit] || unit) + ': '),
        refusal.reason,
        refusal.fix ? make('div', {class: 'fix'}, refusal.fix) : '',
      ),
    );
  return parts;
}

function errorDetails(row) {
  const parts = [
    make('h3', {}, 'Values'),
    pair(
      'range',
      row.low === undefined || Number(row.low) > Number(row.high)
        ? 'no finite number'
        : text(row.low) + ' … ' + text(row.high),
    ),
  ];
  for (const [key, label] of [
    ['overflow', 'beyond float16'],
    ['underflow', 'vanishing'],
    ['nan', 'NaN'],
  ])
    if (row[key]) parts.push(pair(label, percent(row[key])));
  for (const [key, label] of [
    ['local', 'Error of this op alone'],
    ['accumulated', 'Error up to here'],
  ]) {
    const figures = row[key];
    if (!figures) continue;
    parts.push(make('h3', {}, label), pair('signal to noise', decibels(figures.snr_db)));
    for (const [name, title] of [
      ['psnr_db', 'peak to noise'],
      ['max_abs', 'largest'],
      ['cosine', 'cosine'],
    ])
      if (figures[name] !== undefined)
        parts.push(
          pair(title, name === 'psnr_db' ? decibels(figures[name]) : text(figures[name], name === 'cosine' ? 8 : 4)),
        );
  }
  if (row.share) parts.push(pair('share of all', percent(row.share)));
  return parts;
}

onChange(what => {
  if (what === 'show') openTab('Graph');
  if (what === 'selected' || what === 'show') {
    $('details').replaceChildren(...(state.selected ? details(state.selected) : []));
    $('details').scrollTop = 0;
    openTab(state.tab);
  }
  if (what === 'function') {
    chooser.value = functions.indexOf(state.function);
    graph.makeLegend();
  }
});

// --- search --------------------------------------------------------------------------------------------------------

const search = $('search'),
  hits = $('hits');
let shown = [],
  chosen = 0;
function runSearch() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const ordered = [...state.function.ops, ...functions.filter(one => one !== state.function).flatMap(one => one.ops)];
  const found = words.length ? ordered.filter(op => words.every(word => searchText(op).includes(word))) : [];
  const exact = op => (op.type === search.value || op.name === search.value ? 0 : 1);
  found.sort((a, b) => exact(a) - exact(b));
  state.found = new Set(found);
  shown = found.slice(0, 60);
  chosen = -1;
  $('place').textContent = '';
  hits.replaceChildren(
    ...shown.map((op, i) =>
      make(
        'div',
        {
          class: 'hit',
          onmousedown: event => {
            event.preventDefault();
            take(i);
          },
        },
        make('b', {}, op.type),
        make('span', {}, op.name + (functions.length > 1 ? '  ' + op.function.name : '')),
      ),
    ),
    ...(words.length
      ? [
          make(
            'div',
            {class: 'hit dim'},
            found.length > shown.length ? `${found.length - shown.length} more` : found.length ? '' : 'nothing found',
          ),
        ]
      : []),
  );
  hits.hidden = !words.length;
  graph.draw();
}
function take(i) {
  if (!shown[i]) return;
  chosen = i;
  select(shown[i], {show: true});
  mark();
  hits.hidden = true;
  $('place').textContent = `${i + 1} of ${state.found.size}`;
}
function mark() {
  [...hits.children].forEach((hit, i) => hit.classList.toggle('on', i === chosen));
  if (hits.children[chosen]) hits.children[chosen].scrollIntoView({block: 'nearest'});
}
search.addEventListener('input', runSearch);
search.addEventListener('focus', () => {
  hits.hidden = !search.value || chosen >= 0;
});
search.addEventListener('blur', () => {
  hits.hidden = true;
});
search.addEventListener('keydown', event => {
  if (event.key === 'Enter')
    take(hits.hidden || chosen < 0 ? (chosen + (event.shiftKey ? shown.length - 1 : 1)) % shown.length : chosen);
  if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
    hits.hidden = !search.value;
    chosen = Math.max(0, Math.min(shown.length - 1, chosen + (event.key === 'ArrowDown' ? 1 : -1)));
    mark();
    event.preventDefault();
  }
  if (event.key === 'Escape') {
    search.value = '';
    runSearch();
    search.blur();
  }
});
addEventListener('keydown', event => {
  if (event.target.matches('input, select')) return;
  if (event.key === '/') {
    search.focus();
    event.preventDefault();
  }
  if (event.key === 'Escape') select(null);
});

const wanted = decodeURIComponent(location.hash.slice(1));
openTab(wanted in views ? wanted : data.diff ? 'Difference' : 'Graph');
