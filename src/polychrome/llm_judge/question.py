"""What the judge is asked, over either protocol, and how its answer is read.

Replies are data that a policy under training wrote, so they are handed over as data: as JSON strings in which no
character is left that could end a line, open a tag or be read as a chat template's token, between two lines that hold a
mark no reply can know, with the instructions after them. Who wrote a set is nowhere said: there are only A and B.
The endpoint holds the answer to a schema, and it is read strictly: what is not exactly a verdict is not made into one.
"""

import json
import re
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from polychrome.files import JSON, shown
from polychrome.llm_judge.settings import LlmJudgeSettings
from polychrome.randomness import seed_for

SYSTEM, USER, RUBRIC = (
    Path(__file__).with_name(f"{name}.md").read_text(encoding="utf-8").strip() for name in ("system", "user", "rubric")
)
REASON = {"type": "string", "description": "One or two sentences: why, by the rubric."}
BETTER = {"type": "string", "enum": ["A", "B", "tie"], "description": "Which set serves the person better."}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"reason": REASON, "better": BETTER},
    "required": ["reason", "better"],
    "additionalProperties": False,
}
TOOL = "record_verdict"
WITHHELD = "(withheld: not a reply to the post)"  # what stays is a choice that cannot be used

# Text that speaks to a judge instead of to the author of the post. Narrow on purpose: it is a second line of defence
# behind the escaping, and what it withholds is counted in the result.
_TO_THE_JUDGE = re.compile(
    r"""(?ix)
    \bset[\s_"'(-]{1,3}(?-i:[AB])\b
    | \b(?:answer|choose|pick|select|prefer|output|return|respond|say|vote|verdict|winner|better)\b
      (?:\s+(?:with|for|is|be|only|always|just|must|the|set|option|response|side))*[\s:="'(*]{1,4}
      (?-i:[AB])["')*]{0,2}(?:\s*$|[.,;!:]|\s+(?:is|as|and|in|now|always|because)\b)
    | \b(?:ignore|disregard|forget|override)\b[^.!?]{0,40}\b(?:instructions?|rubric|prompts?)\b
    | \b(?:ai|llm|impartial)\s+(?:judge|evaluator|grader)\b
    | \b(?:dear|hey|hello|attention|note\s+to(?:\s+the)?|message\s+to(?:\s+the)?)\W{1,3}(?:judge|evaluator|grader)\b
    | \b(?:choose|pick|select|prefer|vote\s+for)\b[^.!?]{0,40}\b(?:this|my|the\s+other)\s+set\b
    | \bthe\s+set\s+(?:that|which|with|containing)\b[^.!?]{0,40}\b(?:this|me|my)\b
    | \brecord_verdict\b | ["']better["']\s*: | \bsystem\s+prompt\b
    """
)


class Question(NamedTuple):
    """One call of the judge: a post and two sets of replies, of which A is shown first."""

    post: str
    a: tuple[str, ...]
    b: tuple[str, ...]


Reading = tuple[str, str | None, str]  # the first fields of an answer
REFUSED: Reading = ("refused", None, "the judge refused")


class Answer(NamedTuple):
    """What came of one question."""

    kind: str  # verdict, refused or unreadable
    better: str | None  # A, B or tie; None unless kind is verdict
    reason: str  # the judge's for a verdict, what was found otherwise
    model: str  # as the endpoint names the one that answered
    tokens: list[int] | None  # input, output; None where the endpoint did not count


