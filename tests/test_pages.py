"""The page of one backward pass, and the style of the site, in a browser where there is one."""

import html
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import fastbackprop as fb

DOCS = Path(__file__).parents[1] / "docs"
NODE = shutil.which("node")
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = os.environ.get("FASTBACKPROP_BROWSER") or next(
    filter(None, map(shutil.which, NAMES)), None
)


def in_browser(folder, page, script):
    """The JSON that a script returns, run on a page in the folder when it is there."""
    if not BROWSER:
        pytest.skip("there is no Chromium")
    run = f"<script>const result = (() => {{ {script} }})(); document.body.replaceChildren(); "
    run += "const pre = document.createElement('pre'); pre.textContent = JSON.stringify(result); "
    run += "document.body.append(pre);</script>"
    path = folder / "tested.html"
    path.write_text(page.replace("</body>", f"{run}</body>"), "utf-8")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000"]
    options += [f"--user-data-dir={folder / 'profile'}", "--window-size=1000,900", "--dump-dom"]
    done = subprocess.run(
        [BROWSER, *options, path.as_uri()], capture_output=True, text=True, timeout=120
    )
    found = re.search(r"<pre>(.*)</pre>", done.stdout, re.DOTALL)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(html.unescape(found[1]))


@pytest.fixture
def docs(tmp_path):
    shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("*.png", "*.md"))
    return tmp_path / "docs"


def expected(state):
    """Every quantity of the page by its key, from `Network.trace`."""
    options = {"hidden": state["hidden"], "output": "sigmoid", "dtype": "float64"}
    net = fb.Network([2, 3, 2], **options, engine="numpy")
    for l in range(2):
        net.weights[l], net.biases[l] = state["w"][l], state["b"][l]
    trace = net.trace([state["x"]], [state["y"]])
    values = {"C": trace.cost}
    for l, a in enumerate(trace.a):
        values |= {f"a-{l}-{k + 1}": x for k, x in enumerate(a[0])}
    for l in (1, 2):
        for kind, of in (("z", trace.z), ("delta", trace.delta)):
            values |= {f"{kind}-{l}-{k + 1}": x for k, x in enumerate(of[l - 1][0])}
        W, b = trace.weight_gradients[l - 1], trace.bias_gradients[l - 1]
        values |= {f"dw-{l}-{k + 1}-{j + 1}": W[k, j] for k, j in np.ndindex(W.shape)}
        values |= {f"db-{l}-{j + 1}": x for j, x in enumerate(b)}
    return values


def moved(state):
    """The state after a gradient step."""
    g = expected(state)
    return state | {
        "w": [
            [
                [w - state["rate"] * g[f"dw-{l}-{j}-{k}"] for k, w in enumerate(row, 1)]
                for j, row in enumerate(W, 1)
            ]
            for l, W in enumerate(state["w"], 1)
        ],
        "b": [
            [b - state["rate"] * g[f"db-{l}-{k}"] for k, b in enumerate(bs, 1)]
            for l, bs in enumerate(state["b"], 1)
        ],
    }


def states():
    rng = np.random.default_rng(0)
    for hidden in ("tanh", "sigmoid", "relu"):
        yield {
            "hidden": hidden,
            "rate": 0.5,
            "x": rng.uniform(-2, 2, 2).tolist(),
            "y": rng.uniform(0, 1, 2).tolist(),
            "w": [rng.uniform(-2, 2, shape).tolist() for shape in ((2, 3), (3, 2))],
            "b": [rng.uniform(-1, 1, n).tolist() for n in (3, 2)],
        }


def close(values, reference):
    assert values.keys() == reference.keys()
    for key, value in reference.items():
        assert float(values[key]) == pytest.approx(value, abs=1e-12), key


