"""How results are shown: curves as a table or as a picture, needles as a heat map; one style for all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

INK, PAPER, RULE = "#22262b", "#ffffff", "#d9dde2"
TONES = ("#1f7a5c", "#b3352d", "#c98a1b", "#3b6ea8", "#7a5aa6", "#6b7480")
"""Of the arms, in their order: the first is what is claimed."""
SHADES = ("#b3352d", "#eab464", "#f3e9c6", "#8cc3a0", "#1f7a5c")
"""From none found to all found."""


def is_curves(arms: Any) -> bool:
    """Whether a figure of a result is arm -> point -> {"mean", "low", "high"}."""
    return isinstance(arms, dict) and bool(arms) and all(_is_row(row) for row in arms.values())


def table(arms: Any) -> list[str]:
    """Curves as the lines of a Markdown table, a row for each arm; anything else as one line.

    Example:
        >>> table({"ours": {"8": {"mean": 0.5, "low": 0.4, "high": 0.6}}})[-1]
        '| ours | 0.5 (0.4 to 0.6) |'
    """
    if not is_curves(arms):
        return [str(arms)]
    points = list(next(iter(arms.values())))
    lines = ["| | " + " | ".join(points) + " |", "|---|" + "---|" * len(points)]
    for arm, row in arms.items():
        cells = [f"{row[at]['mean']:.4g} ({row[at]['low']:.3g} to {row[at]['high']:.3g})" for at in points if at in row]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return lines


def drawable(arms: Any) -> bool:
    """Whether curves are worth a picture: three points or more, all of them numbers, for one arm at least."""
    return is_curves(arms) and max(len(_numbers(row)) for row in arms.values()) >= 3


def draw_curves(arms: Mapping[str, Mapping[str, Mapping[str, float]]], path: str | Path, *, title: str = "") -> None:
    """Curves with their intervals, every line named at its end; axes that span much are logarithmic.

    Args:
        arms: as ``Curves.to_json`` gives them. Points that are no numbers are left out.
        path: .svg, the same bytes for the same figures, or .png.
        title: over the picture.

    Raises:
        ImportError: matplotlib is missing.
    """
    rows = {arm: _numbers(row) for arm, row in arms.items()}
    rows = {arm: row for arm, row in rows.items() if len(row) > 1}
    with _style() as plt:
        figure, axes = plt.subplots(figsize=(7.2, 3.6), layout="constrained")
        ends = []
        for tone, (arm, row) in zip(TONES * len(rows), rows.items(), strict=False):
            xs, figures = zip(*row, strict=True)
            low, mean, high = ([each[key] for each in figures] for key in ("low", "mean", "high"))
            axes.fill_between(xs, low, high, color=tone, alpha=0.14, linewidth=0)
            axes.plot(xs, mean, color=tone, linewidth=1.8, marker="o", markersize=3.6)
            ends.append((mean[-1], xs[-1], arm, tone))
        every = [x for row in rows.values() for x, _ in row]
        means = [each["mean"] for row in rows.values() for _, each in row]
        if min(every) > 0 and max(every) / min(every) >= 8:
            axes.set_xscale("log")
            axes.set_xticks(sorted(set(every)), [f"{x:,.6g}" for x in sorted(set(every))])
            axes.minorticks_off()
        if min(means) > 0 and max(means) / min(means) >= 30:
            axes.set_yscale("log")
        axes.get_ylim()  # settles the limits, which the places of the names depend on
        for place, (mean, x, arm, tone) in zip(_apart(axes, [end[0] for end in ends]), ends, strict=True):
            axes.annotate(
                arm, (x, mean), (1.02, place), xycoords="data", textcoords="axes fraction", color=tone, va="center"
            )
        axes.grid(axis="y", color=RULE, linewidth=0.8)
        axes.set_title(title, loc="left", fontsize=10)
        figure.savefig(path, metadata={"Date": None} if Path(path).suffix == ".svg" else None)
        plt.close(figure)


def draw_heat(
    panels: Mapping[str, Mapping[tuple[float, float], float]],
    path: str | Path,
    *,
    title: str,
    across: str,
    down: str,
) -> None:
    """Shares in [0, 1] by (column, row), a panel for each arm, the share written in each cell, in percent.

    Args:
        panels: name -> {(column, row): share}; a cell that is missing stays empty. Rows are shares of a whole.
        path: the picture.
        title: over all panels.
        across: what columns are.
        down: what rows are.

    Raises:
        ImportError: matplotlib is missing.
    """
    columns = sorted({column for cells in panels.values() for column, _ in cells})
    rows = sorted({row for cells in panels.values() for _, row in cells})
    with _style() as plt:
        from matplotlib.colors import LinearSegmentedColormap

        shades = LinearSegmentedColormap.from_list("found", SHADES)
        size = (max(4.6, 0.55 * len(columns) + 1.5) * len(panels), 4.6)
        figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, layout="constrained", squeeze=False)
        for panel, (name, cells) in zip(axes[0], panels.items(), strict=True):
            grid = np.array([[cells.get((column, row), np.nan) for column in columns] for row in rows])
            panel.imshow(grid, cmap=shades, vmin=0, vmax=1, aspect="auto")
            for (y, x), share in np.ndenumerate(grid):
                if not np.isnan(share):
                    tone = PAPER if share > 0.85 or share < 0.15 else INK
                    panel.text(x, y, f"{share * 100:.0f}", ha="center", va="center", fontsize=8.5, color=tone)
            panel.set_xticks(range(len(columns)), [f"{column:,.6g}" for column in columns])
            panel.set_yticks(range(len(rows)), [f"{row * 100:.0f} %" for row in rows])
            panel.set_xlabel(across)
            panel.set_title(name, fontsize=11)
            panel.spines[:].set_visible(False)
            panel.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
            panel.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
            panel.grid(which="minor", color=PAPER, linewidth=1.5)
            panel.tick_params(which="both", length=0)
        axes[0, 0].set_ylabel(down)
        figure.suptitle(title, fontsize=11.5)
        figure.savefig(path)
        plt.close(figure)


@contextmanager
def _style() -> Iterator[Any]:
    """matplotlib without a window, in the house's style."""
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'seefar[plot]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    look: Any = {
        "figure.facecolor": PAPER,
        "axes.facecolor": PAPER,
        "axes.edgecolor": RULE,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "text.color": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "font.size": 9,
        "svg.fonttype": "none",
        "svg.hashsalt": "seefar",
        "savefig.dpi": 150,
    }
    with plt.rc_context(look):
        yield plt


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and bool(row) and all(isinstance(f, dict) and "mean" in f for f in row.values())


def _numbers(row: Mapping[str, Mapping[str, float]]) -> list[tuple[float, Mapping[str, float]]]:
    """The points of a row that are numbers, rising."""
    found = []
    for at, figure in row.items():
        try:
            found.append((float(at), figure))
        except ValueError:
            continue
    return sorted(found, key=lambda each: each[0])


def _apart(axes: Any, values: Sequence[float], gap: float = 0.085) -> list[float]:
    """Heights of the names at the lines' ends, in shares of the axes' height, none on top of another."""
    heights = [float(axes.transAxes.inverted().transform(axes.transData.transform((1, value)))[1]) for value in values]
    placed = dict.fromkeys(range(len(values)), 0.0)
    below = -1.0
    for i in sorted(placed, key=lambda i: heights[i]):
        below = placed[i] = max(heights[i], below + gap)
    over = max(0.0, below - 1.0)
    return [placed[i] - over for i in range(len(values))]
