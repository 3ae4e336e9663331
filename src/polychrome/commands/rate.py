"""Make a page on which a person says which of two models' sets of replies is better, without knowing whose is whose.

The page needs no network and no server. Posts and sides come in random order; answer with the arrow keys. Answers stay
in the browser until they are saved as a JSON file, which `polychrome compare --ratings` reads.
"""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polychrome import paths
from polychrome.commands.models import spelled
from polychrome.commands.ratings import VERSION, a_is_left, shown
from polychrome.errors import Problems, bad
from polychrome.files import write_text
from polychrome.pairs.schema import as_said
from polychrome.randomness import numpy_generator, seed_for

if TYPE_CHECKING:
    from polychrome.evaluation.evaluate import Answered


def arguments(parser: ArgumentParser) -> None:
    """What the command is given."""
    parser.add_argument("a", metavar="A", help="a model that has answered the test posts, as <arm>/seed-<n>")
    parser.add_argument("b", metavar="B", help="another")
    parser.add_argument("--out", default="rate.html", metavar="FILE", help="the page (default: %(default)s)")
    parser.add_argument("--posts", type=int, default=0, help="posts sampled; 0 takes all (default: %(default)s)")
    parser.add_argument(
        "--replies", type=int, default=5, help="replies sampled from each set; 0 shows all (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of samples, order and sides (default: %(default)s)")


def run(asked: Namespace) -> None:
    """Write the page."""
    from polychrome.evaluation.evaluate import read_generations
    from polychrome.params import load_params

    for name in ("posts", "replies"):
        if getattr(asked, name) < 0:
            raise bad(f"--{name}", getattr(asked, name), "0 or more", "Change it.")
    params = load_params()
    models = [spelled(one, params) for one in (asked.a, asked.b)]
    if models[0] == models[1]:
        raise bad("the models", f"{asked.a} twice", "two models", "Name another one.")
    sets, problems = [], Problems()
    for arm, seed in models:
        with problems.caught():
            sets.append(read_generations(paths.generations_file(arm, seed)))
    problems.raise_any()
    names = [f"{arm}/seed-{seed}" for arm, seed in models]
    data = page_data(names, sets, asked.posts, asked.replies, asked.seed)
    write_text(asked.out, page(data))
    print(f"{len(data['posts'])} posts, two sets of {data['replies']} replies to each: open {asked.out} in a browser")
    print("save the answers there, then: polychrome compare --ratings FILE")


def page_data(names: list[str], sets: list[list["Answered"]], posts: int, replies: int, seed: int) -> dict[str, Any]:
    """What the page holds: posts in the order of asking, each with its left and its right set.

    Raises InputError when the two answered different posts, or fewer replies than are to be shown.
    """
    of_b = {row.id: row for row in sets[1]}
    if [(r.id, r.post) for r in sets[0]] != [(r.id, r.post) for r in sets[1]]:
        where = " and ".join(names)
        raise bad(where, "answers to different posts", "the same test posts", "Run `dvc repro` to make both again.")
    least = min(len(row.replies) for one in sets for row in one)
    if replies > least or posts > len(of_b):
        found, name = (posts, "posts") if posts > len(of_b) else (replies, "replies")
        there = len(of_b) if name == "posts" else least
        raise bad(f"--{name}", found, f"at most {there}, all there are", "Lower it.")
    order = numpy_generator(seed, "rate", "posts").permutation(len(sets[0]))[: posts or None]
    rows = []
    for row in (sets[0][place] for place in order):
        both = [[one.replies[i] for i in shown(seed, row.id, len(one.replies), replies)] for one in (row, of_b[row.id])]
        left, right = both if a_is_left(seed, row.id) else reversed(both)
        rows.append({"id": row.id, "post": as_said(row.context, row.post), "left": left, "right": right})
    about = {"version": VERSION, "a": names[0], "b": names[1], "seed": seed, "replies": replies or least}
    return about | {"page": f"{seed_for(seed, *names, *(json.dumps(r) for r in rows)):016x}", "posts": rows}


def page(data: dict[str, Any]) -> str:
    """The page, in one file; no text of ``data`` can end the script that it stands in."""
    template = Path(__file__).with_name("rate.html").read_text(encoding="utf-8")
    return template.replace("/*DATA*/", json.dumps(data, ensure_ascii=False).replace("<", "\\u003c"))
