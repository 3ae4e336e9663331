"""What the report page says of cost (params.yaml: report)."""

from dataclasses import dataclass
from typing import Annotated

from polychrome.declare import Rule, Section

COST = Rule("what an hour of a machine like the one that ran this costs")


@dataclass(frozen=True, kw_only=True)
class ReportSettings(Section):
    """The price of a machine like the one that ran this."""

    price_per_hour: Annotated[float, Rule(minimum=0)]
    currency: Annotated[str, Rule(empty=False)]  # as the page shows it
