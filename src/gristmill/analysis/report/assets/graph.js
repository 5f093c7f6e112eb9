// The graph on a canvas: only what is visible is drawn, so thousands of ops move smoothly.

const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif';

class GraphView {
  constructor(parent) {
    this.canvas = make('canvas', {id: 'canvas', tabindex: 0, 'aria-label': 'Graph of the model'});
    this.small = make('canvas', {id: 'small', width: 1, height: 1});
    this.tools = make('div', {class: 'float', id: 'tools'});
    this.legend = make('div', {class: 'float', id: 'legend'});
    this.element = make('div', {class: 'view', id: 'graph'}, this.canvas, this.tools, this.legend, this.small);
    parent.append(this.element);
    this.pen = this.canvas.getContext('2d');
    this.expanded = new Set();
    this.camera = {k: 1, x: 0, y: 0};
    this.makeTools();
    this.listen();
    this.layOut();
    onChange(what => {
      if (what === 'function') {
        this.layOut();
        this.fit();
      }
      if (what === 'show') this.reveal(state.selected);
      if (what === 'theme' || what === 'mode') {
        this.colors = null;
        this.makeLegend();
        this.drawSmall();
      }
      this.draw();
    });
    new ResizeObserver(() => this.resize()).observe(this.element);
  }

  // --- layout ------------------------------------------------------------------------------------------------------

  layOut() {
    const measure = this.pen;
    const lines = node => {
      if (node.kind !== 'op')
        return [
          [node.name, 'head'],
          [node.type, 'line'],
        ];
      const made = [
        [node.op.type, 'head'],
        [node.type, 'line'],
      ];
      for (const [slot, names] of node.op.operands) {
        const constant = names.length === 1 && state.function.constants[names[0]];
        if (constant && constant.bytes >= 32 && made.length < 5) made.push([slot + ' ' + constant.type, 'small']);
      }
      return made;
    };
    const size = node => {
      node.lines = lines(node).map(([words, kind]) => {
        const shown = words.length > 44 ? words.slice(0, 43) + '…' : words;
        measure.font = font(kind);
        return {words: shown, kind, width: measure.measureText(shown).width};
      });
      const mark = node.op && node.op.blocks ? 22 : 0;
      const width = Math.max(70, ...node.lines.map(line => line.width + 24 + (line.kind === 'head' ? mark : 0)));
      return {w: Math.ceil(width), h: 14 + node.lines.reduce((sum, line) => sum + HEIGHT[line.kind], 0)};
    };
    const inside = op =>
      op.blocks && this.expanded.has(op) ? op.blocks.map(block => layoutBlock(block, size, inside)) : null;
    this.root = layoutBlock(state.function.block, size, inside);
    this.flat = [];
    const flatten = (part, dx, dy, depth) => {
      for (const node of part.nodes) {
        node.ax = node.x + dx;
        node.ay = node.y + dy;
        node.depth = depth;
        this.flat.push(node);
        for (const inner of node.inner || []) flatten(inner, inner.left + dx, inner.top + dy, depth + 1);
      }
      part.dx = dx;
      part.dy = dy;
    };
    flatten(this.root, 0, 0, 0);
    this.byOp = new Map(this.flat.filter(node => node.op).map(node => [node.op, node]));
    this.drawSmall();
  }

  toggle(op) {
    if (!op.blocks) return;
    const before = this.byOp.get(op);
    const at = this.toScreen(before.ax, before.ay);
    if (!this.expanded.delete(op)) this.expanded.add(op);
    this.layOut();
    const after = this.byOp.get(op);
    this.camera.x = at[0] - after.ax * this.camera.k;
    this.camera.y = at[1] - after.ay * this.camera.k;
    this.draw();
  }

  // --- camera ------------------------------------------------------------------------------------------------------

  toScreen(x, y) {
    return [x * this.camera.k + this.camera.x, y * this.camera.k + this.camera.y];
  }
  toWorld(x, y) {
    return [(x - this.camera.x) / this.camera.k, (y - this.camera.y) / this.camera.k];
  }

