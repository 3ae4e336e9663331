"""The picture of a split: engagement, reply length and quartile shares of both phases and the test set.

Lines are empirical distribution functions, in which ties and zeros show as they are and whose largest vertical
distance is the Kolmogorov-Smirnov statistic. Drawn from the stage's files alone; the same files give the same bytes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter

from polychrome.files import read_object
from polychrome.measures.words import count_words
from polychrome.pairs.schema import read_pairs
from polychrome.reporting.palette import palette_of
from polychrome.reporting.svg import Drawing, new_figure, write_svg

# Colours that people with any kind of colour vision tell apart (Okabe and Ito 2008); each line has a dash of its own.
PARTS = {
    "phase1": ("phase1_sft.jsonl", "phase 1 (SFT)", "#0072B2", "solid"),
    "phase2": ("phase2_grpo.jsonl", "phase 2 (GRPO)", "#D55E00", (0, (5, 1.5))),
    "test": ("test.jsonl", "test", "#000000", (0, (1.2, 1.2))),
}


def split_figure(phases_dir: str | Path, out: str | Path) -> None:
    """Draw what ``stages/split.py`` left in ``phases_dir`` into the SVG file ``out``.

    Raises InputError when a phase file or the statistics are missing or malformed.
    """
    folder = Path(phases_dir)
    parts = {part: read_pairs(folder / file) for part, (file, *_) in PARTS.items()}
    statistics = read_object(folder / "phase_split_statistics.json")
    chi_square, tests = statistics["chi_square"], statistics["kolmogorov_smirnov"]
    table = {part: np.asarray(chi_square["table"][part], dtype=float) for part in PARTS}
    words = {part: [count_words(pair.reply) for pair in pairs] for part, pairs in parts.items()}
    smallest = {name: min(found["p"] for found in tests[name].values()) for name in ("engagement", "reply_words")}

    def draw(width: int) -> Figure:
        figure, axes = new_figure(width, 350, 1, 3, width_ratios=(1, 1, 1.15))
        engagement, lengths, quartiles = axes[0]
        _draw_distributions(engagement, {part: [pair.engagement for pair in pairs] for part, pairs in parts.items()})
        _draw_distributions(lengths, words)
        _scale_engagement(engagement, np.array([pair.engagement for pairs in parts.values() for pair in pairs]))
        title = f"Engagement (KS p {smallest['engagement']:.2f})"
        engagement.set(title=title, ylabel="share of pairs at or below")
        lengths.xaxis.set_major_locator(MaxNLocator(integer=True))
        lengths.set(xlim=(0, max(map(max, words.values())) + 1), xlabel="words in the reply")
        lengths.set_title(f"Reply length (KS p {smallest['reply_words']:.2f})")
        _draw_quartiles(quartiles, table)
        quartiles.set_title(f"Quartiles (chi-square p {chi_square['p']:.2f})")
        names = [f"{label}, {len(parts[part])} pairs" for part, (_, label, *_) in PARTS.items()]
        figure.legend(engagement.lines, names, loc="outside upper left", ncols=3, handlelength=2.6, frameon=False)
        return figure

    shown = "Share of pairs at or below each engagement and reply length, and quartile shares, in the parts of the "
    about = "split; p is the smallest between two parts, the judge's pairs included."
    write_svg(out, Drawing(draw, shown + about), palette_of([]))


def _draw_distributions(axis: Axes, values: Mapping[str, Sequence[float]]) -> None:
    for part, each in values.items():
        _, _, colour, dashes = PARTS[part]
        axis.ecdf(each, color=colour, linestyle=dashes, linewidth=1.8)
    axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axis.set_ylim(0, 1.01)


def _scale_engagement(axis: Axes, values: np.ndarray) -> None:
    """Zeros stand at 0, the rest on a logarithmic axis from the smallest positive value on."""
    positive = values[values > 0]
    axis.set_xlabel("engagement (logarithmic)" if len(positive) else "engagement")
    if len(positive):
        least, has_zeros = float(positive.min()), len(positive) < len(values)
        axis.set_xscale("symlog", linthresh=least, linscale=0.5)
        lowest = min(-0.2 * least, values.min() * 1.1)  # scores may be negative
        axis.set_xlim(lowest if has_zeros else least / 1.1, positive.max() * 1.1)
        crowded = 5 * least if has_zeros else 0.0  # labels close to that of 0 would run into it
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: "" if 0 < value < crowded else f"{value:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())


def _draw_quartiles(axis: Axes, table: Mapping[str, np.ndarray]) -> None:
    width, bins = 0.26, len(table["phase1"])
    for place, (part, (_, _, colour, _)) in enumerate(PARTS.items()):
        shares = table[part] / table[part].sum()
        axis.bar(np.arange(bins) + (place - 1) * width, shares, width * 0.92, color=colour)
    axis.set_xticks(range(bins), ["Q1", "Q2", "Q3", "Q4"] if bins == 4 else ["low", *[""] * (bins - 2), "high"])
    axis.set_xlabel("quartile of the whole pool" if bins == 4 else "quartile of the pool, ties merged")
    axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axis.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axis.margins(y=0.12)
