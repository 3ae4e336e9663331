"""Templates, and the words that all of them have."""

from __future__ import annotations

from collections.abc import Iterable

import jinja2

from polychrome.reporting import words
from polychrome.reporting.names import metric_name, model_name, named

_FILTERS = ("signed", "plain", "short", "sign", "duration", "percent", "p_value")


def environment(package: str, models: Iterable[str], *, autoescape: bool) -> jinja2.Environment:
    """The templates of ``package``, with numbers and names as a reader knows them; sentences name ``models``."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {name: getattr(words, name) for name in _FILTERS}
    made.filters |= {"metric": metric_name, "count": "{:,}".format, "named": lambda text: named(text, models)}
    made.globals |= {"interval": words.interval, "ceiling": words.ceiling, "model_name": model_name}
    return made
