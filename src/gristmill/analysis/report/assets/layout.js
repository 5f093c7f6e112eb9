// Layered layout of a block: longest paths give the layers, medians the order in each, and least squares the places.

const GAP = 26,
  RISE = 40,
  PAD = 14,
  HEAD = 30;
const LONG = 14; // an edge over more layers runs beside the graph, and does not push other nodes aside
const LANE = 16;

// Lays out a block. `size(node)` gives a node's own width and height; `inside(op)` the layouts of the blocks that are
// shown inside an op, or null. Gives nodes with centres `x` and tops `y`, edges with points, width and height.
function layoutBlock(block, size, inside) {
  const {nodes, edges} = graphOf(block);
  for (const node of nodes) {
    node.inner = node.kind === 'op' ? inside(node.op) : null;
    Object.assign(node, size(node));
    if (node.inner) {
      node.w = Math.max(
        node.w,
        node.inner.reduce((sum, part) => sum + part.width + PAD, PAD),
      );
      node.h = HEAD + Math.max(...node.inner.map(part => part.height)) + 2 * PAD;
    }
  }
  assignLayers(nodes);
  const layers = withBends(nodes, edges);
  order(layers);
  place(layers);
  return finish(nodes, edges, layers);
}

// Nodes for inputs, ops and outputs; an edge from maker to user for each value. What nested blocks use counts as used
// by the op that holds them.
function graphOf(block) {
  const nodes = [],
    makers = new Map();
  const add = (kind, op, name, type) => {
    const node = {kind, op, name, type, index: nodes.length, parents: [], children: []};
    nodes.push(node);
    return node;
  };
  for (const [name, type] of block.inputs) makers.set(name, add('input', null, name, type));
  const edges = new Map();
  const connect = (name, to) => {
    const from = makers.get(name);
    if (!from || from === to) return;
    const key = from.index + '>' + to.index;
    if (edges.has(key)) {
      edges.get(key).values.push(name);
      return;
    }
    const edge = {from, to, values: [name], bends: []};
    edges.set(key, edge);
    from.children.push(edge);
    to.parents.push(edge);
  };
  for (const op of block.ops) {
    const node = add('op', op, op.name, op.results.length ? op.results[0][1] : '');
    for (const name of usedBy(op)) connect(name, node);
    for (const [name] of op.results) makers.set(name, node);
  }
  for (const [name, type] of block.outputs) connect(name, add('output', null, name, type));
  return {nodes: nodes.filter(n => n.kind !== 'output' || n.parents.length), edges: [...edges.values()]};
}

function usedBy(op) {
  const names = op.operands.flatMap(([, values]) => values);
  for (const block of op.blocks || []) {
    for (const inner of block.ops) names.push(...usedBy(inner));
    names.push(...block.outputs.map(([name]) => name));
  }
  return names;
}

function assignLayers(nodes) {
  for (const node of nodes) {
    // makers come before users
    node.layer = node.parents.reduce((layer, edge) => Math.max(layer, edge.from.layer + 1), 0);
  }
  for (const node of [...nodes].reverse()) {
    // what starts a path stands just above its first user
    if (!node.parents.length && node.children.length) {
      node.layer = Math.min(...node.children.map(edge => edge.to.layer)) - 1;
    }
  }
}

// Layers of nodes, with a bend for each layer that a short edge crosses.
function withBends(nodes, edges) {
  const count = nodes.reduce((most, node) => Math.max(most, node.layer + 1), 0);
  const layers = Array.from({length: count}, () => []);
  for (const node of nodes) {
    node.up = [];
    node.down = [];
    layers[node.layer].push(node);
  }
  for (const edge of edges) {
    const span = edge.to.layer - edge.from.layer;
    edge.long = span > LONG;
    if (edge.long) continue;
    let last = edge.from;
    for (let layer = edge.from.layer + 1; layer < edge.to.layer; layer++) {
      const bend = {kind: 'bend', w: 8, h: 0, layer, up: [], down: []};
      layers[layer].push(bend);
      edge.bends.push(bend);
      last.down.push(bend);
      bend.up.push(last);
      last = bend;
    }
    last.down.push(edge.to);
    edge.to.up.push(last);
  }
  return layers;
}

function order(layers) {
  const number = layer =>
    layer.forEach((node, position) => {
      node.position = position;
    });
  layers.forEach(number);
  const sort = (layer, side) => {
    for (const node of layer) {
      const near = node[side].map(other => other.position).sort((a, b) => a - b);
      const middle = near.length >> 1;
      node.wish = !near.length ? node.position : near.length % 2 ? near[middle] : (near[middle - 1] + near[middle]) / 2;
    }
    layer.sort((a, b) => a.wish - b.wish || a.position - b.position);
    number(layer);
  };
  for (let round = 0; round < 4; round++) {
    for (let i = 1; i < layers.length; i++) sort(layers[i], 'up');
    for (let i = layers.length - 2; i >= 0; i--) sort(layers[i], 'down');
  }
}

