"""Getting one question answered: from the cache, or by calls that fail, wait and try again within the budget."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from polychrome.llm_judge.backends import Backend, CallFailedError
from polychrome.llm_judge.budget import Budget, ExhaustedError, Pace
from polychrome.llm_judge.cache import NO_USAGE, Answer, Cache, Usage, key_of
from polychrome.llm_judge.question import Question, make_prompt
from polychrome.llm_judge.settings import Settings
from polychrome.randomness import numpy_generator

READINGS = 2  # calls for one answer that can be read; then "unreadable" is the answer
UNREADABLE_IN_A_ROW = 5  # then something is wrong with the judge, and going on would only cost
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds, of the back-off
LONGEST_REQUESTED_WAIT = 300.0  # seconds, that a Retry-After may ask for


@dataclass(frozen=True, slots=True)
class Stopped:
    """Why no more calls are made."""

    reason: str  # dollars, calls, endpoint or unreadable
    text: str  # the same on every machine
    detail: str  # the endpoint's words, for a screen and not for a file


@dataclass(slots=True)
class Asker:
    """Answers questions in turn. After :attr:`stopped` is set it makes no call, and still reads the cache."""

    settings: Settings
    rubric: str
    backend: Backend
    cache: Cache
    budget: Budget
    pace: Pace
    tell: Callable[[str], None]
    stopped: Stopped | None = field(default=None, init=False)
    _unreadable: int = field(default=0, init=False)  # in a row, in this run

    def ask(self, question: Question) -> Answer | None:
        """The answer to ``question``; None when it has none and the run is stopped. Raises InputError (key, disk)."""
        body = self.backend.body(make_prompt(question, self.rubric, self.settings.seed))
        request = {"backend": self.settings.backend, "body": body}
        answer = self.cache.get(request)
        if answer is None and self.stopped is None:
            try:
                answer = self._called(request, body)
                self.cache.put(request, answer)
                self._watch(answer)
            except ExhaustedError as error:
                self.stopped = Stopped(error.limit, f"the budget in {error.limit} is used up", str(error))
            except CallFailedError as error:
                self.stopped = Stopped("endpoint", f"the endpoint failed: {error.label}", str(error))
        return answer

    def _called(self, request: Mapping[str, Any], body: Mapping[str, Any]) -> Answer:
        """Call until there is an answer that can be read, or READINGS that cannot."""
        total = NO_USAGE
        for _ in range(READINGS):
            answer = self._persist(request, body)
            total += answer.usage
            if answer.kind != "unreadable":
                break
        return replace(answer, usage=total)

    def _persist(self, request: Mapping[str, Any], body: Mapping[str, Any]) -> Answer:
        """Call until a call succeeds, ``retries`` times more than once. Raises CallFailedError, ExhaustedError."""
        jitter = numpy_generator(self.settings.seed, "llm_judge back-off", key_of(request))
        wait = 0.0
        for attempt in range(self.settings.retries + 1):
            try:
                return self._once(body, wait)
            except CallFailedError as error:
                asked = error.retry_after or 0.0
                if not error.retry or attempt == self.settings.retries:
                    raise
                if asked > LONGEST_REQUESTED_WAIT:
                    words = f"the endpoint asks for {asked:.0f} seconds of waiting"
                    raise CallFailedError(error.label, words, retry=False, billed=False) from None
                backed_off = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) * (0.5 + 0.5 * float(jitter.random()))
                wait = max(backed_off, asked)
                self.tell(f"{error}; trying again in {wait:.1f} s")
        raise AssertionError("unreachable")

    def _once(self, body: Mapping[str, Any], wait: float) -> Answer:
        worst = self.budget.worst_case(len(json.dumps(body, ensure_ascii=False).encode()), self.settings.max_tokens)
        self.budget.reserve(worst)
        self.pace.wait(wait)
        try:
            answer = self.backend.call(body)
        except CallFailedError as error:
            if not error.billed:  # where it may have been, the worst case stays spent
                self.budget.settle(worst, 0.0)
            raise
        if not answer.usage.unmeasured_calls:
            self.budget.settle(worst, self._price(answer.usage))
        return answer

    def _price(self, usage: Usage) -> float:
        return self.budget.cost(usage.input_tokens, usage.output_tokens)

    def _watch(self, answer: Answer) -> None:
        self._unreadable = self._unreadable + 1 if answer.kind == "unreadable" else 0
        if self._unreadable == UNREADABLE_IN_A_ROW:
            text = f"{UNREADABLE_IN_A_ROW} answers in a row were no verdict"
            self.stopped = Stopped("unreadable", text, f"{text}; the last was {answer.reason}")
