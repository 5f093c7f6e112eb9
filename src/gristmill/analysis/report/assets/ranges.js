// Ranges of values, or of weights where the model was not run.

const EDGE = 56; // pixels left of the plot
const LEAST = -24; // the power of two that stands in the middle

function rangeBars() {
  if (data.inspection) {
    return data.inspection.ops
      .map(row => ({...row, op: findOp(row.name, running), bad: row.overflow > 0 || row.nan > 0}))
      .filter(hasRange);
  }
  return functions
    .flatMap(one =>
      Object.entries(one.constants).map(([name, c]) => ({...c, name, op: (one.users.get(name) || [])[0], bad: false})),
    )
    .filter(hasRange);
}

const hasRange = bar => bar.low !== undefined && Number.isFinite(Number(bar.low)) && Number.isFinite(Number(bar.high));

function culprits() {
  const titles = {first_overflow: 'First overflow', first_nan: 'First NaN', culprit: 'Most of the error'};
  return Object.entries(titles).flatMap(([key, title]) => {
    const found = data.inspection && data.inspection[key];
    if (!found) return [];
    const name = make('b', {}, found.op + (found.operand ? `, operand ${found.operand}` : ''));
    const place = make('div', {class: 'dim'}, found.location || '');
    return [make('h3', {}, title), make('div', {class: 'card'}, name, make('div', {}, found.why), place)];
  });
}

// A bar for each op, from its smallest to its largest value, on a scale of powers of two beside float16's limits.
class RangePlot {
  constructor() {
    this.bars = rangeBars().map(bar => ({...bar, low: Number(bar.low), high: Number(bar.high)}));
    const what = data.inspection ? 'values' : 'weights';
    const about =
      `A bar for the ${what} of each ${data.inspection ? 'op' : 'constant'}, in the program’s order: above the middle ` +
      'what is positive, below it what is negative, on a scale of powers of two. ' +
      'Dashed lines: float16 ends at 65504, and loses precision under 2⁻¹⁴.';
    this.canvas = make('canvas', {class: 'plot'});
    const content = make(
      'div',
      {class: 'pad'},
      make('h2', {class: 'big'}, `Ranges of ${what}`),
      make('p', {class: 'dim'}, this.bars.length ? about : `There are no ${what} to show.`),
      this.canvas,
      ...culprits(),
    );
    this.element = make('div', {class: 'view'}, content);
    this.tip = make('div', {id: 'tip', hidden: ''});
    document.body.append(this.tip);
    this.listen();
  }

  listen() {
    this.canvas.addEventListener('pointermove', event => this.point(event));
    this.canvas.addEventListener('pointerleave', () => {
      this.tip.hidden = true;
    });
    this.canvas.addEventListener('click', event => {
      const bar = this.at(event);
      if (bar && bar.op) select(bar.op);
    });
    new ResizeObserver(() => this.paint()).observe(this.canvas);
    onChange(what => {
      if (what === 'theme' || what === 'selected') this.paint();
    });
  }

  at(event) {
    return this.bars[Math.floor(((event.offsetX - EDGE) / (this.canvas.clientWidth - EDGE - 12)) * this.bars.length)];
  }

  point(event) {
    const bar = this.at(event);
    this.tip.hidden = !bar;
    if (!bar) return;
    const range = `${text(bar.low)} … ${text(bar.high)}`;
    this.tip.replaceChildren(make('b', {}, bar.op ? bar.op.type : ''), ` ${bar.name}`, make('br'), range);
    this.tip.style.left = Math.min(event.clientX + 14, innerWidth - 330) + 'px';
    this.tip.style.top = event.clientY + 16 + 'px';
  }

  paint() {
    const {clientWidth: width, clientHeight: height} = this.canvas;
    const ratio = devicePixelRatio || 1;
    if (!width) return;
    [this.canvas.width, this.canvas.height] = [width * ratio, height * ratio];
    const pen = this.canvas.getContext('2d');
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const largest = Math.max(1, ...this.bars.map(bar => Math.max(Math.abs(bar.low), Math.abs(bar.high))));
    const most = Math.max(18, Math.log2(largest) + 2);
    const scale = (height / 2 - 12) / (most - LEAST);
    const y = value => height / 2 - Math.sign(value) * scale * Math.max(0, Math.log2(Math.abs(value)) - LEAST || 0);
    this.paintScale(pen, width, y, most);
    this.paintBars(pen, width, y);
    pen.strokeStyle = color('line');
    line(pen, EDGE, y(0), width - 12, y(0));
    pen.setLineDash([5, 4]);
    for (const limit of [65504, -65504, 2 ** -14, -(2 ** -14)]) {
      pen.strokeStyle = color(Math.abs(limit) > 1 ? 'bad' : 'faint');
      line(pen, EDGE, y(limit), width - 12, y(limit));
    }
    pen.setLineDash([]);
  }

  paintScale(pen, width, y, most) {
    pen.font = font('small');
    pen.textBaseline = 'middle';
    pen.textAlign = 'right';
    pen.strokeStyle = color('soft');
    pen.fillStyle = color('faint');
    const step = 5 * Math.ceil((most - LEAST) / 60);
    for (let power = -20; power < most; power += step) {
      for (const sign of [1, -1]) {
        const place = y(sign * 2 ** power);
        line(pen, EDGE, place, width - 12, place);
        pen.fillText((sign < 0 ? '−' : '') + '2' + raised(power), EDGE - 6, place);
      }
    }
  }

  paintBars(pen, width, y) {
    const step = (width - EDGE - 12) / Math.max(1, this.bars.length);
    const [usual, bad, chosen] = ['accent', 'worst', 'text'].map(color);
    pen.globalAlpha = 0.85;
    this.bars.forEach((bar, i) => {
      pen.fillStyle = bar.op && bar.op === state.selected ? chosen : bar.bad ? bad : usual;
      const wide = Math.max(0.6, step - (step > 3 ? 1 : 0));
      pen.fillRect(EDGE + i * step, y(bar.high), wide, Math.max(1.5, y(bar.low) - y(bar.high)));
    });
    pen.globalAlpha = 1;
  }
}

const raised = number => String(number).replace(/[-0-9]/g, c => (c === '-' ? '⁻' : '⁰¹²³⁴⁵⁶⁷⁸⁹'[c]));

function line(pen, ax, ay, bx, by) {
  pen.beginPath();
  pen.moveTo(ax, ay);
  pen.lineTo(bx, by);
  pen.stroke();
}