@pytest.mark.skipif(not NODE, reason="there is no node")
def test_the_mathematics_of_the_page_is_that_of_trace():
    """Also after a gradient step; formulas with numbers end with the value."""
    given = list(states())
    script = (
        f"const page = require({json.dumps(str(DOCS / 'backprop.js'))});"
        f"const states = {json.dumps(given)};"
        "console.log(JSON.stringify(states.map((s) => [page.trace(s), page.descend(s),"
        "  Object.keys(page.trace(s)).map((key) => [key, ...page.formula(s, key)])])));"
    )
    done = subprocess.run([NODE, "-e", script], capture_output=True, text=True, check=True)
    for state, (values, after, formulas) in zip(given, json.loads(done.stdout), strict=True):
        reference = expected(state)
        close(values, reference)
        for name in ("w", "b"):
            for ours, theirs in zip(moved(state)[name], after[name], strict=True):
                np.testing.assert_allclose(ours, theirs, atol=1e-14)
        assert {key for key, *_ in formulas} == {*reference}
        for key, title, letters, numbers in formulas:
            assert title and "=" in letters
            assert float(numbers.rsplit("= ", 1)[1]) == pytest.approx(reference[key], abs=6e-5)


TOOLS = """
const cells = () => Object.fromEntries([...document.querySelectorAll("[data-key]")]
  .map((e) => [e.dataset.key, e.dataset.value]));
const labels = () => Object.fromEntries([...document.querySelectorAll("[data-key]")]
  .map((e) => [e.dataset.key, e.getAttribute("aria-label")]));
const click = (id) => document.getElementById(id).click();
const slide = (label, value) => {
  const input = document.querySelector(`[aria-label="${label}"]`);
  input.value = value;
  input.dispatchEvent(new Event("input"));
};
const text = (id) => document.getElementById(id).textContent;
"""


def set_by_hand(state):
    """JavaScript that moves every slider."""
    names = {f"input {i}": x for i, x in enumerate(state["x"], 1)}
    names |= {f"target {i}": y for i, y in enumerate(state["y"], 1)}
    for l in (1, 2):
        for (j, k), w in np.ndenumerate(np.array(state["w"][l - 1])):
            names[f"weight of layer {l} from neuron {j + 1} to neuron {k + 1}"] = w
        names |= {f"bias of layer {l}, neuron {k}": b for k, b in enumerate(state["b"][l - 1], 1)}
    moves = "".join(f"slide({json.dumps(n)}, {float(v)!r});" for n, v in names.items())
    return (
        f"document.getElementById('hidden').value = '{state['hidden']}';"
        "document.getElementById('hidden').dispatchEvent(new Event('change'));"
        f"document.getElementById('rate').value = {state['rate']};"
        "document.getElementById('rate').dispatchEvent(new Event('input'));" + moves
    )


def test_the_page_in_a_browser(docs):
    """By hand, step by step, by gradient steps, by keyboard: the numbers are those of `trace`."""
    given = list(states())
    script = TOOLS + "const seen = [];"
    for state in given:
        script += set_by_hand(state) + "seen.push(cells()); click('descend'); seen.push(cells());"
        script += "seen.push(text('cost')); click('descend10'); seen.push(text('cost'));"
    script += """
    click("reset");
    for (let i = 0; i < 9; i += 1) click("back");
    const first = labels(), stages = [text("stage")], panels = [];
    for (let i = 0; i < 9; i += 1) {
      click("forward"); stages.push(text("stage")); panels.push(text("formula"));
    }
    const cell = document.querySelector('[data-key="dw-1-2-3"]');
    cell.focus();
    const interactive = [...document.querySelectorAll("main button, main input, main select")];
    return {
      seen, first, stages, panels, last: labels(), focused: text("formula"),
      drawn: document.querySelectorAll("#formula .katex math").length,
      unreachable: interactive.filter((e) => e.tabIndex < 0).length,
      unnamed: interactive.filter((e) => !(e.getAttribute("aria-label")
        || e.textContent.trim() || e.labels.length)).length,
      wide: document.documentElement.scrollWidth > innerWidth,
    };"""
    page = (docs / "backprop.html").read_text("utf-8")
    result = in_browser(docs, page, script)
    seen = iter(result["seen"])
    for state in given:
        close(next(seen), expected(state))
        close(next(seen), expected(moved(state)))
        one, eleven = (re.match(r"C = (\S+) after (\d+)", next(seen)).groups() for _ in range(2))
        assert (one[1], eleven[1]) == ("1", "11") and float(eleven[0]) < float(one[0])
    assert result["stages"][0].startswith("1 of 10: The input")
    assert result["stages"][-1].startswith("10 of 10: (3) and (4)")
    hidden = [key for key, label in result["first"].items() if "not computed yet" in label]
    assert len(hidden) == len(result["first"]) - 2  # all but the inputs
    assert not any("not computed yet" in label for label in result["last"].values())
    assert [panel[:3] for panel in result["panels"]].count("(2)") == 1
    assert "Gradient of the weight from neuron 2 of layer 0 to neuron 3" in result["focused"]
    assert result["drawn"] == 2
    assert result["unreachable"] == result["unnamed"] == 0 and not result["wide"]


