"""Where pairs come from. A source turns a file into raw candidates; cleaning decides which become pairs.

``chitchat``
    ``{conversation: {"messages": [turn, ...]}}``, a turn being a list of ``{"text", "sender"}`` of one person. A
    candidate is a turn and the turn that answers it. Its engagement is the effort of the answer's receiver in the
    turn that follows, relative to that person's own habit (:func:`relative_effort`).
``tweets``
    JSON Lines, one pair a line; ``data/README.md`` explains every field. Engagement is
    ``reply_likes / max(tweet_likes, 1)``.

Every source raises InputError naming all that is wrong with its file: a file that is missing, empty or not UTF-8,
malformed JSON, wrong types, missing fields, duplicate ids, negative or non-finite counts.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Protocol

from polychrome.errors import InputError, Problem, bad
from polychrome.pairs.text import count_words, digest, same_text_key

HABIT_PRIOR_TURNS = 5  # turns of average effort that everybody is credited with when their habit is measured
LARGEST_COUNT = 2**63 - 1

_HALF = re.compile("[\ud800-\udfff]")  # half of a surrogate pair


@dataclass(frozen=True, slots=True)
class Candidate:
    """A raw pair, before cleaning. Texts and engagement are None where the source is well-formed but has none."""

    id: str
    conversation: str
    post: str | None
    reply: str | None
    engagement: float | None  # finite, >= 0
    author: str  # of the reply; "" when unknown
    post_author: str  # "" when unknown
    circumstances: Mapping[str, float] = field(default_factory=dict)  # what else may drive engagement, by name


class Source(Protocol):
    """Reads candidates from a file or folder."""

    default_path: str  # read when the user names none; "" when there is no such file

    def __call__(self, path: Path) -> Iterator[Candidate]:
        """Candidates in the order of the file. Raises InputError before the first when anything is malformed."""


def source_named(name: str) -> Source:
    """The source of that name. Raises InputError when there is none."""
    if name not in SOURCES:
        raise bad("params.yaml:data.source", repr(name), f"one of {', '.join(SOURCES)}", "Choose a source that exists.")
    return SOURCES[name]


def source_path(name: str, path: str | Path) -> Path:
    """The file or folder to read: ``path``, or the source's own when ``path`` is empty."""
    chosen = str(path) or source_named(name).default_path
    if not chosen:
        raise bad("params.yaml:data.path", "no path", f"the file of source {name}", "Name the file or folder to read.")
    return Path(chosen)


# --- chitchat ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Turn:
    """What one person wrote before the other answered: the messages, joined by a space."""

    author: str
    text: str


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


class Chitchat:
    """The ``chitchat-dataset`` conversations (``dataset.json``, or the folder that holds it)."""

    default_path = "assets/chitchat/dataset.json"

    def __call__(self, path: Path) -> Iterator[Candidate]:
        """One candidate for each turn that has a next turn. See :class:`Source`."""
        path = path / "dataset.json" if path.is_dir() else path
        conversations = _read_conversations(path)
        effort = _effort_of_turns(conversations)
        return (
            _candidate(name, turns, place, effort)
            for name, turns in conversations.items()
            for place in range(len(turns) - 1)
        )


def _candidate(name: str, turns: list[Turn], place: int, effort: Mapping[tuple[str, int], float]) -> Candidate:
    post, reply = turns[place], turns[place + 1]
    answered = place + 2 < len(turns) and turns[place + 2].author == post.author
    return Candidate(
        id=f"{name}:{place}",
        conversation=name,
        post=post.text,
        reply=reply.text,
        engagement=effort[name, place + 2] if answered else None,
        author=reply.author,
        post_author=post.author,
    )


def _effort_of_turns(conversations: Mapping[str, list[Turn]]) -> dict[tuple[str, int], float]:
    """Relative effort by (conversation, place of the turn)."""
    places: dict[str, list[tuple[str, int]]] = defaultdict(list)
    words: dict[str, list[int]] = defaultdict(list)
    for name, turns in conversations.items():
        for place, turn in enumerate(turns):
            places[turn.author].append((name, place))
            words[turn.author].append(count_words(turn.text))
    efforts = relative_effort(words)
    return {key: effort for author, keys in places.items() for key, effort in zip(keys, efforts[author], strict=True)}


