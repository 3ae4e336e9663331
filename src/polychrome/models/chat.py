"""From text to tokens and back: the chat template around a post, a reply and its end token."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from polychrome.errors import InputError, Problem, bad
from polychrome.files import read_json
from polychrome.pairs.schema import Pair, Turns

TODAY = datetime(2025, 1, 1)  # in every prompt whose template writes the date: the same prompt on any day
CLOCK = (*"aAbBdDeFHIjmMpSTuUwWyY", "-d", "-e", "-H", "-I", "-j", "-m", "-M", "-S", "-y")  # strftime's, behind a %
CONTROL = r"[<\[{].+[>\]}]"  # how a token is spelled that is no text, marked "special" or not: </think>, [TOOL_CALLS]


class Chat:
    """Tokenises posts and replies apart, so which tokens are reply is known by construction, never searched for."""

    def __init__(self, tokenizer: Any, system: str, max_prompt_tokens: int, max_reply_tokens: int):
        self.tokenizer = tokenizer
        self.system = system
        self.max_prompt_tokens, self.max_reply_tokens = max_prompt_tokens, max_reply_tokens
        self.stop_ids = ends_of(tokenizer)  # any of them ends a reply
        self.stop_id = self.stop_ids[0]  # that of the template: it ends the replies that are learnt
        self.pad_id: int = tokenizer.pad_token_id
        added = tokenizer.added_tokens_decoder.values()
        self._special = [str(token) for token in added if token.special or re.fullmatch(CONTROL, str(token))]

    def prompt(self, post: str, context: Turns = ()) -> list[int]:
        """Token ids of everything before the reply: system prompt, ``context`` (the oldest turn first) and post.

        Of the context as many turns as fit, the last ones. Raises InputError for a post that does not fit without any.
        """
        said = [(role, defused(text, self._special)) for role, text in (*context, ("user", post))]
        while True:
            messages = [{"role": role, "content": content} for role, content in (("system", self.system), *said)]
            text = rendered(self.tokenizer, messages, add_generation_prompt=True)
            ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            if len(ids) <= self.max_prompt_tokens or len(said) == 1:
                return _within("post", post, ids, "max_prompt_tokens", self.max_prompt_tokens)
            del said[0]

    def reply(self, reply: str) -> list[int]:
        """Token ids of a reply with its end token. Raises InputError when it is too long."""
        ids = self.tokenizer(defused(reply, self._special), add_special_tokens=False)["input_ids"] + [self.stop_id]
        return _within("reply", reply, ids, "max_reply_tokens", self.max_reply_tokens)

    def check(self, pairs: Sequence[Pair], file: str | Path) -> None:
        """Raise InputError naming every pair of ``file``, in its order, whose post or reply is too long."""
        problems: list[Problem] = []
        for line, pair in enumerate(pairs, start=1):
            for field in ("post", "reply"):
                try:
                    _ = self.prompt(pair.post, pair.context) if field == "post" else self.reply(pair.reply)
                except InputError as error:
                    problems += [replace(problem, where=f"{file}:{line}:{field}") for problem in error.problems]
        if problems:
            raise InputError(problems)

    def text(self, completion: Sequence[int]) -> str:
        """The text of a completion, end tokens and surrounding space removed."""
        kept = [token for token in completion if token not in (*self.stop_ids, self.pad_id)]
        return " ".join(self.tokenizer.decode(kept, skip_special_tokens=False).split())


def rendered(tokenizer: Any, messages: Sequence[dict[str, str]], *, add_generation_prompt: bool) -> str:
    """``messages`` by the tokenizer's chat template, without thinking, as if it were :data:`TODAY`."""
    return tokenizer.apply_chat_template(
        messages, add_generation_prompt=add_generation_prompt, tokenize=False, enable_thinking=False,
        chat_template=dated(tokenizer.chat_template),
    )  # fmt: skip


def dated(template: str) -> str:
    """A chat template whose clock, transformers' ``strftime_now``, stands at :data:`TODAY`; others as they are."""
    if "strftime_now" not in template:
        return template
    told = "".join(f"|replace('%{part}', '{TODAY.strftime(f'%{part}')}')" for part in CLOCK)
    return "{% macro strftime_now(format) %}{{ format" + told + " }}{% endmacro %}" + template


def ends_of(tokenizer: Any) -> tuple[int, ...]:
    """Ids of the tokens that end a reply: what the template closes a turn with, the tokenizer's end, the model's.

    The model's are those of generation_config.json beside the tokenizer, if it is there.
    """
    said = [{"role": role, "content": f"the {role} speaks"} for role in ("system", "user", "assistant")]
    _, reply, behind = rendered(tokenizer, said, add_generation_prompt=False).rpartition(said[-1]["content"])
    closing = tokenizer(behind if reply else "", add_special_tokens=False)["input_ids"]
    own = [token for token in closing if token in tokenizer.added_tokens_decoder]
    file = Path(tokenizer.name_or_path) / "generation_config.json"
    models = (read_json(file).get("eos_token_id") if file.is_file() else None) or []
    return tuple(dict.fromkeys([*own[:1], tokenizer.eos_token_id, *([models] if isinstance(models, int) else models)]))


def _within(kind: str, text: str, ids: list[int], key: str, limit: int) -> list[int]:
    if len(ids) > limit:
        remedy = f"Raise prompt.{key} or lower data.max_{kind}_words."
        raise bad(f"{kind} {text[:60]!r}", f"{len(ids)} tokens", f"at most prompt.{key} = {limit}", remedy)
    return ids


def defused(text: str, special: Sequence[str] = ()) -> str:
    """``text`` in which no special token of the tokenizer can be spelled: a post may not close its own turn."""
    text = text.replace("<|", "< |")
    for token in special:  # templates that do not write <|...|>: </s>, <end_of_turn>, [INST]
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text
