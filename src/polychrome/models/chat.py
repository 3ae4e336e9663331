"""From text to tokens and back: the chat template around a post, a reply and its end token."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from polychrome.errors import InputError, Problem, bad
from polychrome.pairs.schema import Pair, Turns


class Chat:
    """Tokenises posts and replies apart, so which tokens are reply is known by construction, never searched for."""

    def __init__(self, tokenizer: Any, system: str, max_prompt_tokens: int, max_reply_tokens: int):
        self.tokenizer = tokenizer
        self.system = system
        self.max_prompt_tokens, self.max_reply_tokens = max_prompt_tokens, max_reply_tokens
        self.stop_id: int = tokenizer.eos_token_id
        self.pad_id: int = tokenizer.pad_token_id
        self._special = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]

    def prompt(self, post: str, context: Turns = ()) -> list[int]:
        """Token ids of everything before the reply: system prompt, ``context`` (the oldest turn first) and post.

        Raises InputError for too long a post: never cut in silence.
        """
        said = [(role, defused(text, self._special)) for role, text in (*context, ("user", post))]
        messages = [{"role": role, "content": content} for role, content in (("system", self.system), *said)]
        text = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False, enable_thinking=False
        )
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return _within("post", post, ids, "max_prompt_tokens", self.max_prompt_tokens)

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
        """The text of a completion, end token and surrounding space removed."""
        kept = [token for token in completion if token not in (self.stop_id, self.pad_id)]
        return " ".join(self.tokenizer.decode(kept, skip_special_tokens=False).split())


def _within(kind: str, text: str, ids: list[int], key: str, limit: int) -> list[int]:
    if len(ids) > limit:
        remedy = f"Raise prompt.{key} or lower data.max_{kind}_words{' or data.context_turns' * (kind == 'post')}."
        raise bad(f"{kind} {text[:60]!r}", f"{len(ids)} tokens", f"at most prompt.{key} = {limit}", remedy)
    return ids


def defused(text: str, special: Sequence[str] = ()) -> str:
    """``text`` in which no special token of the tokenizer can be spelled: a post may not close its own turn."""
    text = text.replace("<|", "< |")
    for token in special:  # templates that do not write <|...|>: </s>, <end_of_turn>, [INST]
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text
