"""The figures of the book: drawn to be read in light and dark, and without colour.

The colours are those of Okabe and Ito (2008), which stay apart for colour-blind readers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from ftlib.argument_checks import checked

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_PROMPT, _TARGET, _PADDING = "#56B4E9", "#E69F00", "#D9D9D9"


@checked()
def plot_curves(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, x: str, y: str) -> Figure:
    """Draw one line for each named ``(xs, ys)`` pair; colour and marker both tell them apart.

    Args:
        curves: Name in the legend -> points.
        x: Label of the horizontal axis, with its unit.
        y: Label of the vertical axis, with its unit.
    """
    figure, axes = _new_figure(7.0, 3.6)
    for number, (name, (xs, ys)) in enumerate(curves.items()):
        colour, marker = COLOURS[number % len(COLOURS)], _MARKERS[number % len(_MARKERS)]
        every = max(1, len(xs) // 12)
        axes.plot(xs, ys, color=colour, marker=marker, markevery=every, markersize=4, linewidth=1.6, label=name)
    axes.set(xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    if len(curves) > 1:
        axes.legend(frameon=False)
    return figure


@checked()
def plot_batch(batch: Mapping[str, Tensor], texts: Sequence[Sequence[str]] | None = None) -> Figure:
    """Draw a batch as a grid: a row for each example, a cell for each token: prompt, target or padding.

    Args:
        batch: ``input_ids``, ``attention_mask`` and ``labels``, each ``(batch, seq)``.
        texts: What to write into the cells, in the same shape; leave out for long batches.
    """
    mask, labels = batch["attention_mask"].numpy(), batch["labels"].numpy()
    kinds = np.where(mask == 0, 2, np.where(labels == -100, 0, 1))
    rows, columns = kinds.shape
    figure, axes = _new_figure(9.0, 0.6 + 0.42 * rows)
    colours = np.array([to_rgb(c) for c in (_PROMPT, _TARGET, _PADDING)])
    axes.imshow(colours[kinds], aspect="auto", interpolation="none")
    if texts is not None:
        _write_cells(axes, texts)
    axes.set_xticks(np.arange(-0.5, columns), minor=True)
    axes.set_yticks(np.arange(-0.5, rows), minor=True)
    axes.grid(which="minor", axis="both" if columns <= 150 else "y", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)
    axes.set(xlabel="position in the row (tokens)", ylabel="row", yticks=range(rows))
    kinds_shown = zip((_PROMPT, _TARGET, _PADDING), ("prompt (-100)", "target", "padding (-100)"), strict=True)
    patches = [Patch(color=colour, label=label) for colour, label in kinds_shown]
    axes.legend(handles=patches, ncols=3, loc="lower left", bbox_to_anchor=(0, 1.0), frameon=False)
    return figure


def _write_cells(axes: Axes, texts: Sequence[Sequence[str]]) -> None:
    for row, cells in enumerate(texts):
        for column, text in enumerate(cells):
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color="black")


def _new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    # A white card under the figure keeps its black text readable on the dark theme.
    figure, axes = plt.subplots(figsize=(width, height), layout="constrained", facecolor="white")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
