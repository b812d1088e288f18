"""HTML for notebooks: tables, curves and drawings that suit a light and a dark page.

Lines and text have the colour of the page's text, other colours stand out from white and black.
A block brings its own style and loads nothing.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

COLORS = ("#3b82c4", "#d9733a", "#2e9e75", "#b06bb5", "#a08a2c", "#7d7d7d")
MOST_NEURONS = 6  # of a layer in a drawing
# Twice the class: Jupyter's own rules for tables and paragraphs are of two classes.
STYLE = """<style>
.fastbackprop { font: 13px/1.45 system-ui, sans-serif; max-width: 60em; overflow-x: auto;
  margin-bottom: 1em; }
.fastbackprop.fastbackprop table { border-collapse: collapse; border: 0; margin: .4em 0;
  font-size: inherit; }
.fastbackprop th, .fastbackprop td { text-align: right; padding: .15em .7em; border: 0;
  border-bottom: 1px solid rgba(128, 128, 128, .3); background: none; color: inherit;
  white-space: nowrap; }
.fastbackprop th { font-weight: 600; }
.fastbackprop.fastbackprop th.l, .fastbackprop.fastbackprop td.l { text-align: left; }
.fastbackprop.fastbackprop h4 { margin: 1.4em 0 .4em; font-size: 1.15em; }
.fastbackprop.fastbackprop p { margin: 1.2em 0 .3em; }
.fastbackprop math { math-style: normal; }
.fastbackprop .number { font-variant-numeric: tabular-nums; border-radius: 3px; }
.fastbackprop svg { display: inline-block; vertical-align: middle; color: inherit; }
.fastbackprop svg text { fill: currentColor; font: 11px system-ui, sans-serif; }
.fastbackprop .quiet { opacity: .7; }
</style>"""


def block(title: str, *parts: str) -> str:
    """A titled block with its style."""
    heading = f"<div><strong>{escape(title)}</strong></div>"
    return f'{STYLE}<div class="fastbackprop">{heading}{"".join(parts)}</div>'


def note(text: str) -> str:
    """A line of small print."""
    return f'<div class="quiet">{escape(text)}</div>'


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are HTML, `header` is text. The first column is to the left."""

    def line(cells: Sequence[str], tag: str) -> str:
        first, *others = cells
        return (
            f'<tr><{tag} class="l">{first}</{tag}>'
            + "".join(f"<{tag}>{cell}</{tag}>" for cell in others)
            + "</tr>"
        )

    head = line([escape(title) for title in header], "th")
    return (
        f"<table><thead>{head}</thead><tbody>{''.join(line(r, 'td') for r in rows)}</tbody></table>"
    )


def shaded(value: float, largest: float) -> str:
    """A number on a ground that is blue where it is positive, orange where it is negative."""
    part = min(abs(value) / largest, 1.0) if largest > 0 and math.isfinite(value) else 0.0
    color = "59, 130, 196" if value >= 0 else "217, 115, 58"
    ground = f"background: rgba({color}, {0.55 * part:.2f})"
    return f'<span class="number" style="{ground}; padding: 0 .3em">{value:.3g}</span>'


def sparkline(values: Sequence[float], width: int = 90, height: int = 18) -> str:
    """A small curve."""
    path = _path(values, (2, 2, width - 2, height - 2), _range([values]))
    line = f'<path d="{path}" fill="none" stroke="currentColor" stroke-width="1.2"/>'
    return f'<svg width="{width}" height="{height}" aria-hidden="true">{line}</svg>'


