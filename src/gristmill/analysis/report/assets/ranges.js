// Ranges as bars.

// Every op as a bar from its smallest to its largest magnitude, on a scale of powers of two, beside float16's limits.
class RangePlot {
  constructor() {
    const rows = data.inspection
      ? data.inspection.ops
          .filter(row => row.low !== undefined)
          .map(row => ({
            name: row.name,
            low: Number(row.low),
            high: Number(row.high),
            bad: row.overflow > 0 || row.nan > 0,
            op: findOp(row.name, running),
          }))
      : functions.flatMap(one =>
          Object.entries(one.constants)
            .filter(([, c]) => c.low !== undefined)
            .map(([name, c]) => ({
              name,
              low: Number(c.low),
              high: Number(c.high),
              bad: false,
              op: (one.users.get(name) || [])[0],
            })),
        );
    this.bars = rows.filter(row => Number.isFinite(row.low) && Number.isFinite(row.high));
    this.canvas = make('canvas', {class: 'plot'});
    const what = data.inspection ? 'values' : 'weights';
    const content = make(
      'div',
      {class: 'pad'},
      make('h2', {class: 'big'}, data.inspection ? 'Ranges of values' : 'Ranges of weights'),
      make(
        'p',
        {class: 'dim'},
        `A bar for the values of each ${data.inspection ? 'op' : 'constant'}, in the program’s order: above the middle what is positive, below it what is negative, on a scale of powers of two. Dashed lines: float16 ends at 65504, and loses precision under 2⁻¹⁴.`,
      ),
      this.canvas,
    );
    if (!this.bars.length) content.append(make('p', {}, `There are no ${what} to show.`));
    const inspection = data.inspection || {};
    for (const [key, title] of [
      ['first_overflow', 'First overflow'],
      ['first_nan', 'First NaN'],
      ['culprit', 'Most of the error'],
    ]) {
      const found = inspection[key];
      if (found)
        content.append(
          make('h3', {}, title),
          make(
            'div',
            {class: 'card'},
            make('b', {}, found.op + (found.operand ? ', operand ' + found.operand : '')),
            make('div', {}, found.why),
            make('div', {class: 'dim'}, found.location || ''),
          ),
        );
    }
    this.element = make('div', {class: 'view'}, content);
    this.tip = make('div', {id: 'tip', hidden: ''});
    document.body.append(this.tip);
    this.canvas.addEventListener('pointermove', event => this.point(event));
    this.canvas.addEventListener('pointerleave', () => {
      this.tip.hidden = true;
    });
    this.canvas.addEventListener('click', event => {
      const bar = this.at(event);
      if (bar && bar.op) select(bar.op);
    });
    new ResizeObserver(() => this.paint()).observe(this.canvas);
    onChange(what2 => {
      if (what2 === 'theme' || what2 === 'selected') this.paint();
    });
  }

  at(event) {
    return this.bars[Math.floor(((event.offsetX - 56) / (this.canvas.clientWidth - 68)) * this.bars.length)];
  }

  point(event) {
    const bar = this.at(event);
    this.tip.hidden = !bar;
    if (!bar) return;
    this.tip.replaceChildren(
      make('b', {}, bar.op ? bar.op.type : ''),
      ' ' + bar.name,
      make('br'),
      text(bar.low) + ' … ' + text(bar.high),
    );
    this.tip.style.left = Math.min(event.clientX + 14, innerWidth - 330) + 'px';
    this.tip.style.top = event.clientY + 16 + 'px';
  }

  paint() {
    const {clientWidth: width, clientHeight: height} = this.canvas,
      ratio = devicePixelRatio || 1;
    if (!width) return;
    [this.canvas.width, this.canvas.height] = [width * ratio, height * ratio];
    const pen = this.canvas.getContext('2d');
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const [least, most] = [
      -24,
      Math.max(18, ...this.bars.map(bar => Math.log2(Math.max(Math.abs(bar.low), Math.abs(bar.high), 1e-12)) + 2)),
    ];
    const middle = height / 2,
      half = height / 2 - 12;
    const scale = magnitude =>
      magnitude === 0 ? 0 : Math.max(0.5, (half * (Math.log2(magnitude) - least)) / (most - least));
    pen.font = font('small');
    pen.textBaseline = 'middle';
    pen.textAlign = 'right';
    for (let power = -20; power < most; power += 5 * Math.ceil((most - least) / 60))
      for (const sign of [1, -1]) {
        const y = middle - sign * scale(2 ** power);
        pen.strokeStyle = color('soft');
        pen.setLineDash([]);
        line(pen, 56, y, width - 12, y);
        pen.fillStyle = color('faint');
        pen.fillText((sign < 0 ? '−' : '') + '2' + raised(power), 50, y);
      }
    const step = (width - 68) / Math.max(1, this.bars.length);
    this.bars.forEach((bar, i) => {
      const up = bar.high > 0 ? scale(bar.high) : 0,
        down = bar.low < 0 ? scale(-bar.low) : 0;
      pen.fillStyle = bar.op && bar.op === state.selected ? color('text') : bar.bad ? color('worst') : color('accent');
      const from = bar.low > 0 ? scale(bar.low) : 0,
        to = bar.high < 0 ? scale(-bar.high) : 0;
      pen.globalAlpha = 0.85;
      pen.fillRect(
        56 + i * step,
        middle - up,
        Math.max(0.6, step - (step > 3 ? 1 : 0)),
        Math.max(1.5, up - from + Math.max(0, down - to)),
      );
      pen.globalAlpha = 1;
    });
    pen.strokeStyle = color('line');
    line(pen, 56, middle, width - 12, middle);
    pen.setLineDash([5, 4]);
    for (const [limit, name] of [
      [65504, 'bad'],
      [2 ** -14, 'faint'],
    ])
      for (const sign of [1, -1]) {
        pen.strokeStyle = color(name);
        line(pen, 56, middle - sign * scale(limit), width - 12, middle - sign * scale(limit));
      }
    pen.setLineDash([]);
  }
}

const raised = number => String(number).replace(/[-0-9]/g, c => (c === '-' ? '⁻' : '⁰¹²³⁴⁵⁶⁷⁸⁹'[c]));

function line(pen, ax, ay, bx, by) {
  pen.beginPath();
  pen.moveTo(ax, ay);
  pen.lineTo(bx, by);
  pen.stroke();
}
