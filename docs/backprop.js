"use strict";
// One sample through a network of 2, 3 and 2 neurons, and back. The first part is the mathematics:
// layers and neurons are arrays, from 0; the second part is the page. See docs/derivation.md.

const SIZES = [2, 3, 2];
const SIGMA = {
  tanh: { f: Math.tanh, slope: (z, a) => 1 - a * a, text: "1 - a_j^2", tex: (z, a) => `(1 - ${num(a)}^2)` },
  sigmoid: {
    f: (z) => 1 / (1 + Math.exp(-z)), slope: (z, a) => a * (1 - a), text: "a_j (1 - a_j)",
    tex: (z, a) => `${num(a)} \\, (1 - ${num(a)})`,
  },
  relu: { f: (z) => Math.max(z, 0), slope: (z) => (z > 0 ? 1 : 0), text: "1[z_j > 0]", tex: (z) => (z > 0 ? "1" : "0") },
};
const START = {
  x: [0.5, -1], y: [1, 0], hidden: "tanh", rate: 1,
  w: [[[0.2, -0.4, 0.6], [0.1, 0.3, -0.5]], [[0.7, -0.3], [-0.2, 0.4], [0.5, 0.1]]],
  b: [[0.1, 0, -0.2], [0.05, -0.1]],
};
const STAGES = [
  ["The input", (key) => key.startsWith("a-0")],
  ["(0) weighted inputs of layer 1", (key) => key.startsWith("z-1")],
  ["Activations of layer 1", (key) => key.startsWith("a-1")],
  ["(0) weighted inputs of layer 2", (key) => key.startsWith("z-2")],
  ["Activations of layer 2, the output", (key) => key.startsWith("a-2")],
  ["The cost", (key) => key === "C"],
  ["(1) errors of the output layer", (key) => key.startsWith("delta-2")],
  ["(2) errors of the hidden layer", (key) => key.startsWith("delta-1")],
  ["(3) and (4) gradients of layer 2", (key) => /^d[wb]-2/.test(key)],
  ["(3) and (4) gradients of layer 1", (key) => /^d[wb]-1/.test(key)],
];

const range = (n) => [...Array(n).keys()];
const sum = (values) => values.reduce((total, value) => total + value, 0);
const sigmaOf = (state, l) => SIGMA[l === 1 ? state.hidden : "sigmoid"];

/** Every quantity of the derivation by its key: z-1-2 is z^1_2, dw-1-2-3 is dC/dw^1_23. */
function trace(state) {
  const a = [state.x.slice()], z = [null], delta = [null, null, null], values = {};
  for (const l of [1, 2]) {
    const w = state.w[l - 1], b = state.b[l - 1];
    z[l] = range(SIZES[l]).map((k) => sum(range(SIZES[l - 1]).map((j) => a[l - 1][j] * w[j][k])) + b[k]);
    a[l] = z[l].map(sigmaOf(state, l).f);
  }
  const slope = (l, j) => sigmaOf(state, l).slope(z[l][j], a[l][j]);
  delta[2] = range(2).map((j) => (a[2][j] - state.y[j]) * slope(2, j));
  delta[1] = range(3).map((j) => slope(1, j) * sum(range(2).map((k) => delta[2][k] * state.w[1][j][k])));
  a.forEach((layer, l) => layer.forEach((value, k) => { values[`a-${l}-${k + 1}`] = value; }));
  for (const l of [1, 2]) {
    range(SIZES[l]).forEach((j) => {
      values[`z-${l}-${j + 1}`] = z[l][j];
      values[`delta-${l}-${j + 1}`] = delta[l][j];
      values[`db-${l}-${j + 1}`] = delta[l][j];
      range(SIZES[l - 1]).forEach((k) => { values[`dw-${l}-${k + 1}-${j + 1}`] = a[l - 1][k] * delta[l][j]; });
    });
  }
  values.C = sum(range(2).map((k) => (a[2][k] - state.y[k]) ** 2)) / 2;
  return values;
}

/** The state after one step of gradient descent. */
function descend(state) {
  const g = trace(state);
  const moved = (value, key) => value - state.rate * g[key];
  return {
    ...state,
    w: state.w.map((W, l) => W.map((row, j) => row.map((v, k) => moved(v, `dw-${l + 1}-${j + 1}-${k + 1}`)))),
    b: state.b.map((b, l) => b.map((v, k) => moved(v, `db-${l + 1}-${k + 1}`))),
  };
}

/** Four decimals; negative numbers in parentheses, because they follow a sign. */
function num(x) {
  const text = Math.abs(x).toFixed(4);
  return x < 0 && Number(text) !== 0 ? `(-${text})` : text;
}

