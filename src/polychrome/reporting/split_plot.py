"""The picture of a split: engagement, reply length and quartile shares of both phases and the test set.

Lines are empirical distribution functions, in which ties and zeros show as they are and whose largest vertical
distance is the Kolmogorov-Smirnov statistic. Drawn from the stage's files alone; the same files give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter

from polychrome.errors import InputError, Problem
from polychrome.files import read_json
from polychrome.measures.words import count_words
from polychrome.pairs.schema import Pair, read_pairs
from polychrome.reporting.figures import WIDTH, _caption, _save, _style, plt

# Colours that people with any kind of colour vision tell apart (Okabe and Ito 2008); each line has a dash of its own.
PARTS = {
    "phase1": ("phase 1 (SFT)", "#0072B2", "solid"),
    "phase2": ("phase 2 (GRPO)", "#D55E00", (0, (5, 1.5))),
    "test": ("test", "#000000", (0, (1.2, 1.2))),
}
FILES = {"phase1": "phase1_sft.jsonl", "phase2": "phase2_grpo.jsonl", "test": "test.jsonl"}


def split_figure(phases_dir: str | Path, out_png: str | Path) -> None:
    """Draw what ``stages/split.py`` left in ``phases_dir`` into ``out_png``.

    Raises InputError when a phase file or the statistics are missing or malformed.
    """
    phases_dir = Path(phases_dir)
    parts = {part: read_pairs(phases_dir / file) for part, file in FILES.items()}
    path = phases_dir / "phase_split_statistics.json"
    statistics = read_json(path)
    table = _part_of(statistics, path, "chi_square", "table")
    p = {
        "engagement": _smallest_p(_part_of(statistics, path, "kolmogorov_smirnov", "engagement")),
        "reply_words": _smallest_p(_part_of(statistics, path, "kolmogorov_smirnov", "reply_words")),
        "quartiles": _part_of(statistics, path, "chi_square", "p"),
    }
    with _style():
        figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 3.5), width_ratios=(1, 1, 1.15))
        _draw_engagement(axes[0], parts)
        _draw_length(axes[1], parts)
        _draw_quartiles(axes[2], table)
        for axis, title in zip(axes, ("Engagement", "Reply length", "Engagement quartiles"), strict=True):
            axis.set_title(title)
        handles, labels = axes[0].get_legend_handles_labels()
        names = [f"{label}, {len(parts[part])} pairs" for part, label in zip(parts, labels, strict=True)]
        figure.legend(handles, names, loc="outside upper left", ncols=3, handlelength=2.6, columnspacing=1.8)
        _caption(
            figure,
            "Lines: share of pairs at or below the value. Smallest p between two parts, the judge's pairs included:\n"
            f"engagement {p['engagement']:.2f}, length {p['reply_words']:.2f} (Kolmogorov-Smirnov), "
            f"quartiles {p['quartiles']:.2f} (chi-square).",
        )
        _save(figure, out_png)


def _part_of(statistics: Any, path: Path, *keys: str) -> Any:
    value = statistics
    for key in keys:
        if not isinstance(value, Mapping) or key not in value:
            where = f"{path}:{'.'.join(keys)}"
            raise InputError(
                Problem(where, "no such key", "what the split stage writes", "Run `dvc repro split --force`.")
            )
        value = value[key]
    return value


def _smallest_p(by_two: Mapping[str, Mapping[str, float]]) -> float:
    return min(result["p"] for result in by_two.values())


def _draw_engagement(axis: Axes, parts: Mapping[str, Sequence[Pair]]) -> None:
    values = {part: np.array([pair.engagement for pair in pairs]) for part, pairs in parts.items()}
    everything = np.concatenate(list(values.values()))
    _draw_distributions(axis, values)
    axis.set_ylabel("share of pairs")
    positive = everything[everything > 0]
    if len(positive) == len(everything):
        axis.set_xscale("log")
        axis.set_xlim(positive.min() / 1.1, positive.max() * 1.1)
    elif len(positive):  # zeros stand at 0, the rest on a logarithmic axis from the smallest positive value on
        axis.set_xscale("symlog", linthresh=float(positive.min()), linscale=0.5)
        axis.set_xlim(-0.2 * float(positive.min()), positive.max() * 1.1)
    if len(positive):
        crowded = (
            5 * positive.min() if len(positive) < len(everything) else 0.0
        )  # these labels would run into that of 0
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: "" if 0 < value < crowded else f"{value:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("engagement (logarithmic)" if len(positive) else "engagement")


def _draw_length(axis: Axes, parts: Mapping[str, Sequence[Pair]]) -> None:
    values = {part: np.array([count_words(pair.reply) for pair in pairs]) for part, pairs in parts.items()}
    _draw_distributions(axis, values)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlim(0, max(each.max() for each in values.values()) + 1)
    axis.set_xlabel("words in the reply")


def _draw_distributions(axis: Axes, values: Mapping[str, np.ndarray]) -> None:
    for part, each in values.items():
        label, colour, dashes = PARTS[part]
        axis.ecdf(each, label=label, color=colour, linestyle=dashes, linewidth=1.8)
    axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axis.set_ylim(0, 1.01)


def _draw_quartiles(axis: Axes, table: Mapping[str, Sequence[int]]) -> None:
    width = 0.26
    for place, (part, (_, colour, _)) in enumerate(PARTS.items()):
        counts = np.asarray(table[part], dtype=float)
        at = np.arange(len(counts)) + (place - 1) * width
        axis.bar(at, counts / counts.sum(), width * 0.92, color=colour)
    bins = len(next(iter(table.values())))
    axis.set_xticks(
        range(bins), [f"Q{place + 1}" for place in range(bins)] if bins == 4 else ["low", *[""] * (bins - 2), "high"]
    )
    axis.set_xlabel("quartile of the whole pool" if bins == 4 else "quartile of the pool, ties merged")
    axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axis.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axis.margins(y=0.12)
    axis.grid(axis="x", visible=False)
