// The page itself: light and dark, tabs, search.

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

// --- what follows a choice --------------------------------------------------------------------------------------------

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
openTab(wanted in views ? wanted : data.view || (data.diff ? 'Difference' : 'Graph'));
