"""Numbers as a reader knows them."""

from collections.abc import Mapping
from typing import Any

MINUS = "\u2212"


def signed(value: float, digits: int = 3) -> str:
    """+0.050, a true minus sign before what is below zero, no sign before what rounds to zero."""
    text = f"{value:+z.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", MINUS)


def plain(value: float) -> str:
    """0.050, with a true minus sign."""
    return f"{value:z.3f}".replace("-", MINUS)


def short(value: float) -> str:
    """Three significant digits, with a true minus sign."""
    return f"{value:.3g}".replace("-", MINUS)


def sign(comparison: str) -> str:
    """ ">=" as it is set in print."""
    return {">=": "\u2265", "<=": "\u2264"}.get(comparison, comparison)


def interval(low: float, high: float, plus: bool = False) -> str:
    """ "0.100 to 0.200", with signs when ``plus``."""
    return " to ".join(map(signed if plus else plain, (low, high)))


def excluded(high: float) -> str:
    """ "a gain above 0.040 is excluded", ``high`` being the upper end of the interval of a difference."""
    return f"a gain above {high:.3f} is excluded" if high > 0 else "any gain is excluded"


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
    for name in [name for name in found if name not in sum(ends.values(), ())]:
        value, (low, high) = found[name], map(found.get, ends.get(name, ("", "")))
        within = "" if low is None or high is None else f" ({interval(low, high)})"
        parts.append(f"{name.replace('_', ' ')} {plain(value) if isinstance(value, float) else value}{within}")
    return "; ".join(parts)
