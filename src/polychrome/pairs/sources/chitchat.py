"""The ``chitchat-dataset``: ``{conversation: {"messages": [turn, ...]}}``, in ``dataset.json``.

A turn is a list of ``{"text", "sender"}`` of one person. A candidate is a turn and the turn that answers it; its
engagement is the effort of the answer's receiver in the turn that follows, relative to that person's own habit.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from polychrome.errors import InputError, Problem, bad
from polychrome.files import read_json, shown
from polychrome.measures.words import count_words
from polychrome.pairs.formats import records_of
from polychrome.pairs.sources import Candidate, is_text

HABIT_PRIOR_TURNS = 5  # turns of average effort that everybody is credited with when their habit is measured

_FETCH = "Run the stage that fetches it (`dvc repro assets`), or set data.path in params.yaml to your own file."
_MEND = "Fix the conversation, or remove it."


def read(path: Path, context_turns: int = 0) -> list[Candidate]:
    """One candidate for each turn that has a next turn. ``path`` is the file or the folder that holds it.

    Its context is the ``context_turns`` turns before, those of who answers as the assistant's.
    """
    path = path / "dataset.json" if path.is_dir() else path
    try:
        whole = read_json(path, "the source's data", _FETCH)
    except InputError:
        _other_kind(path)
        raise
    if isinstance(whole, list) and whole:
        _other_kind(path)
    if not isinstance(whole, dict) or not whole:
        raise bad(str(path), shown(whole), "an object of conversations by id, not empty", _FETCH)
    problems = [problem for name, value in whole.items() for problem in _wrong(f"{path}:{name}:messages", value)]
    if problems:
        raise InputError(problems)
    conversations: dict[str, list[tuple[str, str]]] = {  # who wrote, and all that they wrote before the other answered
        name: [(turn[0]["sender"], " ".join(message["text"] for message in turn)) for turn in value["messages"]]
        for name, value in whole.items()
    }
    words: dict[str, dict[tuple[str, int], int]] = defaultdict(dict)  # author -> (conversation, place) -> words
    for name, turns in conversations.items():
        for place, (author, text) in enumerate(turns):
            words[author][name, place] = count_words(text)
    efforts = relative_effort({author: list(of_turns.values()) for author, of_turns in words.items()})
    effort = {key: value for author, keys in words.items() for key, value in zip(keys, efforts[author], strict=True)}
    candidates = []
    for name, turns in conversations.items():
        for place, ((asker, post), (answerer, reply)) in enumerate(pairwise(turns)):
            answered = place + 2 < len(turns) and turns[place + 2][0] == asker
            engagement = effort[name, place + 2] if answered else None
            before = turns[max(0, place - context_turns) : place]
            context = tuple(("assistant" if author == answerer else "user", text) for author, text in before)
            about = {"author": answerer, "post_author": asker, "context": context}
            candidates.append(Candidate(f"{name}:{place}", name, post, reply, engagement, **about))
    return candidates


def _other_kind(path: Path) -> None:
    """Raise InputError if ``path`` is a file that another source reads."""
    try:
        kind, records = records_of(path, problems := [])
    except InputError:
        return
    if problems or not records:
        return
    raise bad(str(path), f"what looks like {kind}", "conversations by id", "Set data.source: replies in params.yaml.")


def relative_effort(turns_by_author: Mapping[str, Sequence[int]]) -> dict[str, list[float]]:
    """How much each turn's effort stands out from its author's habit: 1 is usual, 2 is twice as much.

    ``turns_by_author`` gives the words of every turn of a person. With effort e = log(1 + words), a turn's value is
    exp(e - h), where the habit h is the mean effort of the person's *other* turns together with
    ``HABIT_PRIOR_TURNS`` turns of everybody's mean effort, so that somebody who wrote little is compared with
    everybody. Positive and finite; same shape as the input.
    """
    efforts = {author: [math.log1p(words) for words in turns] for author, turns in turns_by_author.items()}
    everybody = [effort for turns in efforts.values() for effort in turns]
    prior = HABIT_PRIOR_TURNS * (math.fsum(everybody) / len(everybody)) if everybody else 0.0

    def relative(turns: list[float]) -> list[float]:
        total, others = math.fsum(turns) + prior, len(turns) - 1 + HABIT_PRIOR_TURNS
        return [math.exp(effort - (total - effort) / others) for effort in turns]

    return {author: relative(turns) for author, turns in efforts.items()}


def _wrong(where: str, conversation: Any) -> Iterator[Problem]:
    turns = conversation.get("messages") if isinstance(conversation, dict) else None
    if not isinstance(turns, list):
        yield Problem(where, "no messages" if turns is None else shown(turns), "a list of turns", _MEND)
        return
    for number, turn in enumerate(turns):
        place = f"{where}[{number}]"
        if not isinstance(turn, list) or not turn:
            yield Problem(place, shown(turn), "a list of messages, not empty", _MEND)
            continue
        wrong = [problem for n, message in enumerate(turn) for problem in _wrong_in_message(f"{place}[{n}]", message)]
        yield from wrong
        if not wrong and len({message["sender"] for message in turn}) > 1:
            yield Problem(place, "messages of several senders", "one sender per turn", _MEND)


def _wrong_in_message(where: str, message: Any) -> Iterator[Problem]:
    if not isinstance(message, dict):
        yield Problem(where, shown(message), "an object with text and sender", _MEND)
        return
    for name in ("text", "sender"):
        if not is_text(message.get(name)):
            found = shown(message[name]) if name in message else "no such field"
            yield Problem(f"{where}.{name}", found, "a string of whole characters", _MEND)
