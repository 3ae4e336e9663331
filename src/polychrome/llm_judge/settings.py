"""Which models an LLM compares, by what endpoint, and what it may cost (params.yaml: llm_judge)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from polychrome.declare import NAME, Rule, Section
from polychrome.errors import Problem

ADDRESS = re.compile(r"https?://([\w.-]+|\[[\da-fA-F:]+\])(:[1-5]?\d{1,4}|:6[0-4]\d{3})?(/[\w./~-]*)?")
VENDORS = {"anthropic": "https://api.anthropic.com", "openai": "https://api.openai.com/v1"}


@dataclass(frozen=True, kw_only=True)
class LlmContrast(Section):
    """Two models whose sets an LLM compares."""

    a: Annotated[str, NAME]
    b: Annotated[str, NAME]


@dataclass(frozen=True, kw_only=True)
class LlmJudgeSettings(Section):
    """How the LLM judge is run."""

    contrasts: Annotated[
        tuple[LlmContrast, ...], Rule("such as [{a: grpo_from_polychromic, b: baseline}]; both among models")
    ]
    backend: Annotated[str, Rule("openai for any endpoint with OpenAI's chat completions", choices=tuple(VENDORS))]
    model: Annotated[str, Rule("as the endpoint calls it", empty=False)]
    base_url: Annotated[str, Rule('of the endpoint; "" is the vendor\'s own')]
    max_tokens: Annotated[int, Rule("tokens of an answer", minimum=1)]
    requests_per_minute: Annotated[float, Rule(above=0)]
    max_dollars: Annotated[float, Rule("hard limit of a run", minimum=0)]
    max_calls: Annotated[int, Rule("hard limit of a run", minimum=0)]
    dollars_per_million: Annotated[
        tuple[float, ...], Rule("[input, output] tokens; 0 only on this machine", minimum=0, empty=False)
    ]
    posts: Annotated[int, Rule("test posts judged, a seeded sample; 0 judges all", minimum=0)]
    replies: Annotated[int, Rule("replies of each set shown, a seeded sample; 0 shows all", minimum=0)]
    seed: Annotated[int, Rule("of the samples and the marks around data", minimum=0)]

    @property
    def url(self) -> str:
        """The endpoint's address."""
        return self.base_url or VENDORS[self.backend]

    @property
    def near(self) -> bool:
        """Whether the endpoint is on this machine, where nobody sends a bill or listens."""
        return bool(re.match(r"https?://(localhost|127(\.\d+){3}|\[::1\])([:/]|$)", self.url))

    def disagreements(self) -> Iterator[Problem]:
        """An address that is none or may hold a secret, and an endpoint elsewhere without a price."""
        if not ADDRESS.fullmatch(self.url):
            found, expected = "another address (not shown: keys hide in some)", "http(s)://host[:port]/path alone"
            yield Problem("base_url", found, expected, "Correct it.")
        prices = self.dollars_per_million
        if len(prices) != 2 or (0 in prices and not self.near):
            expected = "the prices of a million tokens in and out, without which max_dollars limits nothing"
            yield Problem("dollars_per_million", str(list(prices)), expected, "Look both up at the vendor's.")