def _read_conversations(path: Path) -> dict[str, list[Turn]]:
    problems: list[Problem] = []
    lines = _read_lines(path, problems)
    if problems:
        raise InputError(problems)
    try:
        whole = json.loads("\n".join(lines), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise bad(
            f"{path}:{line}", f"malformed JSON ({_reason(error)})", "one JSON object", "Fetch the file again."
        ) from error
    if not isinstance(whole, dict) or not whole:
        raise bad(str(path), _shown(whole), "an object of conversations by id, not empty", "Fetch the file again.")
    conversations = {name: _turns(f"{path}:{name}", value, problems) for name, value in whole.items()}
    if problems:
        raise InputError(problems)
    return conversations


def _turns(where: str, conversation: object, problems: list[Problem]) -> list[Turn]:
    remedy = "Mend the conversation or take it out."
    turns = conversation.get("messages") if isinstance(conversation, dict) else None
    if not isinstance(turns, list):
        found = _shown(turns) if isinstance(conversation, dict) and "messages" in conversation else "no messages"
        problems.append(Problem(f"{where}:messages", found, "a list of turns", remedy))
        return []
    good: list[Turn] = []
    for number, messages in enumerate(turns):
        place = f"{where}:messages[{number}]"
        if not isinstance(messages, list) or not messages:
            problems.append(Problem(place, _shown(messages), "a list of messages, not empty", remedy))
            continue
        wrong = _wrong_in_messages(place, messages, remedy)
        problems.extend(wrong)
        if not wrong:
            good.append(Turn(messages[0]["sender"], " ".join(message["text"] for message in messages)))
    return good


def _wrong_in_messages(place: str, messages: list[Any], remedy: str) -> list[Problem]:
    wrong: list[Problem] = []
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            wrong.append(Problem(f"{place}[{number}]", _shown(message), "an object with text and sender", remedy))
            continue
        for name in ("text", "sender"):
            if name not in message:
                wrong.append(Problem(f"{place}[{number}].{name}", "no such field", "a string", remedy))
            elif not isinstance(message[name], str) or not _is_encodable(message[name]):
                wrong.append(
                    Problem(f"{place}[{number}].{name}", _shown(message[name]), "a string of whole characters", remedy)
                )
    if not wrong and len({message["sender"] for message in messages}) > 1:
        wrong.append(Problem(place, "messages of several senders", "one sender a turn", remedy))
    return wrong


# --- tweets -----------------------------------------------------------------------------------------------------


class Tweets:
    """Replies to tweets, one JSON object a line (a ``.jsonl`` file, or a folder of them, read by name)."""

    default_path = ""

    def __call__(self, path: Path) -> Iterator[Candidate]:
        """One candidate for each line. See :class:`Source`."""
        rows, problems = _read_rows(path)
        problems += _repeated_ids(rows)
        if problems:
            raise InputError(problems)
        conversations = _conversations(row for _, row in rows)
        some_likes = any(row.get("tweet_likes") is not None for _, row in rows)
        return (_tweet_candidate(row, conversations, some_likes) for _, row in rows)


def _tweet_candidate(row: dict[str, Any], conversations: Mapping[str, str], some_likes: bool) -> Candidate:
    tweet, reply = row["tweet"] or "", row["reply"] or ""
    own_id = row.get("tweet_id")
    conversation = str(own_id) if own_id is not None else conversations[same_text_key(tweet)]
    return Candidate(
        id=_text_or_empty(row.get("reply_id")) or f"reply-{digest(conversation, tweet, reply)}",
        conversation=conversation,
        post=row["tweet"],
        reply=row["reply"],
        engagement=_likes_ratio(row, some_likes),
        author=_text_or_empty(row.get("reply_author")),
        post_author=_text_or_empty(row.get("tweet_author")),
        circumstances={name: float(row[name]) for name in CIRCUMSTANCES if row.get(name) is not None},
    )


def _likes_ratio(row: Mapping[str, Any], some_likes: bool) -> float | None:
    """reply_likes / max(tweet_likes, 1), or None when it was not measured.

    A file in which no line has tweet_likes is taken as one where the tweets are alike, and the likes count as they
    are. Where only some lines lack it, those lines have no engagement: two units must not be mixed.
    """
    if row.get("reply_likes") is None or (some_likes and row.get("tweet_likes") is None):
        return None
    return row["reply_likes"] / max(row.get("tweet_likes") or 0, 1)


def _conversations(rows: Iterator[dict[str, Any]]) -> dict[str, str]:
    """Conversation by normalised tweet text: the id some line gives that text, else a hash of it."""
    names: dict[str, str] = {}
    for row in rows:
        key = same_text_key(row["tweet"] or "")
        if row.get("tweet_id") is not None:
            names.setdefault(key, str(row["tweet_id"]))
        else:
            names.setdefault(key, f"tweet-{digest(key)}")
    return names


def _text_or_empty(value: object) -> str:
    return "" if value is None else str(value)


Check = Callable[[Any], bool]


def _is_text(value: object) -> bool:
    return value is None or (isinstance(value, str) and _is_encodable(value))


def _is_name(value: object) -> bool:
    if isinstance(value, str):
        return bool(value.strip()) and _is_encodable(value)
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _is_seconds(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST_COUNT  # NaN is not


def _is_count(value: object) -> bool:
    return value is None or (_is_seconds(value) and (isinstance(value, int) or float(value).is_integer()))  # type: ignore[arg-type]


_TEXT = (_is_text, "a string of whole characters (null or empty counts as a missing field and is dropped)")
_NAME = (_is_name, "a whole number or a string that is not blank")
_COUNT = (_is_count, "a whole number >= 0")
_SECONDS = (_is_seconds, "a number >= 0")

REQUIRED = ("tweet", "reply")
CIRCUMSTANCES = ("reply_retweets", "reply_author_followers", "reply_time_diff_seconds")
FIELDS: dict[str, tuple[Check, str]] = {
    "tweet": _TEXT,
    "reply": _TEXT,
    "tweet_id": _NAME,
    "reply_id": _NAME,
    "tweet_author": _NAME,
    "reply_author": _NAME,
    "tweet_likes": _COUNT,
    "reply_likes": _COUNT,
    "reply_retweets": _COUNT,
    "reply_author_followers": _COUNT,
    "reply_time_diff_seconds": _SECONDS,
}


def _read_rows(path: Path) -> tuple[list[tuple[str, dict[str, Any]]], list[Problem]]:
    """Good lines as (file:line, object), and everything wrong with the others."""
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not files:
        raise bad(
            str(path), "no .jsonl file", "at least one", "Set data.path in params.yaml to your file or its folder."
        )
    rows: list[tuple[str, dict[str, Any]]] = []
    problems: list[Problem] = []
    for file in files:
        for number, line in enumerate(_read_lines(file, problems), start=1):
            if not line.strip():
                continue
            row, wrong = _read_row(f"{file}:{number}", line)
            problems += wrong
            if not wrong:
                rows.append((f"{file}:{number}", row))
    return rows, problems


def _read_row(where: str, line: str) -> tuple[dict[str, Any], list[Problem]]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return {}, [Problem(where, f"malformed JSON ({_reason(error)})", "one JSON object a line", "Mend the line.")]
    if not isinstance(row, dict):
        return {}, [Problem(where, _shown(row), "one JSON object a line", "Mend the line.")]
    missing = [
        Problem(f"{where}:{name}", "no such field", "a string", "Add the field; data/README.md explains it.")
        for name in REQUIRED
        if name not in row
    ]
    wrong = [
        Problem(f"{where}:{name}", _shown(row[name]), expected, "Mend the value, or take the line out.")
        for name, (is_good, expected) in FIELDS.items()
        if name in row and not is_good(row[name])
    ]
    return row, missing + wrong


def _repeated_ids(rows: Sequence[tuple[str, dict[str, Any]]]) -> list[Problem]:
    first: dict[str, str] = {}
    problems = []
    for where, row in rows:
        name = _text_or_empty(row.get("reply_id"))
        if name and name in first:
            expected = f"an id of its own ({first[name]} has it already)"
            problems.append(Problem(f"{where}:reply_id", f"{name!r} again", expected, "Take one of the two lines out."))
        elif name:
            first[name] = where
    return problems


# --- both -------------------------------------------------------------------------------------------------------

SOURCES: dict[str, Source] = {"chitchat": Chitchat(), "tweets": Tweets()}


def _read_lines(path: Path, problems: list[Problem]) -> list[str]:
    """Lines of a UTF-8 file; a line that is not UTF-8 is told in ``problems`` and read as empty."""
    remedy = "Run the stage that fetches it (`dvc repro`), or set data.path in params.yaml to your own file."
    if not path.is_file():
        raise bad(str(path), "no such file", "the source's data", remedy)
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    if not content.strip():
        raise bad(str(path), "an empty file", "the source's data", remedy)
    lines = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            found = f"byte 0x{line[error.start]:02x} at column {error.start + 1}, which is not UTF-8"
            problems.append(Problem(f"{path}:{number}", found, "UTF-8 text", "Convert the file to UTF-8."))
            lines.append("")
    return lines


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error).split(";")[0]


def _is_encodable(text: str) -> bool:
    """Whether every character is a whole one: half a surrogate pair cannot be written as UTF-8."""
    return text.isascii() or not _HALF.search(text)


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
