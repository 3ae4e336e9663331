"""How the LLM judge is run: which endpoint, which model, what it may cost."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from polychrome.errors import InputError, Problem, bad

BACKENDS = ("anthropic", "openai")
ANSWERS = ("auto", "tool", "json_schema", "json")
RUBRIC = Path(__file__).with_name("rubric.md")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that a run of the judge can be told. Raises InputError naming every setting that makes no sense."""

    backend: str  # anthropic: Anthropic's Messages API; openai: any endpoint with OpenAI's chat completions
    model: str  # as the endpoint calls it
    base_url: str = ""  # of the endpoint; empty is the vendor's own
    answer: str = "auto"  # how the verdict comes: a tool call, JSON held to a schema, or JSON by request; auto chooses
    temperature: float | None = None  # None sends none, since some models refuse it
    max_tokens: int = 512  # tokens of an answer
    timeout_s: float = 60.0  # seconds without a byte before a call counts as failed
    retries: int = 5  # further calls after one that failed
    requests_per_minute: float = 50.0
    max_dollars: float = 1.0  # hard limit of one run
    max_calls: int = 1000  # hard limit of one run
    dollars_per_million_input: float = 0.0  # tokens
    dollars_per_million_output: float = 0.0  # tokens
    posts: int = 0  # test posts that are judged, a seeded sample; 0 judges all
    replies: int = 0  # replies of each set that are shown, a seeded sample; 0 shows all
    rubric: str = ""  # file; empty is the rubric.md of this package
    cache: str = ".cache/llm_judge"  # directory
    seed: int = 0  # of the samples, the marks around data and the jitter

    def __post_init__(self) -> None:
        if problems := list(self._problems()):
            raise InputError(problems)

    @classmethod
    def of(cls, section: Any) -> Settings:
        """The settings among the attributes of ``section``, as a parameter file has them; others are not looked at."""
        names = [field.name for field in fields(cls) if hasattr(section, field.name)]
        return cls(**{name: getattr(section, name) for name in names})

    @property
    def answer_form(self) -> str:
        """How the verdict comes, with ``auto`` resolved: what servers of that protocol most widely know."""
        return {"anthropic": "tool", "openai": "json_schema"}[self.backend] if self.answer == "auto" else self.answer

    @property
    def is_near(self) -> bool:
        """Whether the endpoint is on this machine or a private network, where nobody sends a bill."""
        host = urlsplit(self.base_url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_private  # loopback is private, too
        except ValueError:
            return host == "localhost" or (bool(host) and "." not in host) or host.endswith((".local", ".internal"))

    def read_rubric(self) -> str:
        """The rubric's text. Raises InputError when the file is missing, not text, or empty."""
        path = Path(self.rubric) if self.rubric else RUBRIC
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "bytes that are not UTF-8"
            raise bad(str(path), reason, "a rubric, as UTF-8 text", "Mend llm_judge.rubric or the file.") from error
        if not text:
            raise bad(str(path), "an empty file", "a rubric", "Write one, or leave llm_judge.rubric empty.")
        return text

    def _problems(self) -> Iterator[Problem]:
        yield from self._unknown("backend", BACKENDS)
        yield from self._unknown("answer", ANSWERS)
        if self.backend == "anthropic" and self.answer == "json":
            yield Problem("llm_judge.answer", "json", "tool or json_schema with anthropic", "Write auto.")
        if not self.model:
            yield Problem("llm_judge.model", "nothing", "a model, as the endpoint calls it", "Name one.")
        for name in ("max_tokens", "timeout_s", "requests_per_minute"):
            if not getattr(self, name) > 0:
                yield Problem(f"llm_judge.{name}", str(getattr(self, name)), "a number above 0", "Raise it.")
        limits = ("retries", "max_dollars", "max_calls", "posts", "replies")
        for name in (*limits, "dollars_per_million_input", "dollars_per_million_output"):
            if not getattr(self, name) >= 0:
                yield Problem(f"llm_judge.{name}", str(getattr(self, name)), "a number >= 0", "Raise it.")
        unpriced = self.dollars_per_million_input == 0 or self.dollars_per_million_output == 0
        if unpriced and not self.is_near:
            expected = "the price of a million tokens in and out, without which the budget in dollars holds nothing"
            yield Problem("llm_judge.dollars_per_million_*", "0", expected, "Look both up at the vendor's.")

    def _unknown(self, name: str, known: tuple[str, ...]) -> Iterator[Problem]:
        if getattr(self, name) not in known:
            yield Problem(f"llm_judge.{name}", repr(getattr(self, name)), f"one of {', '.join(known)}", "Choose one.")
