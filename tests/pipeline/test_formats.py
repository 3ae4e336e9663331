"""Every format that people have, to a trained model by params alone: the same pairs come out of each."""

from __future__ import annotations

import html
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import Dataset

from polychrome.pairs.cleaning import prepare
from polychrome.pairs.formats.hub import fetch_data
from polychrome.pairs.schema import read_pairs
from polychrome.pairs.split import split_file
from polychrome.params import load_params
from polychrome.paths import PHASES
from polychrome.training.runs import train
from tests.pairs.containers import CONTAINERS
from tests.pairs.containers import json_lines as lines
from tests.pipeline.conftest import make_repository, set_params, tweet

Rows = Sequence[dict[str, Any]]
TWEETS = [tweet(i) for i in range(210)]


def reposted(name: str) -> Callable[[Path], None]:
    """The rows in a container, with columns as an export of a forum has them."""
    names = {"tweet": "title", "reply": "body", "tweet_likes": "parent_score", "reply_likes": "ups"}
    names |= {"tweet_id": "parent_id", "reply_id": "id"}
    rows = [{names[key]: str(value) for key, value in row.items()} for row in TWEETS]
    return lambda folder: (folder / name).write_bytes(CONTAINERS[name](rows)) and None


def talk(row: dict[str, Any]) -> list[dict[str, str]]:
    return [{"role": "user", "content": row["tweet"]}, {"role": "assistant", "content": row["reply"]}]


def score(row: dict[str, Any]) -> float:
    return row["reply_likes"] / row["tweet_likes"]


def messages(folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(lines([{"messages": talk(row), "score": score(row)} for row in TWEETS]))


def prompts(folder: Path) -> None:
    rows = [{"prompt": talk(row)[:1], "completion": talk(row)[1:], "score": score(row)} for row in TWEETS]
    (folder / "a.jsonl").write_bytes(lines(rows))


def preferences(folder: Path) -> None:
    rows = [
        {"prompt": row["tweet"], "chosen": row["reply"], "rejected": f"no {n} not that"} for n, row in enumerate(TWEETS)
    ]
    (folder / "a.jsonl").write_bytes(lines(rows))


def archive(folder: Path) -> None:
    def own(id: str, text: str, likes: int, **more: str) -> dict[str, Any]:
        return {"tweet": {"id_str": id, "full_text": text, "favorite_count": str(likes), **more}}

    posts = [own(f"1{n}", row["tweet"], row["tweet_likes"]) for n, row in enumerate(TWEETS)]
    replies = [
        own(f"2{n}", f"@me {row['reply']} https://t.co/x", row["reply_likes"], in_reply_to_status_id_str=f"1{n}")
        for n, row in enumerate(TWEETS)
    ]
    tweets = json.dumps([*posts, *replies], indent=2)
    (folder / "tweets.js").write_text(f"window.YTD.tweets.part0 = {tweets}")
    (folder / "account.js").write_text("window.YTD.account.part0 = []")


def api(folder: Path) -> None:
    def posted(id: str, text: str, author: str, likes: int) -> dict[str, Any]:
        return {"id": id, "text": text, "author_id": author, "public_metrics": {"like_count": likes}}

    for page in range(2):
        rows = list(enumerate(TWEETS))[page::2]
        data = [
            posted(f"2{n}", row["reply"], "7", row["reply_likes"])
            | {"referenced_tweets": [{"type": "replied_to", "id": f"1{n}"}]}
            for n, row in rows
        ]
        posts = [posted(f"1{n}", row["tweet"], "8", row["tweet_likes"]) for n, row in rows]
        (folder / f"page{page}.json").write_text(json.dumps({"data": data, "includes": {"tweets": posts}}))


def reddit(folder: Path) -> None:
    submissions = [
        {"id": f"s{n}", "title": row["tweet"], "selftext": "", "score": row["tweet_likes"]}
        for n, row in enumerate(TWEETS)
    ]
    comments = [
        {"id": f"c{n}", "parent_id": f"t3_s{n}", "body": row["reply"], "score": row["reply_likes"]}
        for n, row in enumerate(TWEETS)
    ]
    (folder / "RS_2020-01.jsonl").write_bytes(lines(submissions))
    (folder / "RC_2020-01.jsonl.zst").write_bytes(CONTAINERS["lines.jsonl.zst"](comments))


def stackexchange(folder: Path) -> None:
    def row(**values: Any) -> str:
        return "  <row " + " ".join(f'{name}="{html.escape(str(value))}"' for name, value in values.items()) + " />"

    rows = [
        one
        for n, each in enumerate(TWEETS)
        for one in (
            row(Id=2 * n, PostTypeId=1, Score=each["tweet_likes"], Title=each["tweet"], Body=""),
            row(Id=2 * n + 1, PostTypeId=2, ParentId=2 * n, Score=each["reply_likes"], Body=f"<p>{each['reply']}</p>"),
        )
    ]
    first = '<?xml version="1.0" encoding="utf-8"?>'
    (folder / "Posts.xml").write_text("\n".join([first, "<posts>", *rows, "</posts>"]))


def hub(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load_dataset", lambda *_, **__: Dataset.from_list(TWEETS))
        fetch_data("owner/name/train", folder, folder)


TAKEN = ("lines.jsonl", "array.json.gz", "table.csv", "table.tsv.zst", "rows.parquet", "rows.arrow", "utf16.csv")
FORMATS: dict[str, Callable[[Path], Any]] = {name: reposted(name) for name in TAKEN} | {
    make.__name__: make for make in (messages, prompts, preferences, archive, api, reddit, stackexchange, hub)
}
trained_on: set[bytes] = set()  # what a model was trained on already: the same bytes give the same model


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository whose base model is laid out."""
    made = make_repository(tmp_path_factory.mktemp("formats"))
    (made.path / "assets").mkdir()
    for part in ("base", "encoder"):
        (made.path / "assets" / part).symlink_to(made.path / "tiny" / part)
    return made


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_becomes_a_trained_model_by_params_alone(name, repository, monkeypatch):
    monkeypatch.chdir(repository.path)
    folder = Path("mine") / name.replace(".", "_")
    folder.mkdir(parents=True)
    FORMATS[name](folder)
    set_params(Path("params.yaml"), {"data.source": "replies", "data.path": str(folder), "data.columns": {}})
    params = load_params()
    prepare(params.data, "data/prepared")
    pairs = read_pairs("data/prepared/pairs.jsonl")
    assert {(row["tweet"], row["reply"]) for row in TWEETS} <= {(pair.post, pair.reply) for pair in pairs}
    if name != "preferences":  # where a reply is chosen or not, and no more
        engagement = {pair.reply: pair.engagement for pair in pairs}
        assert [engagement[row["reply"]] for row in TWEETS] == pytest.approx([score(row) for row in TWEETS])
    split_file("data/prepared/pairs.jsonl", params.split, PHASES)
    if (content := Path("data/prepared/pairs.jsonl").read_bytes()) in trained_on:
        return
    shutil.rmtree("models", ignore_errors=True)
    train(params, "baseline_warmstart", 42, params.trained_by_sft)
    trained_on.add(content)
    assert Path("models/baseline_warmstart/seed-42/adapter_model.safetensors").is_file()
