"""Suggest k replies to a post: many are drawn, and those that are good and different are kept.

A reply that is cut off, malformed, copied from the post, hostile by a word list or near-identical to a better one is
dropped and counted. The others are scored by the reward that the model's arm climbed (hybrid if it climbed none), and k
are picked by maximal marginal relevance. The same model, post and --seed give the same replies.
"""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polychrome import paths
from polychrome.commands.models import named
from polychrome.errors import InputError, Problem, bad
from polychrome.files import Row, read_jsonl, wrong_fields
from polychrome.pairs.schema import TURNS, Turns, are_turns, turns_of

if TYPE_CHECKING:
    from polychrome.measures.encoder import TextEncoder
    from polychrome.models.chat import Chat
    from polychrome.params import Params
    from polychrome.rewards.interface import Reward

DRAWN = 8  # replies drawn for each that is wanted
AT_ONCE = 32  # posts that are drawn for together
HOSTILE = "hostile (by a word list, which knows English and only what it lists)"
_REMEDY = "Write one post per line, or JSON Lines with `post` and, if turns came before it, `context`."


@dataclass(frozen=True)
class Post:
    """A post to answer."""

    text: str
    where: str  # it stands
    context: Turns = ()


def arguments(parser: ArgumentParser) -> None:
    """What the command is given."""
    parser.add_argument("posts", nargs="*", metavar="POST", help="what to answer; else each line of standard input")
    parser.add_argument("--file", metavar="FILE", help="posts, one per line; .jsonl: objects with post and context")
    parser.add_argument("-k", type=int, default=5, help="replies per post (default: %(default)s)")
    parser.add_argument("--model", metavar="ARM/seed-N", help="default: the last of `models` in params.yaml")
    parser.add_argument("--draw", type=int, metavar="N", help=f"replies drawn per post (default: {DRAWN} k)")
    parser.add_argument(
        "--variety", type=float, default=0.3, help="0 takes the best, 1 the most different (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object per line, for each post")


def run(asked: Namespace) -> None:
    """Answer every post."""
    from polychrome.params import load_params

    for name, value, fits in (
        ("-k", asked.k, asked.k >= 1),
        ("--draw", asked.draw, asked.draw is None or asked.draw >= asked.k),
        ("--variety", asked.variety, 0 <= asked.variety <= 1),
    ):
        if not fits:
            expected = {"-k": "1 or more", "--draw": "as many as -k or more"}.get(name, "a number from 0 to 1")
            raise bad(name, value, expected, "Change it.")
    posts, params = read_posts(asked.posts, asked.file), load_params()
    arm, seed = named(asked.model, params)
    for answered in suggestions(
        posts, params, arm, seed, asked.k, asked.draw or DRAWN * asked.k, asked.variety, asked.seed
    ):
        print(json.dumps(answered, ensure_ascii=False) if asked.json else in_words(answered), flush=True)


def read_posts(given: Sequence[str], file: str | None) -> list[Post]:
    """The posts of the command line, then those of ``file``; without either, those of standard input.

    Raises InputError for a file that cannot be read, bad lines of it, and when there is no post.
    """
    posts = [Post(text, f"post {i}") for i, text in enumerate(given, start=1)]
    if file and file.endswith(".jsonl"):
        rows = read_jsonl(file, _check_row, what="posts", remedy=_REMEDY)
        posts += [Post(row["post"], file, turns_of(row)) for row in rows]
    elif file or not given:
        if not file and sys.stdin.isatty():
            raise bad("the posts", "none", "one or more", 'Give one, as in polychrome suggest "post", or --file.')
        try:
            text = Path(file).read_text("utf-8-sig") if file else sys.stdin.read()
        except (OSError, UnicodeDecodeError) as error:
            found = getattr(error, "strerror", None) or "text that is not UTF-8"
            raise bad(str(file or "standard input"), found, "a file of posts", _REMEDY) from error
        lines = enumerate(text.splitlines(), start=1)
        posts += [Post(line.strip(), f"{file or 'standard input'}:{i}") for i, line in lines if line.strip()]
    if blank := [post.where for post in posts if not post.text.strip()] or (
        [] if posts else [file or "standard input"]
    ):
        raise InputError([Problem(where, "nothing", "a post", _REMEDY) for where in blank])
    return posts


def _check_row(where: str, row: Row) -> Iterator[Problem]:
    post, context = row.get("post"), row.get("context", [])
    holds = {"post": (isinstance(post, str) and post.strip() != "", "text, not empty")}
    holds["context"] = (are_turns(context), TURNS)
    yield from wrong_fields(where, row, holds, _REMEDY)