  // The whole where it stays readable, else its beginning.
  fit(whole = false) {
    const {width, height} = this.root;
    const fitting = Math.min(this.width / (width + 80), this.height / (height + 80), 1.1);
    const k = whole ? fitting : Math.max(fitting, Math.min(0.9, this.width / (Math.min(width, 1600) + 80)));
    const first = this.root.nodes.find(node => node.layer === 0);
    const middle = width * k <= this.width || !first ? width / 2 : first.x;
    this.camera = {
      k,
      x: this.width / 2 - middle * k,
      y: height * k < this.height ? (this.height - height * k) / 2 : 40,
    };
    this.draw();
  }

  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const k = Math.min(4, Math.max(0.005, this.camera.k * factor));
    const ratio = k / this.camera.k;
    this.camera = {k, x: x - (x - this.camera.x) * ratio, y: y - (y - this.camera.y) * ratio};
    this.draw();
  }

  reveal(op) {
    if (!op) return;
    for (let holder = op.holder; holder; holder = holder.holder) {
      if (!this.expanded.has(holder)) {
        this.expanded.add(holder);
        this.stale = true;
      }
    }
    if (this.stale) {
      this.stale = false;
      this.layOut();
    }
    const node = this.byOp.get(op);
    if (!node) return;
    const k = Math.max(this.camera.k, 0.8);
    this.camera = {k, x: this.width / 2 - node.ax * k, y: this.height / 2 - (node.ay + node.h / 2) * k};
    this.draw();
  }

  resize() {
    const box = this.element.getBoundingClientRect();
    if (!box.width) return;
    const first = !this.width;
    if (!first) {
      this.camera.x += (box.width - this.width) / 2;
    }
    [this.width, this.height] = [box.width, box.height];
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(box.width * ratio);
    this.canvas.height = Math.round(box.height * ratio);
    this.canvas.style.width = box.width + 'px';
    this.canvas.style.height = box.height + 'px';
    this.ratio = ratio;
    if (first) {
      this.fit();
      this.drawSmall();
    }
    this.paint();
  }

  // --- drawing -----------------------------------------------------------------------------------------------------

  draw() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.paint();
    });
  }

  palette() {
    if (!this.colors) {
      const names = [
        'page',
        'panel',
        'node',
        'node-line',
        'edge',
        'edge-long',
        'text',
        'dim',
        'faint',
        'accent',
        'accent-soft',
        'soft',
        ...MODES[state.mode].keys.map(([key]) => key),
      ];
      this.colors = Object.fromEntries(names.map(name => [name, color(name)]));
    }
    return this.colors;
  }

  paint() {
    if (!this.width) return;
    const pen = this.pen,
      {k, x, y} = this.camera,
      colors = this.palette();
    pen.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    pen.fillStyle = colors.page;
    pen.fillRect(0, 0, this.width, this.height);
    pen.setTransform(this.ratio * k, 0, 0, this.ratio * k, this.ratio * x, this.ratio * y);
    const [left, top] = this.toWorld(0, 0),
      [right, bottom] = this.toWorld(this.width, this.height);
    this.seen = {left, top, right, bottom};
    const near = new Set();
    if (state.selected && this.byOp.has(state.selected)) {
      const node = this.byOp.get(state.selected);
      for (const edge of [...node.parents, ...node.children]) near.add(edge);
    }
    this.paintPart(this.root, near);
    this.paintWindow();
  }

  paintPart(part, near) {
    const pen = this.pen;
    pen.save();
    pen.translate(part.dx - (part.parent ? part.parent.dx : 0), part.dy - (part.parent ? part.parent.dy : 0));
    const seen = {
      left: this.seen.left - part.dx,
      right: this.seen.right - part.dx,
      top: this.seen.top - part.dy,
      bottom: this.seen.bottom - part.dy,
    };
    const late = [];
    for (const lane of part.lanes)
      if (lane.bottom >= seen.top && lane.top <= seen.bottom) this.paintLane(lane, seen, near);
    for (const edge of part.edges) {
      if (edge.long || edge.to.y < seen.top || edge.from.y + edge.from.h > seen.bottom) continue;
      if (near.has(edge)) late.push(edge);
      else this.paintEdge(edge, seen, false);
    }
    for (const edge of late) this.paintEdge(edge, seen, true);
    for (const node of part.nodes) {
      if (
        node.y > seen.bottom ||
        node.y + node.h < seen.top ||
        node.x + node.w / 2 < seen.left ||
        node.x - node.w / 2 > seen.right
      )
        continue;
      this.paintNode(node);
      for (const inner of node.inner || []) {
        inner.parent = part;
        this.paintPart(inner, near);
      }
    }
    pen.restore();
  }

  stroke(marked, soft) {
    const colors = this.palette();
    this.pen.strokeStyle = marked ? colors.accent : soft ? colors['edge-long'] : colors.edge;
    this.pen.lineWidth = (marked ? 2.2 : 1.2) / Math.min(1, Math.max(this.camera.k, 0.25) * 1.4);
  }

  paintEdge(edge, seen, marked) {
    const pen = this.pen,
      points = edge.points;
    const xs = points.map(point => point[0]);
    if (Math.max(...xs) < seen.left || Math.min(...xs) > seen.right) return;
    this.stroke(marked, false);
    pen.beginPath();
    pen.moveTo(...points[0]);
    for (let i = 1; i < points.length; i++) {
      const [ax, ay] = points[i - 1],
        [bx, by] = points[i],
        half = (by - ay) / 2;
      pen.bezierCurveTo(ax, ay + half, bx, by - half, bx, by);
    }
    pen.stroke();
    this.paintTip(...points.at(-1));
  }

  paintTip(x, y) {
    if (this.camera.k < 0.35) return;
    const pen = this.pen;
    pen.fillStyle = pen.strokeStyle;
    pen.beginPath();
    pen.moveTo(x, y);
    pen.lineTo(x - 4, y - 7);
    pen.lineTo(x + 4, y - 7);
    pen.fill();
  }

  // Out to the lane, down along it, and back to each user.
  paintLane(lane, seen, near) {
    const pen = this.pen,
      {node, x} = lane,
      out = lane.top + RISE / 3,
      turn = 10;
    const all = lane.edges.every(edge => near.has(edge));
    this.stroke(all, true);
    pen.beginPath();
    pen.moveTo(node.x, lane.top);
    pen.arcTo(node.x, out, node.x + turn, out, turn);
    pen.arcTo(x, out, x, out + turn, turn);
    pen.lineTo(x, lane.bottom - RISE / 3 - turn);
    pen.stroke();
    for (const edge of lane.edges) {
      const y = edge.to.y - RISE / 3;
      if (edge.to.y < seen.top || y > seen.bottom) continue;
      this.stroke(near.has(edge), true);
      pen.beginPath();
      pen.moveTo(x, y - turn);
      pen.arcTo(x, y, x - turn, y, turn);
      pen.arcTo(edge.to.x, y, edge.to.x, y + turn, turn);
      pen.lineTo(edge.to.x, edge.to.y);
      pen.stroke();
      this.paintTip(edge.to.x, edge.to.y);
    }
  }

  paintNode(node) {
    const pen = this.pen,
      colors = this.palette(),
      {k} = this.camera;
    const left = node.x - node.w / 2,
      chosen = node.op && node.op === state.selected,
      found = node.op && state.found.has(node.op);
    const tint = colors[MODES[state.mode].of(node.op, node.type)] || colors['node-line'];
    if (k < 0.16) {
      // too small for words: colour alone
      pen.fillStyle = chosen ? colors.accent : tint;
      const w = Math.max(node.w, 3 / k),
        h = Math.max(node.h, 1.5 / k);
      pen.fillRect(node.x - w / 2, node.y, w, h);
      return;
    }
    pen.fillStyle = node.inner ? colors.soft : node.kind === 'op' ? colors.node : colors['accent-soft'];
    rounded(pen, left, node.y, node.w, node.h, node.kind === 'op' ? 8 : Math.min(18, node.h / 2));
    pen.fill();
    if (node.kind === 'op') {
      pen.save();
      pen.clip();
      pen.fillStyle = tint;
      pen.fillRect(left, node.y, node.inner ? node.w : 5, node.inner ? 4 : node.h);
      pen.restore();
    }
    pen.strokeStyle = chosen ? colors.accent : found ? colors.accent : colors['node-line'];
    pen.lineWidth = chosen ? 2.6 : found ? 2 : 1;
    rounded(pen, left, node.y, node.w, node.h, node.kind === 'op' ? 8 : Math.min(18, node.h / 2));
    pen.stroke();
    pen.textBaseline = 'middle';
    pen.textAlign = node.inner ? 'left' : 'center';
    const middle = node.inner ? left + 14 : node.x + (node.kind === 'op' ? 2.5 : 0);
    let y = node.y + 7;
    for (const line of node.inner ? node.lines.slice(0, 1) : node.lines) {
      if (k * HEIGHT[line.kind] > 5) {
        pen.font = font(line.kind);
        pen.fillStyle = line.kind === 'head' ? colors.text : line.kind === 'line' ? colors.dim : colors.faint;
        pen.fillText(line.words, middle, y + HEIGHT[line.kind] / 2);
      }
      y += HEIGHT[line.kind];
    }
    if (node.op && node.op.blocks) {
      pen.font = font('head');
      pen.textAlign = 'right';
      pen.fillStyle = colors.accent;
      pen.fillText(node.inner ? '▾' : '▸', left + node.w - 10, node.y + 7 + HEIGHT.head / 2);
    }
  }

  // The whole in a corner, with what is visible marked in it.
  drawSmall() {
    const {width, height} = this.root,
      ratio = window.devicePixelRatio || 1;
    const k = Math.min(150 / Math.max(width, 1), 190 / Math.max(height, 1));
    const most = Math.max(26, width * k + 12),
      tall = Math.max(26, height * k + 12);
    Object.assign(this.small.style, {width: most + 'px', height: tall + 'px'});
    [this.small.width, this.small.height] = [Math.round(most * ratio), Math.round(tall * ratio)];
    const map = document.createElement('canvas');
    [map.width, map.height] = [this.small.width, this.small.height];
    const pen = map.getContext('2d'),
      colors = this.palette();
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    for (const node of this.root.nodes) {
      pen.fillStyle = colors[MODES[state.mode].of(node.op, node.type)] || colors['node-line'];
      pen.fillRect(6 + (node.x - node.w / 2) * k, 6 + node.y * k, Math.max(1.5, node.w * k), Math.max(1, node.h * k));
    }
    this.map = map;
    this.mapScale = k;
  }

  paintWindow() {
    const pen = this.small.getContext('2d'),
      k = this.mapScale,
      ratio = window.devicePixelRatio || 1;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, this.small.width, this.small.height);
    pen.drawImage(this.map, 0, 0);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.strokeStyle = this.palette().accent;
    pen.lineWidth = 1.5;
    const {left, top, right, bottom} = this.seen,
      end = [this.small.width / ratio - 1, this.small.height / ratio - 1];
    const x = Math.max(1, 6 + left * k),
      y = Math.max(1, 6 + top * k);
    pen.strokeRect(
      x,
      y,
      Math.max(4, Math.min(end[0], 6 + right * k) - x),
      Math.max(4, Math.min(end[1], 6 + bottom * k) - y),
    );
  }

  // --- what people do ----------------------------------------------------------------------------------------------

  hit(x, y) {
    const [wx, wy] = this.toWorld(x, y);
    let found = null;
    for (const node of this.flat) {
      if (
        Math.abs(wx - node.ax) <= node.w / 2 &&
        wy >= node.ay &&
        wy <= node.ay + node.h &&
        (!found || node.depth >= found.depth)
      )
        found = node;
    }
    return found;
  }

  onMark(node, x, y) {
    const [wx, wy] = this.toWorld(x, y);
    return node.op && node.op.blocks && wx > node.ax + node.w / 2 - 26 && wy < node.ay + HEAD;
  }

  listen() {
    const canvas = this.canvas;
    let held = null;
    canvas.addEventListener('pointerdown', event => {
      held = {x: event.offsetX, y: event.offsetY, camera: {...this.camera}, moved: false};
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener('pointermove', event => {
      if (!held) {
        canvas.classList.toggle('over', !!this.hit(event.offsetX, event.offsetY));
        return;
      }
      const dx = event.offsetX - held.x,
        dy = event.offsetY - held.y;
      if (Math.abs(dx) + Math.abs(dy) > 4) {
        held.moved = true;
        canvas.classList.add('drag');
      }
      if (held.moved) {
        this.camera = {...held.camera, x: held.camera.x + dx, y: held.camera.y + dy};
        this.draw();
      }
    });
    canvas.addEventListener('pointerup', event => {
      canvas.classList.remove('drag');
      if (held && !held.moved) {
        const node = this.hit(event.offsetX, event.offsetY);
        if (node && this.onMark(node, event.offsetX, event.offsetY)) this.toggle(node.op);
        else select(node && node.op);
      }
      held = null;
    });
    canvas.addEventListener('dblclick', event => {
      const node = this.hit(event.offsetX, event.offsetY);
      if (node && node.op && node.op.blocks && !this.onMark(node, event.offsetX, event.offsetY)) this.toggle(node.op);
    });
    canvas.addEventListener(
      'wheel',
      event => {
        event.preventDefault();
        const pixels = event.deltaMode === 1 ? 33 : event.deltaMode === 2 ? 800 : 1;
        if (event.shiftKey) {
          this.camera.x -= (event.deltaX + event.deltaY) * pixels;
          this.draw();
          return;
        }
        this.zoom(Math.exp(-event.deltaY * pixels * (event.ctrlKey ? 0.01 : 0.0016)), event.offsetX, event.offsetY);
      },
      {passive: false},
    );
    canvas.addEventListener('keydown', event => {
      const moves = {ArrowLeft: [80, 0], ArrowRight: [-80, 0], ArrowUp: [0, 80], ArrowDown: [0, -80]};
      if (event.key in moves) {
        this.camera.x += moves[event.key][0];
        this.camera.y += moves[event.key][1];
        this.draw();
        event.preventDefault();
      }
      if (event.key === '+' || event.key === '=') this.zoom(1.25);
      if (event.key === '-') this.zoom(0.8);
      if (event.key === '0' || event.key === 'f') this.fit(true);
    });
    const jump = event => {
      const x = (event.offsetX - 6) / this.mapScale,
        y = (event.offsetY - 6) / this.mapScale;
      this.camera.x = this.width / 2 - x * this.camera.k;
      this.camera.y = this.height / 2 - y * this.camera.k;
      this.draw();
    };
    this.small.addEventListener('pointerdown', event => {
      this.small.setPointerCapture(event.pointerId);
      jump(event);
    });
    this.small.addEventListener('pointermove', event => {
      if (event.buttons) jump(event);
    });
  }

  makeTools() {
    const button = (label, title, act) => make('button', {class: 'tool', title, onclick: act}, label);
    const modes = make(
      'select',
      {
        class: 'tool',
        id: 'mode',
        title: 'What colours mean',
        'aria-label': 'What colours mean',
        onchange: event => {
          state.mode = event.target.value;
          changed('mode');
        },
      },
      ...Object.entries(MODES).map(([key, mode]) =>
        make('option', {value: key, selected: key === state.mode ? '' : null}, mode.label),
      ),
    );
    this.tools.append(
      modes,
      button('+', 'Zoom in (+)', () => this.zoom(1.3)),
      button('−', 'Zoom out (−)', () => this.zoom(1 / 1.3)),
      button('Fit', 'Show the whole graph (0)', () => this.fit(true)),
    );
    if (functions.some(one => one.ops.some(op => op.blocks))) {
      this.tools.append(
        button('Expand', 'Show all nested blocks, or none', () => {
          const holders = state.function.ops.filter(op => op.blocks),
            all = holders.every(op => this.expanded.has(op));
          for (const op of holders)
            if (all) this.expanded.delete(op);
            else this.expanded.add(op);
          this.layOut();
          this.draw();
        }),
      );
    }
    this.makeLegend();
  }

  makeLegend() {
    const mode = MODES[state.mode],
      used = new Map();
    for (const op of state.function.ops) {
      const key = mode.of(op, op.results.length ? op.results[0][1] : '');
      used.set(key, (used.get(key) || 0) + 1);
    }
    this.legend.replaceChildren(
      ...mode.keys
        .filter(([key]) => used.has(key))
        .map(([key, label]) =>
          make(
            'span',
            {class: 'key'},
            make('i', {style: {background: color(key)}}),
            label,
            make('span', {class: 'dim'}, used.get(key)),
          ),
        ),
    );
  }
}

const HEIGHT = {head: 19, line: 16, small: 15};
const font = kind => ({head: '600 13px ', line: '11.5px ', small: '10.5px '})[kind] + FONT;

function rounded(pen, x, y, w, h, r) {
  pen.beginPath();
  pen.roundRect(x, y, w, h, r);
}
