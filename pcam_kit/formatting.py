"""Numbers, lists and results as people read them."""

from __future__ import annotations

import html
import statistics
from collections.abc import Iterable, Sequence
from itertools import islice, pairwise
from typing import TypeVar

from pcam_kit.text import printable, printable_lines


def duration(seconds: float) -> str:
    """`75` -> `1m15s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def size(n: float) -> str:
    """Bytes: `7_668_000_000` -> `7.7 GB`."""
    return f"{n / 1e9:.1f} GB" if n >= 0.95e9 else f"{n / 1e6:.0f} MB"


def mean_sd(values: Sequence[float]) -> str:
    """Mean ± standard deviation (n - 1), or the only value."""
    mean = f"{statistics.fmean(values):.4f}"
    return f"{mean} ± {statistics.stdev(values):.4f}" if len(values) > 1 else mean


def counted(n: int, noun: str) -> str:
    """`1 run`, `2 runs`, `1,000 patches`."""
    if n == 1:
        return f"{n:,} {noun}"
    ending = "es" if noun.endswith("tch") else "s"
    return f"{n:,} {noun}{ending}"


BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int) -> str:
    """A curve in one line of at most `width` characters, from the lowest value to the highest.

    Of more values than that, each character has the mean of as many neighbours.
    """
    if len(values) > width:
        edges = [i * len(values) // width for i in range(width + 1)]
        values = [statistics.fmean(values[a:b]) for a, b in pairwise(edges)]
    low, high = min(values, default=0.0), max(values, default=0.0)
    if low == high:
        return BARS[len(BARS) // 2] * len(values)
    top = len(BARS) - 1
    return "".join(BARS[round((value - low) / (high - low) * top)] for value in values)


def few(names: Iterable[str], total: int, show: int = 3) -> str:
    """`a, b, c and 17 more`."""
    shown = list(islice(names, show))
    rest = total - len(shown)
    return ", ".join(shown) + (f" and {rest:,} more" if rest > 0 else "")


def as_markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table for a README or a notebook; all columns but the first to the right."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    escaped = ([printable(cell).replace("|", r"\|") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in escaped)


def as_latex(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A tabular for a paper, with the rules of the package booktabs."""

    def line(cells: Sequence[str]) -> str:
        return f"{' & '.join(_latex(printable(cell)) for cell in cells)} \\\\\n"

    body = "".join(map(line, rows))
    head = (
        f"\\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}\n\\toprule\n{line(columns)}\\midrule\n"
    )
    return f"{head}{body}\\bottomrule\n\\end{{tabular}}\n"


def _latex(text: str) -> str:
    """The text with LaTeX's own characters escaped; ± and dashes become commands."""
    return "".join(_LATEX.get(character, character) for character in text)


_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
    "<": "$<$",
    ">": "$>$",
}


class Summary:
    """A readable repr, and a table in notebooks, of a result; both come from `summary`."""

    def summary(self) -> dict[str, str]:
        """What a person wants to see first, by name."""
        raise NotImplementedError

    def __repr__(self) -> str:
        values = printable(", ".join(f"{name}: {text}" for name, text in self.summary().items()))
        return f"<{type(self).__name__} {values}>"

    def _repr_html_(self) -> str:
        """The table that Jupyter shows."""
        values = self.summary().items()
        rows = [_row([_cell("th", name), _cell("td", text)]) for name, text in values]
        return _table(type(self).__name__, rows)


Item = TypeVar("Item", bound=Summary)


class Listing(list[Item]):
    """A list of results that notebooks show as one table, a row each.

    What is the same in all rows is said once, above the table.
    """

    def _repr_html_(self) -> str:
        """The table that Jupyter shows; what a result does not have stays empty."""
        summaries = [one.summary() for one in self]
        names = list(dict.fromkeys(name for summary in summaries for name in summary))
        columns = {name: [one.get(name, "") for one in summaries] for name in names}
        same = [name for name in names if len(self) > 1 and len(set(columns[name])) == 1]
        differ = [name for name in names if name not in same]
        kinds = dict.fromkeys(type(one).__name__ for one in self)
        caption = [f"{', '.join(kinds) or 'nothing'}: {len(self):,}"]
        caption += [f"{name}: {columns[name][0]}" for name in same]
        head = _row([_cell("th", name) for name in differ])
        rows = [_row([_cell("td", one.get(name, "")) for name in differ]) for one in summaries]
        return _table("; ".join(caption), [head, *rows])


# Text is to the left, where Jupyter has it to the right. Colours are those of the page, so that it
# can be read on a dark one, too.
_LEFT = "style='text-align:left'"
_LINE = 24  # characters that stay on one line: a number with its interval


def _cell(tag: str, text: str) -> str:
    style = _LEFT if len(text) > _LINE else f"{_LEFT[:-1]};white-space:nowrap'"
    return f"<{tag} {style}>{html.escape(printable_lines(text))}</{tag}>"


def _row(cells: Sequence[str]) -> str:
    return f"<tr>{''.join(cells)}</tr>"


def _table(caption: str, rows: Sequence[str]) -> str:
    above = html.escape(printable_lines(caption))
    return f"<table><caption {_LEFT}>{above}</caption>{''.join(rows)}</table>"


def interval(value: float, low: float, high: float) -> str:
    """`0.9566 (0.9472-0.9645)`."""
    return f"{value:.4f} ({low:.4f}-{high:.4f})"