def suggestions(
    posts: Sequence[Post], params: "Params", arm: str, seed: int, k: int, draw: int, variety: float, stream: int
) -> Iterator[dict[str, Any]]:
    """For each post its answer: post, model, reward, suggestions (reply and score), drawn, and how many were dropped.

    Raises InputError when the model is not what params.yaml describes, and for every post that is too long.
    """
    from tqdm import tqdm

    from polychrome.engine.compute import configure
    from polychrome.engine.sampler import Request, sample
    from polychrome.evaluation.generate import open_model, sampling_of
    from polychrome.measures.encoder import Encoder

    policy, chat = open_model(params, arm, seed, configure(params.compute))
    prompts = _prompts(posts, chat)
    encoder, settings = Encoder.open(paths.ENCODER), sampling_of(params.sampling)
    settings = replace(settings, max_new_tokens=2 * settings.max_new_tokens)  # what is cut is of no use here
    name, reward = reward_of(params, arm, encoder)
    about = {"model": f"{arm}/seed-{seed}", "reward": name}
    with tqdm(total=draw * len(posts), desc="replies", unit="reply", delay=3, disable=None) as bar:
        for start in range(0, len(posts), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            requests = [
                Request(prompt, draw, ("suggest", post.text), settings, chat.stop_ids, stream)
                for post, prompt in zip(posts[part], prompts[part], strict=True)
            ]
            memory = {"pad_id": chat.pad_id, "memory_mib": params.compute.memory_mib}
            drawn = sample(policy, requests, **memory, progress=lambda done: bar.update(done) and None)
            for post, group in zip(posts[part], drawn, strict=True):
                texts = [(chat.text(completion.tokens), completion.ended) for completion in group]
                chosen = choose(post.text, texts, reward, encoder, k, variety, params.gaming.near_identical)
                yield {"post": post.text, **about, "asked": k, **chosen}


def _prompts(posts: Sequence[Post], chat: "Chat") -> list[list[int]]:
    prompts, problems = [], []
    for post in posts:
        try:
            prompts.append(chat.prompt(post.text, post.context))
        except InputError as error:
            problems += [replace(problem, where=f"{post.where}: {problem.where}") for problem in error.problems]
    if problems:
        raise InputError(problems)
    return prompts


def reward_of(params: "Params", arm: str, encoder: "TextEncoder") -> tuple[str, "Reward"]:
    """Name and function of the reward that ``arm`` climbed (hybrid if none), calibrated on the pairs it learnt from."""
    from polychrome.pairs.schema import read_pairs
    from polychrome.rewards.interface import Setting, make_reward

    settings = params.arms[arm]
    name, data = getattr(settings, "reward", "hybrid"), getattr(settings, "data", "full")
    pairs = read_pairs(paths.PHASES / f"{data}.jsonl")
    return name, make_reward(name, Setting(params.reward, encoder, pairs), f"params.yaml:arms.{arm}.reward")


def choose(
    post: str,
    drawn: Sequence[tuple[str, bool]],
    reward: "Reward",
    encoder: "TextEncoder",
    k: int,
    variety: float,
    near: float,
) -> dict[str, Any]:
    """At most ``k`` of the replies ``drawn`` (text, whether it ended by itself), scored, and why others were dropped.

    Of two replies whose character 5-grams have a Jaccard similarity of ``near`` or more the better one stays. Where
    the encoder does not know the script of some, ``unread`` counts them, and they are taken by their score alone.
    """
    from polychrome.measures.duplicates import NearDuplicates
    from polychrome.measures.encoder import cosines
    from polychrome.measures.mmr import mmr

    faults = [fault(post, text, ended) for text, ended in drawn]
    dropped = Counter(reason for reason in faults if reason)
    kept = [text for (text, _), reason in zip(drawn, faults, strict=True) if not reason]
    if not kept:
        return {"suggestions": [], "drawn": len(drawn), "dropped": dict(dropped)}
    scores = reward([post] * len(kept), kept)
    by_score = np.argsort(-scores, kind="stable")
    texts, places = [kept[i] for i in by_score], []
    index = NearDuplicates(texts, near)
    for place in range(len(texts)):
        if not index.of(place):
            index.add(place)
            places.append(place)
    dropped += Counter({"near-identical": len(texts) - len(places)})
    texts, scores = [texts[i] for i in places], scores[by_score][places]
    alike = cosines(texts, encoder)
    best_first = sorted(mmr(scores, alike, k, weight=1 - variety))  # places are ordered by score
    found = [{"reply": texts[i], "score": round(float(scores[i]), 4)} for i in best_first]
    unread = int(np.isnan(np.diagonal(alike)).sum())
    about = {"unread": unread} if unread else {}
    return {"suggestions": found, "drawn": len(drawn), "dropped": dict(dropped), **about}


def fault(post: str, reply: str, ended: bool) -> str:
    """Why a reply is not suggested: cut off, malformed, copied or :data:`HOSTILE`; "" for none of these."""
    from polychrome.measures.failures import is_copied, is_hostile
    from polychrome.measures.validity import problems_of

    found = {
        "cut off": not ended,
        "malformed": bool(problems_of(reply)),
        "copied": is_copied(post, reply),
        HOSTILE: is_hostile(reply),
    }
    return next((reason for reason, holds in found.items() if holds), "")


def in_words(answered: dict[str, Any]) -> str:
    """One post's suggestions, for people."""
    from polychrome.measures.words import LANGUAGE

    said = ", ".join(f"{count} {reason}" for reason, count in answered["dropped"].items()) or "none"
    found = answered["suggestions"]
    lines = [f"  {one['score']:.2f}  {one['reply']}" for one in found]
    if len(found) < answered["asked"]:
        lines.append(f"  {len(found)} of the {answered['asked']} asked for are left: --draw more, or another --seed")
    if unread := answered.get("unread"):
        lines.append(f"  variety is {LANGUAGE}: {unread} replies are taken by their score alone")
    about = f"{answered['drawn']} drawn by {answered['model']}, scored by its reward ({answered['reward']}, 0 to 1)"
    return "\n".join([f"> {answered['post']}", *lines, f"  {about}; dropped: {said}", ""])