def curves(series: Mapping[str, Sequence[float]], what: str) -> str:
    """Curves over the epochs, with the smallest and the largest value beside them."""
    width, height, left, bottom = 420, 130, 58, 108
    low, high, log = _range(series.values())
    axes = f"M{left} 8V{bottom}H{width - 90}"
    parts = [f'<path d="{axes}" fill="none" stroke="currentColor" opacity=".4"/>']
    for y, value in ((bottom, low), (16, high)):
        shown = math.exp(value) if log else value
        parts.append(f'<text x="{left - 6}" y="{y}" text-anchor="end">{shown:.3g}</text>')
    n = max((len(values) for values in series.values()), default=0)
    parts.append(f'<text x="{left}" y="{bottom + 15}">1</text>')
    parts.append(f'<text x="{width - 90}" y="{bottom + 15}" text-anchor="end">epoch {n}</text>')
    for place, (name, values) in enumerate(series.items()):
        color = COLORS[place % len(COLORS)]
        path = _path(values, (left, 10, width - 90, bottom - 4), (low, high, log))
        parts.append(f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.8"/>')
        parts.append(
            f'<text x="{width - 82}" y="{20 + 16 * place}" style="fill: {color}">'
            f"{escape(name)}</text>"
        )
    label = f"{what} over {n} epochs"
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg {size} role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def _range(series: Iterable[Sequence[float]]) -> tuple[float, float, bool]:
    """Smallest and largest finite value; their logarithms where they differ by a factor of 10."""
    finite = [x for values in series for x in values if math.isfinite(x)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    if low > 0 and high > 10 * low:
        return math.log(low), math.log(high), True
    return low, high, False


def _path(
    values: Sequence[float], box: tuple[int, int, int, int], of: tuple[float, float, bool]
) -> str:
    """The path of a curve in a box (left, top, right, bottom); it has gaps at NaN and infinity."""
    (left, top, right, bottom), (low, high, log) = box, of
    step = (right - left) / max(len(values) - 1, 1)
    parts, pen = [], "M"
    for i, value in enumerate(values):
        if not math.isfinite(value):
            pen = "M"
            continue
        y = math.log(value) if log else value
        part = (y - low) / (high - low) if high > low else 0.5
        parts.append(f"{pen}{left + i * step:.1f} {bottom - part * (bottom - top):.1f}")
        pen = "L"
    if len(values) == 1 and parts:
        parts.append("h4")
    return "".join(parts)


def drawing(sizes: Sequence[int], labels: Sequence[str]) -> str:
    """Layers as columns of neurons, at most `MOST_NEURONS` of each, and their connections."""
    apart, row = 86, 17
    columns = [min(n, MOST_NEURONS) for n in sizes]
    height = max(columns) * row + 40
    width = apart * (len(sizes) - 1) + 90

    def place(l: int, k: int) -> tuple[float, float]:
        return 45 + l * apart, (height - 40) / 2 + 8 + (k - (columns[l] - 1) / 2) * row

    lines, dots, texts = [], [], []
    for l in range(1, len(sizes)):
        for j in range(columns[l - 1]):
            for k in range(columns[l]):
                (x, y), (u, v) = place(l - 1, j), place(l, k)
                lines.append(f"M{x:g} {y:g}L{u:g} {v:g}")
    for l, n in enumerate(sizes):
        color = COLORS[0] if 0 < l < len(sizes) - 1 else COLORS[1 if l else 5]
        for k in range(columns[l]):
            x, y = place(l, k)
            if n > MOST_NEURONS and k == MOST_NEURONS // 2:
                dots += [
                    f'<circle cx="{x:g}" cy="{y + d:g}" r="1.1" fill="currentColor"/>'
                    for d in (-4, 0, 4)
                ]
            else:
                dots.append(f'<circle cx="{x:g}" cy="{y:g}" r="5.5" fill="{color}"/>')
        x = place(l, 0)[0]
        texts.append(f'<text x="{x:g}" y="{height - 16}" text-anchor="middle">{n}</text>')
        texts.append(
            f'<text x="{x:g}" y="{height - 3}" text-anchor="middle" opacity=".7">'
            f"{escape(labels[l])}</text>"
        )
    wires = f'<path d="{"".join(lines)}" stroke="currentColor" stroke-width=".5" opacity=".35"/>'
    label = "layers of " + ", ".join(map(str, sizes)) + " neurons"
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg {size} role="img" aria-label="{label}">{wires}{"".join(dots + texts)}</svg>'


def memory(n_bytes: int) -> str:
    """A number of bytes for people."""
    for unit in ("bytes", "KB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes = n_bytes / 1000  # type: ignore[assignment]
    return f"{n_bytes:.3g} GB"
