"""Templates, and the words that all of them have."""

from collections.abc import Iterable

import jinja2

from polychrome.reporting import words
from polychrome.reporting.names import metric_name, model_name, named

_FILTERS = ("signed", "plain", "short", "sign", "duration", "percent", "p_value")
_LOOK = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}


def environment(package: str, models: Iterable[str], *, autoescape: bool) -> jinja2.Environment:
    """The templates of ``package``, with numbers and names as a reader knows them; sentences name ``models``."""
    loader, undefined = jinja2.PackageLoader(package), jinja2.StrictUndefined
    made = jinja2.Environment(loader=loader, undefined=undefined, autoescape=autoescape, **_LOOK)
    made.filters |= {name: getattr(words, name) for name in _FILTERS}
    made.filters |= {"metric": metric_name, "count": "{:,}".format, "named": lambda text: named(text, models)}
    made.globals |= {"interval": words.interval, "ceiling": words.ceiling, "model_name": model_name}
    return made
