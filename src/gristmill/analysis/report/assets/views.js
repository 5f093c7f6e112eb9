// Summary, plan and differences.

const opLink = op => make('button', {class: 'link', onclick: () => select(op, {show: true})}, op.name || op.type);
const findOp = (name, inside = functions) => {
  for (const one of inside) {
    const op = one.ops.find(o => o.name === name);
    if (op) return op;
  }
  return null;
};

function plainTable(heads, rows, numbers = []) {
  return make(
    'table',
    {class: 'plain'},
    make(
      'thead',
      {},
      make('tr', {}, ...heads.map((head, i) => make('th', {class: numbers.includes(i) ? 'num' : ''}, head))),
    ),
    make(
      'tbody',
      {},
      ...rows.map(row =>
        make('tr', {}, ...row.map((cell, i) => make('td', {class: numbers.includes(i) ? 'num' : ''}, cell))),
      ),
    ),
  );
}

// --- summary ----------------------------------------------------------------------------------------------------------

function summaryView() {
  const count = functions.reduce((sum, one) => sum + one.ops.length, 0);
  const tiles = [[count.toLocaleString('en'), count === 1 ? 'operation' : 'operations']];
  if (functions.length > 1) tiles.push([functions.length, 'functions']);
  for (const [value, label] of data.tiles) tiles.push([value, label]);
  if (data.plan)
    for (const unit of data.plan.units || [])
      tiles.push([percent(data.plan.shares[unit].ops), 'of ops on ' + (UNITS[unit] || unit)]);
  if (hasErrors)
    for (const [name, figures] of Object.entries(data.inspection.outputs || {}))
      tiles.push([decibels(figures.snr_db), 'output ' + name]);
  const view = make(
    'div',
    {class: 'pad'},
    make('h2', {class: 'big'}, data.title),
    make('div', {class: 'dim'}, data.metadata.Description || ''),
    make(
      'div',
      {class: 'tiles'},
      ...tiles.map(([value, label]) => make('div', {class: 'tile'}, make('b', {}, value), make('span', {}, label))),
    ),
  );
  for (const [kind, title] of [
    ['inputs', 'Inputs'],
    ['outputs', 'Outputs'],
    ['states', 'States'],
  ]) {
    const rows = data.interface[kind];
    if (rows.length)
      view.append(
        make('h3', {}, title),
        plainTable(
          ['name', 'type', ''],
          rows.map(row => [row.name, make('span', {class: 'mono'}, row.type), row.about]),
        ),
      );
  }
  view.append(
    make('h3', {}, 'Model'),
    make(
      'div',
      {class: 'facts'},
      ...data.summary.flatMap(([label, value]) => [make('span', {}, label), make('span', {}, value)]),
    ),
  );
  if (functions.length > 1)
    view.append(
      make('h3', {}, 'Functions'),
      plainTable(
        ['name', 'opset', 'operations'],
        functions.map(one => [
          make(
            'button',
            {
              class: 'link',
              onclick: () => {
                state.function = one;
                state.selected = null;
                changed('function');
                openTab('Graph');
              },
            },
            one.name,
          ),
          one.opset,
          one.ops.length,
        ]),
        [2],
      ),
    );
  const counts = new Map();
  for (const one of functions) for (const op of one.ops) counts.set(op.type, (counts.get(op.type) || 0) + 1);
  const sorted = [...counts].sort((a, b) => b[1] - a[1]);
  view.append(
    make('h3', {}, 'Operations by type'),
    plainTable(
      ['type', 'count'],
      sorted.map(([type, n]) => [
        make(
          'button',
          {
            class: 'link',
            onclick: () => {
              openTab('Ops');
              table.filter('', type);
            },
          },
          type,
        ),
        make('span', {}, make('i', {class: 'bar', style: {width: 1 + (260 * n) / sorted[0][1] + 'px'}}), n),
      ]),
    ),
  );
  const metadata = Object.entries(data.metadata);
  if (metadata.length)
    view.append(
      make('h3', {}, 'Metadata'),
      make(
        'div',
        {class: 'facts'},
        ...metadata.flatMap(([key, value]) => [make('span', {}, key), make('span', {}, value)]),
      ),
    );
  view.append(make('p', {class: 'dim'}, 'Written by ' + data.generator + '.'));
  return make('div', {class: 'view'}, view);
}

// --- plan -------------------------------------------------------------------------------------------------------------

