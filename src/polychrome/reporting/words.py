"""Numbers as a reader knows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MINUS = "\u2212"


def signed(value: float, digits: int = 3) -> str:
    """+0.050, a true minus sign before what is below zero, no sign before what rounds to zero."""
    text = f"{abs(value):.{digits}f}"
    return text if float(text) == 0 else ("+" if value > 0 else MINUS) + text


def plain(value: float, digits: int = 3) -> str:
    """0.050, with a true minus sign."""
    text = f"{abs(value):.{digits}f}"
    return text if value >= 0 or float(text) == 0 else MINUS + text


def short(value: float) -> str:
    """Three significant digits, with a true minus sign."""
    return f"{value:.3g}".replace("-", MINUS)


def sign(comparison: str) -> str:
    """ ">=" as it is set in print."""
    return {">=": "\u2265", "<=": "\u2264"}.get(comparison, comparison)


def interval(low: float, high: float, plus: bool = False, digits: int = 3) -> str:
    """ "0.100 to 0.200", with signs when ``plus``."""
    write = signed if plus else plain
    return f"{write(low, digits)} to {write(high, digits)}"


def p_value(p: float) -> str:
    """ "p = 0.031"; very small ones by their bound."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def duration(seconds: float) -> str:
    """ "41 s", "3 min 20 s", "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def percent(share: float) -> str:
    """ "12%", "0.4%", "0%"."""
    return f"{100 * share:.0f}%" if share >= 0.0995 or share == 0 else f"{100 * share:.1f}%"


def ceiling(found: Mapping[str, Any]) -> str:
    """How far engagement agrees with itself, which is the most that any model could reach, as reward.json has it."""
    ends = {"agreement": ("low", "high"), "ceiling_of_what_lasts": ("ceiling_low", "ceiling_high")}
    parts = []
    for name, value in found.items():
        if name not in sum(ends.values(), ()):
            low, high = (found.get(end) for end in ends.get(name, ("", "")))
            within = "" if low is None or high is None else f" ({interval(low, high)})"
            parts.append(f"{name.replace('_', ' ')} {plain(value) if isinstance(value, float) else value}{within}")
    return "; ".join(parts)