// Horizontal places: each layer in turn comes as near to the middle of its neighbours as order and widths allow.
function place(layers) {
  for (const layer of layers) {
    let x = 0;
    for (const node of layer) {
      node.x = x + node.w / 2;
      x += node.w + GAP;
    }
    for (const node of layer) node.x -= x / 2;
  }
  const pull = (layer, side) => {
    const wishes = layer.map(node => {
      const near = node[side];
      return near.length ? near.reduce((sum, other) => sum + other.x, 0) / near.length : node.x;
    });
    const weights = layer.map(node => (node.kind === 'bend' ? 3 : node[side].length ? 1 : 0.1));
    const steps = layer.map((node, i) => (i ? (node.w + layer[i - 1].w) / 2 + GAP : 0));
    const xs = apart(wishes, weights, steps);
    layer.forEach((node, i) => {
      node.x = xs[i];
    });
  };
  for (let round = 0; round < 5; round++) {
    for (let i = 1; i < layers.length; i++) pull(layers[i], 'up');
    for (let i = layers.length - 2; i >= 0; i--) pull(layers[i], 'down');
  }
  for (let i = 1; i < layers.length; i++) pull(layers[i], 'up');
}

// The numbers nearest to `wishes` (least squares) each of which is at least its step above the one before: with the
// steps taken off, that is isotonic regression, which pooling neighbours solves exactly.
function apart(wishes, weights, steps) {
  const pools = [];
  let offset = 0;
  wishes.forEach((wish, i) => {
    offset += steps[i];
    let pool = {sum: (wish - offset) * weights[i], weight: weights[i], count: 1};
    while (pools.length && pools.at(-1).sum / pools.at(-1).weight >= pool.sum / pool.weight) {
      const last = pools.pop();
      pool = {sum: last.sum + pool.sum, weight: last.weight + pool.weight, count: last.count + pool.count};
    }
    pools.push(pool);
  });
  const found = [];
  offset = 0;
  for (const pool of pools) {
    for (let i = 0; i < pool.count; i++) {
      offset += steps[found.length];
      found.push(pool.sum / pool.weight + offset);
    }
  }
  return found;
}

// Vertical places, points of edges, and everything moved to begin at 0.
function finish(nodes, edges, layers) {
  let y = 0;
  for (const layer of layers) {
    const height = layer.reduce((most, node) => Math.max(most, node.h), 0);
    for (const node of layer) {
      node.y = y;
      node.end = y + height;
    }
    y += height + RISE;
  }
  let left = Infinity,
    right = -Infinity;
  for (const layer of layers)
    for (const node of layer) {
      left = Math.min(left, node.x - node.w / 2);
      right = Math.max(right, node.x + node.w / 2);
    }
  if (!(left < right)) left = right = 0;
  for (const layer of layers) for (const node of layer) node.x -= left;
  const lanes = makeLanes(nodes, right - left);
  for (const edge of edges) {
    edge.points = [
      [edge.from.x, edge.from.y + edge.from.h],
      ...edge.bends.flatMap(b => [
        [b.x, b.y],
        [b.x, b.end],
      ]),
      [edge.to.x, edge.to.y],
    ];
  }
  for (const node of nodes) {
    if (!node.inner) continue;
    let x = node.x - node.w / 2 + PAD;
    for (const part of node.inner) {
      part.left = x;
      part.top = node.y + HEAD + PAD;
      x += part.width + PAD;
    }
  }
  return {
    nodes,
    edges,
    lanes,
    width: right - left + (lanes.count ? (lanes.count + 1) * LANE : 0),
    height: Math.max(0, y - RISE),
  };
}

// Long edges share a lane for each maker, to the right of the graph; lanes are used again further down.
function makeLanes(nodes, right) {
  const ends = [],
    found = [];
  for (const node of nodes) {
    const edges = node.children.filter(edge => edge.long);
    if (!edges.length) continue;
    const top = node.y + node.h,
      bottom = Math.max(...edges.map(edge => edge.to.y));
    let place = ends.findIndex(end => end < top);
    if (place < 0) place = ends.push(0) - 1;
    ends[place] = bottom;
    found.push({node, edges, top, bottom, x: right + (place + 1) * LANE});
  }
  found.count = ends.length;
  return found;
}