/** What a quantity is, and its formula with letters and with numbers, in LaTeX. */
function formula(state, key) {
  const v = trace(state), [kind, layer, first, second] = key.split("-");
  const l = Number(layer), p = Number(first), q = Number(second);
  const below = l - 1, W = state.w[below], name = l === 1 ? state.hidden : "sigmoid";
  const product = (xs, ys) => xs.map((x, i) => `${num(x)} \\cdot ${num(ys[i])}`).join(" + ");
  const end = ` = ${v[key].toFixed(4)}`;
  if (kind === "C") {
    const terms = range(2).map((k) => `(${num(v[`a-2-${k + 1}`])} - ${num(state.y[k])})^2`).join(" + ");
    return ["The cost", "C = \\tfrac{1}{2} \\sum_k (a^2_k - y_k)^2", `C = \\tfrac{1}{2} \\left[ ${terms} \\right]${end}`];
  }
  const letter = { z: "z", a: "a", delta: "\\delta" }[kind];
  const left = letter && `${letter}^${l}_${p}`;
  if (kind === "a" && l === 0) return [`Input ${p}`, "a^0_j = x_j", `${left}${end}`];
  if (kind === "z") {
    const xs = range(SIZES[below]).map((j) => v[`a-${below}-${j + 1}`]);
    const numbers = `${product(xs, W.map((row) => row[p - 1]))} + ${num(state.b[below][p - 1])}`;
    return [`(0) Weighted input of neuron ${p} of layer ${l}`,
      `z^${l}_k = \\sum_j a^${below}_j w^${l}_{jk} + b^${l}_k`, `${left} = ${numbers}${end}`];
  }
  const z = v[`z-${l}-${p}`], a = v[`a-${l}-${p}`];
  if (kind === "a") {
    return [`Activation of neuron ${p} of layer ${l}`, `a^${l}_k = \\sigma_${l}(z^${l}_k)`,
      `${left} = \\mathrm{${name}}(${z.toFixed(4)})${end}`];
  }
  if (kind === "delta") {
    const slope = SIGMA[name].tex(z, a), is = `\\sigma_${l}'(z_j) = ${SIGMA[name].text.replace("1[", "\\mathbf{1}[")}`;
    if (l === 2) {
      return [`(1) Error of neuron ${p} of the output`,
        `\\delta^2_j = \\frac{\\partial C}{\\partial a^2_j} \\, \\sigma_2'(z^2_j), \\quad \\frac{\\partial C}{\\partial a_j} = a_j - y_j, \\quad ${is}`,
        `${left} = (${num(a)} - ${num(state.y[p - 1])}) \\cdot ${slope}${end}`];
    }
    const above = range(2).map((k) => v[`delta-2-${k + 1}`]);
    return [`(2) Error of neuron ${p} of the hidden layer`,
      `\\delta^1_j = \\sigma_1'(z^1_j) \\sum_k \\delta^2_k w^2_{jk}, \\quad ${is}`,
      `${left} = ${slope} \\cdot (${product(above, state.w[1][p - 1])})${end}`];
  }
  if (kind === "dw") {
    return [`(3) Gradient of the weight from neuron ${p} of layer ${below} to neuron ${q} of layer ${l}`,
      `\\frac{\\partial C}{\\partial w^${l}_{kj}} = a^${below}_k \\, \\delta^${l}_j`,
      `\\frac{\\partial C}{\\partial w^${l}_{${p}${q}}} = ${num(v[`a-${below}-${p}`])} \\cdot ${num(v[`delta-${l}-${q}`])}${end}`];
  }
  return [`(4) Gradient of the bias of neuron ${p} of layer ${l}`,
    `\\frac{\\partial C}{\\partial b^${l}_j} = \\delta^${l}_j`, `\\frac{\\partial C}{\\partial b^${l}_${p}}${end}`];
}

if (typeof module !== "undefined") module.exports = { START, descend, formula, trace };

// --- the page ------------------------------------------------------------------------------------

