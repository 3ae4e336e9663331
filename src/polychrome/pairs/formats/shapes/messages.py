"""Conversations for training chat models: ``messages``, ``prompt`` + ``completion``, ``chosen`` + ``rejected``.

Likes are a ``score`` (or ``label``) where a record has one, 1 and 0 for chosen and rejected, and else what the user
said next: how much longer or shorter than their habit, as in :mod:`polychrome.pairs.sources.chitchat`.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from polychrome.errors import InputError, Problem
from polychrome.files import shown
from polychrome.measures.words import count_words
from polychrome.pairs.formats.rows import Record, Rows, digest
from polychrome.pairs.sources.chitchat import relative_effort

SPEAKERS = {
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant",
    "system": "", "tool": "", "developer": "",
}  # fmt: skip
TALK = ("messages", "conversations", "conversation")
SCORES = ("score", "label", "rating", "reward", "likes")
Turn = tuple[str, str]


def fits(record: Mapping[str, Any]) -> bool:
    """Whether there is a list of messages, or an answer that was chosen."""
    return any(isinstance(record.get(name), list) for name in (*TALK, "prompt", "completion")) or "chosen" in record


def rows(files: Sequence[tuple[Path, list[Record]]], columns: Mapping[str, str]) -> list[Rows]:
    """Every turn of the assistant that answers one of the user, with all turns before as its context."""
    problems: list[Problem] = []
    found: list[Record] = []
    for where, record in (one for _, records in files for one in records):
        try:
            found += [(where, row) for row in _replies(record)]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            expected = "turns {role, content} of user and assistant"
            problems.append(Problem(where, shown(error.args[0] if error.args else record), expected, "Fix the record."))
    if problems:
        raise InputError(problems)
    return [Rows(found, {"likes": "score"})]


def _replies(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    talk = next((record[name] for name in TALK if isinstance(record.get(name), list)), None)
    scores = [record[name] for name in SCORES if isinstance(record.get(name), int | float)]
    if talk is not None:
        said = _turns(talk)
        own = f"talk-{digest(*map(str, said))}"
        scored = [float(scores[0])] * len(said) if scores else _efforts(said)
        for place in range(1, len(said)):
            if (said[place - 1][0], said[place][0]) == ("user", "assistant"):
                yield {**_row(said[: place + 1], scored[place]), "id": f"{own}:{place}", "post_id": own}
        return
    before = _turns(record["prompt"], "user") if record.get("prompt") is not None else []
    answers = {"chosen": 1.0, "rejected": 0.0} if "chosen" in record else {"completion": None}
    for name, worth in answers.items():
        if record.get(name) is not None:
            said = _turns(record[name], "assistant")
            said = said if said[: len(before)] == before else [*before, *said]
            given = record.get(f"score_{name}", worth if worth is not None or not scores else float(scores[0]))
            yield _row(said, given)


def _row(said: list[Turn], likes: float | None) -> dict[str, Any]:
    if len(said) < 2 or [role for role, _ in said[-2:]] != ["user", "assistant"]:
        raise ValueError(f"no answer of the assistant to the user at the end of {len(said)} turns")
    context = [list(turn) for turn in said[:-2]]
    return {"post": said[-2][1], "reply": said[-1][1], "likes": likes, "context": context}


def _turns(value: Any, role: str = "") -> list[Turn]:
    """The turns of user and assistant, those of one in a row as one; a bare text is a turn of ``role``."""
    if isinstance(value, str) and role:
        return [(role, value)]
    said: list[Turn] = []
    for turn in value:
        speaker = SPEAKERS[turn["role"] if "role" in turn else turn["from"]]
        content = turn["content"] if "content" in turn else turn["value"]
        if isinstance(content, list):  # parts, of which some may be images
            content = "\n".join(part["text"] for part in content if part.get("type") == "text")
        if speaker and content is not None:
            again = said and said[-1][0] == speaker
            said[-1:] = [(speaker, f"{said[-1][1]}\n{content}")] if again else [*said[-1:], (speaker, str(content))]
    return said


def _efforts(said: list[Turn]) -> list[float | None]:
    """For every turn the effort of the next one; None where the user does not write the next one."""
    efforts = iter(relative_effort({"user": [count_words(text) for role, text in said if role == "user"]})["user"])
    own = [next(efforts) if role == "user" else None for role, _ in said]
    return [*own[1:], None]
