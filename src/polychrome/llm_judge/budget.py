"""What a run may spend, and how fast: limits that are checked before a call is made, against the worst it can cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

# Tokens that an endpoint may add to a request on its own: the chat template, and the words that declare a tool.
ADDED_TOKENS = 1024


class ExhaustedError(Exception):
    """The next call could break a limit. ``limit`` is ``dollars`` or ``calls``."""

    def __init__(self, limit: str, text: str):
        self.limit = limit
        super().__init__(text)


@dataclass(slots=True)
class Budget:
    """The hard limits of one run, and what it has used of them; a cached answer uses nothing."""

    max_dollars: float
    max_calls: int
    dollars_per_million_input: float
    dollars_per_million_output: float
    dollars: float = field(default=0.0, init=False)
    calls: int = field(default=0, init=False)

    def worst_case(self, request_bytes: int, max_tokens: int) -> float:
        """The most one call can cost, in dollars: a token is at least a byte, and an answer at most ``max_tokens``."""
        return self.cost(request_bytes + ADDED_TOKENS, max_tokens)

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """The price of tokens, in dollars."""
        dear = input_tokens * self.dollars_per_million_input + output_tokens * self.dollars_per_million_output
        return dear / 1e6

    def reserve(self, worst: float) -> None:
        """Count a call and its worst case before it is made. Raises ExhaustedError when either limit would not hold."""
        if self.calls + 1 > self.max_calls:
            raise ExhaustedError("calls", f"{self.calls} calls made of the {self.max_calls} of llm_judge.max_calls")
        if self.dollars + worst > self.max_dollars:
            left = f"${self.dollars:.4f} spent of the ${self.max_dollars:g} of llm_judge.max_dollars"
            raise ExhaustedError("dollars", f"{left}, and the next call may cost ${worst:.4f}")
        self.calls += 1
        self.dollars += worst

    def settle(self, worst: float, actual: float) -> None:
        """Replace a reserved worst case by what the call cost."""
        self.dollars += actual - worst


@dataclass(slots=True)
class Pace:
    """Keeps calls at least ``60 / requests_per_minute`` seconds apart; ``clock`` and ``sleep`` are in seconds."""

    requests_per_minute: float
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    _next: float | None = field(default=None, init=False)

    def wait(self, at_least: float = 0.0) -> None:
        """Return when ``at_least`` seconds have passed and the next call may be made."""
        at = self.clock()
        delay = max(at_least, 0.0 if self._next is None else self._next - at)
        if delay > 0:
            self.sleep(delay)
        self._next = max(at + delay, self.clock()) + 60.0 / self.requests_per_minute
