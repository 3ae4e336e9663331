"""From text to tokens and back: the chat template around a post, a reply and its end token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from polychrome.errors import InputError, Problem, bad
from polychrome.pairs.schema import Pair


class Chat:
    """Tokenises posts and replies apart, so which tokens are reply is known by construction, never searched for."""

    def __init__(self, tokenizer: Any, system: str, max_prompt_tokens: int, max_reply_tokens: int):
        self.tokenizer = tokenizer
        self.system = system
        self.max_prompt_tokens, self.max_reply_tokens = max_prompt_tokens, max_reply_tokens
        self.stop_id: int = tokenizer.eos_token_id
        self.pad_id: int = tokenizer.pad_token_id
        self._special = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]

    def prompt(self, post: str) -> list[int]:
        """Token ids of everything before the reply. Raises InputError for too long a post: never cut in silence."""
        messages = [
            {"role": "system", "content": self.system},
            {"role": "user", "content": defused(post, self._special)},
        ]
        text = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False, enable_thinking=False
        )
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) > self.max_prompt_tokens:
            raise bad(
                f"post {post[:60]!r}",
                f"{len(ids)} prompt tokens",
                f"at most prompt.max_prompt_tokens = {self.max_prompt_tokens}",
                "Raise prompt.max_prompt_tokens or lower data.max_post_words.",
            )
        return ids

    def reply(self, reply: str) -> list[int]:
        """Token ids of a reply with its end token. Raises InputError when it is too long."""
        ids: list[int] = [
            *self.tokenizer(defused(reply, self._special), add_special_tokens=False)["input_ids"],
            self.stop_id,
        ]
        if len(ids) > self.max_reply_tokens:
            raise bad(
                f"reply {reply[:60]!r}",
                f"{len(ids)} tokens",
                f"at most prompt.max_reply_tokens = {self.max_reply_tokens}",
                "Raise prompt.max_reply_tokens or lower data.max_reply_words.",
            )
        return ids

    def check(self, pairs: Sequence[Pair], file: str | Path) -> None:
        """Raise InputError naming every pair of ``file``, in its order, whose post or reply is too long."""
        problems: list[Problem] = []
        for line, pair in enumerate(pairs, start=1):
            for field, tokenise in (("post", self.prompt), ("reply", self.reply)):
                try:
                    tokenise(getattr(pair, field))
                except InputError as error:
                    problems += [replace(problem, where=f"{file}:{line}:{field}") for problem in error.problems]
        if problems:
            raise InputError(problems)

    def text(self, completion: Sequence[int]) -> str:
        """The text of a completion, end token and surrounding space removed."""
        kept = [token for token in completion if token not in (self.stop_id, self.pad_id)]
        return " ".join(self.tokenizer.decode(kept, skip_special_tokens=False).split())


def defused(text: str, special: Sequence[str] = ()) -> str:
    """``text`` in which no special token of the tokenizer can be spelled: a post may not close its own turn."""
    text = text.replace("<|", "< |")
    for token in special:  # templates that do not write <|...|>: </s>, <end_of_turn>, [INST]
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text