def make_request(question: Question, settings: LlmJudgeSettings) -> dict[str, Any]:
    """All that is sent: the same question and settings make the same request, which is what the cache knows it by.

    Anthropic's protocol has a forced call of a tool, OpenAI's a ``response_format``.
    """
    a, b = ([WITHHELD if speaks_to_the_judge(reply) else reply for reply in replies] for replies in question[1:])
    data = as_data({"post": question.post, "set_A": a, "set_B": b})
    mark = "".join(f"{seed_for(settings.seed, 'llm_judge mark', half, data):016x}" for half in (0, 1))
    system, user = SYSTEM.format(mark=mark), USER.format(mark=mark, data=data, rubric=RUBRIC)
    body: dict[str, Any] = {"model": settings.model, "max_tokens": settings.max_tokens}
    if settings.backend == "anthropic":
        body |= {"system": system, "messages": [{"role": "user", "content": user}]}
        body["tools"] = [{"name": TOOL, "description": "Record the verdict.", "input_schema": SCHEMA}]
        body["tool_choice"] = {"type": "tool", "name": TOOL, "disable_parallel_tool_use": True}
    else:
        user += " Write it as one JSON object and nothing else."  # for servers that do not look at response_format
        body["messages"] = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        form = {"name": TOOL, "schema": SCHEMA, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
        if settings.base_url:
            body["temperature"] = 0
        else:  # OpenAI has renamed the limit, and its later models refuse a temperature
            body["max_completion_tokens"] = body.pop("max_tokens")
    return {"backend": settings.backend, "body": body}


def speaks_to_the_judge(reply: str) -> bool:
    """Whether a reply is addressed to a judge rather than to the author of the post."""
    plain = "".join(c for c in unicodedata.normalize("NFKC", reply) if unicodedata.category(c) != "Cf")
    return bool(_TO_THE_JUDGE.search(plain))


def as_data(value: Any) -> str:
    """JSON on one line, every ``<``, ``>``, ``[``, ``]`` inside a string and everything unprintable as \\uXXXX.

    So no string can end its line or field, show other text than it holds (bidirectional controls, invisible
    characters), or contain a tag or special token such as ``<|im_end|>`` or ``[INST]``, which a server with a chat
    template would take at its word.
    """

    def escaped(character: str) -> str:
        if character in "<>[]" or not character.isprintable():
            return json.dumps(character)[1:-1] if ord(character) > 127 else f"\\u{ord(character):04x}"
        return character

    strings = r'"(?:[^"\\]|\\.)*"'
    return re.sub(strings, lambda found: "".join(map(escaped, found[0])), json.dumps(value, ensure_ascii=False))


def read_answer(backend: str, text: str) -> Answer:
    """The answer in a response. Raises ValueError, KeyError or TypeError for one that is not the protocol's."""
    response = JSON.decode(text)
    reading: Reading = "unreadable", None, "no single verdict that ends by itself"
    if backend == "anthropic":
        match response["stop_reason"], [block for block in response["content"] if block["type"] == "tool_use"]:
            case "refusal", _:
                reading = REFUSED
            case "tool_use", [{"name": "record_verdict", "input": verdict}]:
                reading = read_verdict(json.dumps(verdict))
    else:
        match response["choices"]:
            case [{"finish_reason": "stop", "message": {"content": str() as said}}]:
                reading = read_verdict(said)
            case [{"finish_reason": "content_filter"}] | [{"message": {"refusal": str()}}]:
                reading = REFUSED
    usage = response.get("usage") or {}
    names = (("input", "prompt"), ("output", "completion"))  # as the two protocols call them
    counts = [usage.get(f"{one}_tokens", usage.get(f"{other}_tokens")) for one, other in names]
    counted = all(type(count) is int and count >= 0 for count in counts)
    model = re.sub(r"^/.*/|^.*\\", "", str(response.get("model")))  # without folders, which llama.cpp may name
    return Answer(*reading, model, counts if counted else None)


def read_verdict(text: str) -> Reading:
    """The verdict in a text that is to be JSON and nothing else."""
    with suppress(ValueError, RecursionError):
        match JSON.decode(text):
            case {"better": "A" | "B" | "tie" as better, "reason": str() as reason, **more} if not more:
                return "verdict", better, reason
    return "unreadable", None, f"not one JSON object of a reason and a verdict: {shown(text)}"
