"""What the report page says of cost (params.yaml: report)."""

from dataclasses import dataclass
from typing import Annotated

from polychrome.declare import Rule, Section


@dataclass(frozen=True, kw_only=True)
class ReportSettings(Section):
    """The price of a machine like the one that ran this."""

    price_per_hour: Annotated[float, Rule("of a machine like the one that ran this, in currency", minimum=0)]
    currency: Annotated[str, Rule("as the page shows it", empty=False)]