if (typeof document !== "undefined") {
  const SVG = "http://www.w3.org/2000/svg";
  const at = (id) => document.getElementById(id);
  const copy = (state) => JSON.parse(JSON.stringify(state));
  let state = copy(START), position = STAGES.length - 1, pointed = "delta-1-1", costs = [];
  const cells = {}, sliders = [], neurons = {}, edges = {};
  const place = (l, k) => [70 + 240 * l, 190 + (k - (SIZES[l] - 1) / 2) * 118];
  const sup = (n) => "⁰¹²³"[n], sub = (n) => "₀₁₂₃"[n];

  /** An element with attributes, inside another. */
  function add(parent, name, attributes = {}, text = "") {
    const element = parent.namespaceURI === SVG || name === "svg"
      ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text) element.textContent = text;
    parent.append(element);
    return element;
  }

  /** A number that shows its formula when it is pointed at, or has the focus. */
  function cell(parent, key, name) {
    const button = add(add(parent, "td"), "button", { type: "button", "data-key": key });
    for (const event of ["pointerenter", "focus", "click"]) button.addEventListener(event, () => show(key));
    cells[key] = { button, name };
  }

  function table(parent, caption, rows) {
    const body = add(add(parent, "table", { "aria-label": caption }), "tbody");
    for (const [name, spoken, keys] of rows) {
      const row = add(body, "tr");
      add(row, "th", { scope: "row" }, name);
      keys.forEach((key, i) => cell(row, key, `${spoken} ${i + 1}`));
    }
  }

  function build() {
    for (const l of [0, 1, 2]) {
      const keys = (kind) => range(SIZES[l]).map((k) => `${kind}-${l}-${k + 1}`);
      const rows = [[`a${sup(l)}`, `a, layer ${l}, neuron`, keys("a")]];
      if (l) {
        rows.unshift([`z${sup(l)}`, `z, layer ${l}, neuron`, keys("z")]);
        rows.push([`δ${sup(l)}`, `delta, layer ${l}, neuron`, keys("delta")]);
      }
      if (l === 2) rows.push(["C", "cost", ["C"]]);
      table(at("quantities"), `Layer ${l}`, rows);
    }
    for (const l of [1, 2]) {
      const rows = range(SIZES[l - 1]).map((j) => [
        `∂C/∂w${sup(l)} from ${j + 1}`, `gradient of the weight of layer ${l}, from neuron ${j + 1} to neuron`,
        range(SIZES[l]).map((k) => `dw-${l}-${j + 1}-${k + 1}`),
      ]);
      rows.push([`∂C/∂b${sup(l)}`, `gradient of the bias of layer ${l}, neuron`,
        range(SIZES[l]).map((k) => `db-${l}-${k + 1}`)]);
      table(at("gradients"), `Gradients of layer ${l}`, rows);
    }
    range(2).forEach((k) => slider(at("sample"), `x${sub(k + 1)}`, `input ${k + 1}`, (s) => [s.x, k]));
    range(2).forEach((k) => slider(at("sample"), `y${sub(k + 1)}`, `target ${k + 1}`, (s) => [s.y, k]));
    for (const l of [1, 2]) {
      range(SIZES[l - 1]).forEach((j) => range(SIZES[l]).forEach((k) => slider(at("parameters"),
        `w${sup(l)}${sub(j + 1)}${sub(k + 1)}`, `weight of layer ${l} from neuron ${j + 1} to neuron ${k + 1}`,
        (s) => [s.w[l - 1][j], k])));
      range(SIZES[l]).forEach((k) => slider(at("parameters"), `b${sup(l)}${sub(k + 1)}`,
        `bias of layer ${l}, neuron ${k + 1}`, (s) => [s.b[l - 1], k]));
    }
    drawing();
    const move = (by) => { position = Math.min(Math.max(position + by, 0), STAGES.length - 1); follow(); };
    at("forward").addEventListener("click", () => move(1));
    at("back").addEventListener("click", () => move(-1));
    at("all").addEventListener("click", () => { position = STAGES.length - 1; update(); });
    at("descend").addEventListener("click", () => steps(1));
    at("descend10").addEventListener("click", () => steps(10));
    at("reset").addEventListener("click", () => { state = copy(START); at("rate").value = 1; at("hidden").value = "tanh"; restart(); });
    at("rate").addEventListener("input", () => { state.rate = Number(at("rate").value) || 0; });
    at("hidden").addEventListener("change", () => { state.hidden = at("hidden").value; restart(); });
    restart();
  }

  function slider(parent, text, spoken, where) {
    const label = add(parent, "label");
    add(label, "span", { "aria-hidden": "true" }, text);
    const input = add(label, "input", { type: "range", min: -3, max: 3, step: "any", "aria-label": spoken });
    const output = add(label, "output");
    input.addEventListener("input", () => { const [array, i] = where(state); array[i] = Number(input.value); restart(); });
    sliders.push({ input, output, where });
  }

  function drawing() {
    const svg = at("drawing");
    for (const l of [1, 2]) {
      range(SIZES[l - 1]).forEach((j) => range(SIZES[l]).forEach((k) => {
        const [x, y] = place(l - 1, j), [u, v] = place(l, k), key = `dw-${l}-${j + 1}-${k + 1}`;
        const line = add(svg, "line", { class: "edge", x1: x, y1: y, x2: u, y2: v });
        line.addEventListener("pointerenter", () => show(key));
        edges[key] = line;
      }));
    }
    for (const l of [0, 1, 2]) {
      range(SIZES[l]).forEach((k) => {
        const [x, y] = place(l, k), group = add(svg, "g", { class: "neuron" });
        add(group, "circle", { cx: x, cy: y, r: 30 });
        const key = `a-${l}-${k + 1}`;
        add(group, "text", { x, y: y + 5, "text-anchor": "middle" });
        const error = add(svg, "text", { x, y: y + 47, "text-anchor": "middle" });
        group.addEventListener("pointerenter", () => show(key));
        error.addEventListener("pointerenter", () => show(`delta-${l}-${k + 1}`));
        neurons[key] = { group, error, key: `delta-${l}-${k + 1}` };
      });
    }
  }

  const known = (key) => STAGES.findIndex(([, of]) => of(key)) <= position;

  /** Show the first quantity of the stage that has come. */
  function follow() {
    pointed = Object.keys(cells).find((key) => STAGES[position][1](key));
    update();
  }

  function steps(n) {
    for (let i = 0; i < n; i += 1) { state = descend(state); costs.push(trace(state).C); }
    position = STAGES.length - 1;
    update();
  }

  /** After a change by hand: the cost curve begins anew. */
  function restart() {
    costs = [trace(state).C];
    update();
  }

  function show(key) {
    if (!(key in cells)) return;
    pointed = key;
    const [title, letters, numbers] = formula(state, key);
    const panel = at("formula");
    panel.replaceChildren();
    add(panel, "p", {}, title);
    for (const tex of known(key) ? [letters, numbers] : [letters]) {
      katex.render(tex, add(panel, "p"), { displayMode: false, throwOnError: false });
    }
    if (!known(key)) add(panel, "p", {}, "Not computed yet: step forward.");
  }

  function update() {
    const values = trace(state), [stage, now] = STAGES[position];
    at("stage").textContent = `${position + 1} of ${STAGES.length}: ${stage}`;
    at("back").disabled = position === 0;
    at("forward").disabled = position === STAGES.length - 1;
    for (const [key, { button, name }] of Object.entries(cells)) {
      const text = known(key) ? values[key].toFixed(4) : "·";
      button.textContent = text;
      button.dataset.value = values[key];
      button.className = `${known(key) ? (values[key] < 0 ? "negative" : "positive") : "hidden"}${now(key) ? " now" : ""}`;
      button.setAttribute("aria-label", `${name}: ${known(key) ? text : "not computed yet"}`);
    }
    for (const { input, output, where } of sliders) {
      const [array, i] = where(state);
      input.value = array[i];
      output.textContent = array[i].toFixed(2);
    }
    for (const [key, line] of Object.entries(edges)) {
      const [, l, j, k] = key.split("-").map(Number), w = state.w[l - 1][j - 1][k - 1];
      line.setAttribute("stroke", `var(--${w < 0 ? "negative" : "positive"})`);
      line.setAttribute("stroke-width", Math.min(1 + 5 * Math.abs(w), 12));
      line.setAttribute("opacity", Math.min(0.25 + Math.abs(w), 0.9));
      line.classList.toggle("now", now(key));
    }
    for (const [key, { group, error, key: delta }] of Object.entries(neurons)) {
      group.lastChild.textContent = known(key) ? values[key].toFixed(2) : "·";
      group.classList.toggle("now", now(key) || now(key.replace("a", "z")) || now(delta));
      error.textContent = delta in values && known(delta) ? `δ ${values[delta].toFixed(3)}` : "";
    }
    curve();
    show(pointed);
  }

  function curve() {
    const n = costs.length - 1, last = costs[n], svg = at("curve");
    at("cost").textContent = `C = ${last.toFixed(5)} after ${n} gradient step${n === 1 ? "" : "s"}`;
    svg.setAttribute("aria-label", `The cost went from ${costs[0].toFixed(4)} to ${last.toFixed(4)} in ${n} steps`);
    const high = Math.max(...costs, 1e-9);
    const points = costs.map((c, i) => `${4 + (612 * i) / Math.max(n, 1)},${86 - (80 * c) / high}`).join(" ");
    svg.replaceChildren();
    add(svg, "path", { d: "M4 4V86H616", fill: "none", stroke: "var(--quiet)" });
    add(svg, "circle", { cx: n ? 616 : 4, cy: 86 - (80 * last) / high, r: 3, fill: "var(--positive)" });
    if (n) add(svg, "polyline", { points, fill: "none", stroke: "var(--positive)", "stroke-width": 2 });
  }

  build();
}