def test_no_code_scrolls_sideways(docs):
    """A line of 200 characters goes on below."""
    page = f"""<link rel=stylesheet href=style.css><body style="width: 300px">
    <div class=md-typeset><pre style="overflow: auto"><code>{"x = 1; " * 30}</code></pre></div>
    <pre class=plain style="overflow: auto"><code>{"x = 1; " * 30}</code></pre></body>"""
    script = """return [...document.querySelectorAll("pre")]
      .map((e) => e.scrollWidth > e.clientWidth);"""
    assert in_browser(docs, page, script) == [False, True]


JUPYTER = """<style>:not(.jp-RenderedMarkdown).jp-RenderedHTMLCommon td { text-align: right; }
.jp-RenderedHTMLCommon p { margin: 0 0 1em; }</style>"""  # of JupyterLab 4


def test_notebook_pictures_in_a_browser(tmp_path):
    """They are as wide as their text, on a light and on a dark page, and load nothing.

    Jupyter's own rules do not take the place of theirs.
    """
    rng = np.random.default_rng(0)
    net = fb.Network([2, 3, 1], hidden="tanh", engine="numpy", rng=0)
    X, y = rng.normal(size=(20, 2)), rng.normal(size=(20, 1))
    things = [net, net.fit(X, y, epochs=3, validation=0.2), net.trace(X, y)]
    things.append(fb.explain(net, X[0], y[0]))
    body = "".join(thing._repr_html_() for thing in things)
    assert not re.search(r"(?:src|href)=|url\(|@import", body)
    script = """return [["#ffffff", "#111111"], ["#111111", "#eeeeee"]].map(([page, ink]) => {
      document.body.style.background = page; document.body.style.color = ink;
      const blocks = [...document.querySelectorAll(".fastbackprop")];
      const texts = [...document.querySelectorAll(".fastbackprop td, .fastbackprop svg text")];
      return {
        wide: blocks.filter((e) => e.scrollWidth > e.clientWidth).length,
        blocks: blocks.length,
        inks: [...new Set(texts.map((e) => getComputedStyle(e))
          .flatMap((style) => [style.fill, style.color]))],
        formulas: [...document.querySelectorAll("math")]
          .every((e) => e.getBoundingClientRect().width > 3),
        left: [...document.querySelectorAll("td.l")]
          .every((e) => getComputedStyle(e).textAlign === "left"),
        apart: [...document.querySelectorAll(".fastbackprop p")].every((e) =>
          parseFloat(getComputedStyle(e).marginTop) > parseFloat(getComputedStyle(e).marginBottom)),
      };
    });"""
    page = f"{JUPYTER}<div class=jp-RenderedHTMLCommon>{body}</div>"
    light, dark = in_browser(tmp_path, f"<!doctype html><body>{page}</body>", script)
    for page, ink in ((light, "rgb(17, 17, 17)"), (dark, "rgb(238, 238, 238)")):
        assert page["blocks"] == 4 and page["wide"] == 0 and page["formulas"]
        assert page["left"] and page["apart"]
        assert ink in page["inks"]


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_the_page_loads_its_own_files():
    elements = Elements((DOCS / "backprop.html").read_text("utf-8")).found
    sources = [a.get("src") or a.get("href") for tag, a in elements if tag in ("script", "link")]
    assert len(sources) == 4 and all((DOCS / source).is_file() for source in sources)