function planView() {
  const plan = data.plan,
    ops = plan.ops;
  const view = make(
    'div',
    {class: 'pad'},
    make('h2', {class: 'big'}, 'Plan' + (plan.target ? ' for ' + plan.target : '')),
    ...(plan.notes || []).map(note => make('div', {class: 'note'}, note)),
  );
  const tiles = [
    [seconds(plan.cost), 'estimated in all'],
    [(plan.segments || []).length, 'segments'],
    [(plan.transfers || []).length, 'transfers'],
  ];
  for (const unit of plan.units || []) {
    const share = plan.shares[unit];
    tiles.push([share.count, `ops on ${UNITS[unit] || unit}, ${percent(share.cost)} of the time`]);
  }
  view.append(
    make(
      'div',
      {class: 'tiles'},
      ...tiles.map(([value, label]) => make('div', {class: 'tile'}, make('b', {}, value), make('span', {}, label))),
    ),
  );
  const runs = [];
  for (const row of ops)
    if (runs.length && runs.at(-1).unit === row.unit) runs.at(-1).count++;
    else runs.push({unit: row.unit, count: 1});
  view.append(
    make('h3', {}, 'Units in the program’s order'),
    make(
      'div',
      {class: 'strip'},
      ...runs.map(run =>
        make('i', {
          title: `${UNITS[run.unit] || run.unit}: ${run.count} ops`,
          style: {flexGrow: run.count, background: `var(--${run.unit})`},
        }),
      ),
    ),
  );
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
    view.append(
      make('h3', {}, `Why ops are not on ${UNITS[unit] || unit}`),
      plainTable(
        ['op', 'ops', 'reason', 'what helps'],
        sorted.map(([key, rows]) => {
          const [type, reason, fix] = JSON.parse(key),
            op = findOp(rows[0].name);
          return [
            make('b', {}, op ? make('button', {class: 'link', onclick: () => select(op, {show: true})}, type) : type),
            rows.length,
            reason,
            fix || '',
          ];
        }),
        [1],
      ),
    );
  }
  if ((plan.segments || []).length)
    view.append(
      make('h3', {}, 'Segments'),
      plainTable(
        ['', 'unit', 'ops', 'from', 'to', 'takes', 'gives', 'time'],
        plan.segments.map((segment, i) => {
          const ends = [segment.ops[0], segment.ops.at(-1)].map(name => {
            const op = findOp(name);
            return op ? opLink(op) : name || '';
          });
          return [
            i + 1,
            unitChip(segment.unit),
            segment.ops.length,
            ...ends,
            segment.inputs.length,
            segment.outputs.length,
            seconds(segment.cost),
          ];
        }),
        [0, 2, 5, 6, 7],
      ),
    );
  if ((plan.transfers || []).length)
    view.append(
      make('h3', {}, 'Transfers'),
      plainTable(
        ['value', 'type', 'from', 'to', 'time'],
        plan.transfers.map(t => [
          t.value,
          make('span', {class: 'mono'}, t.type),
          UNITS[t.source] || t.source,
          UNITS[t.destination] || t.destination,
          seconds(t.cost),
        ]),
        [4],
      ),
    );
  return make('div', {class: 'view'}, view);
}

// --- differences ------------------------------------------------------------------------------------------------------

function diffView() {
  const found = data.diff;
  const view = make(
    'div',
    {class: 'pad'},
    make('h2', {class: 'big'}, 'Beside ' + found.name),
    make(
      'div',
      {class: 'tiles'},
      ...[
        ['added', found.added.length],
        ['removed', found.removed.length],
        ['changed', found.changed.length],
        ['same', found.same],
      ].map(([kind, n]) =>
        make(
          'div',
          {class: 'tile'},
          make('b', {style: {color: n ? `var(--${kind})` : ''}}, n),
          make('span', {}, kind === 'same' ? 'unchanged' : kind),
        ),
      ),
    ),
  );
  const notes = [...found.functions, ...found.interface];
  if (notes.length) view.append(make('h3', {}, 'Interface'), ...notes.map(note => make('div', {}, note)));
  for (const [kind, title] of [
    ['changed', 'Changed'],
    ['added', 'Added'],
    ['removed', 'Removed'],
  ]) {
    if (!found[kind].length) continue;
    const heads = [
      'type',
      'name',
      ...(functions.length > 1 ? ['function'] : []),
      kind === 'changed' ? 'what' : 'result',
    ];
    const rows = found[kind].slice(0, 2000).map(row => {
      const op =
        kind === 'removed'
          ? null
          : findOp(
              row.name,
              functions.filter(one => one.name === row.function),
            );
      const name = row.old && row.old !== row.name ? `${row.name}, was ${row.old}` : row.name;
      return [
        make('b', {}, row.type),
        op ? make('button', {class: 'link', onclick: () => select(op, {show: true})}, name) : name,
        ...(functions.length > 1 ? [row.function] : []),
        kind === 'changed' ? make('div', {}, ...row.changes.map(change => make('div', {}, change))) : row.results,
      ];
    });
    view.append(make('h3', {}, `${title} (${found[kind].length})`), plainTable(heads, rows));
  }
  if (!found.added.length && !found.removed.length && !found.changed.length)
    view.append(make('p', {}, 'The programs are the same, op for op.'));
  return make('div', {class: 'view'}, view);
}
