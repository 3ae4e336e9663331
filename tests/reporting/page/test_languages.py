"""Replies in scripts that the encoder does not know, from measure to page: no number where nothing was measured."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from polychrome.commands.compare import as_tables
from polychrome.commands.compare import compared as compared_runs
from polychrome.engagement.judge import Judge, Thresholds
from polychrome.evaluation.compare import compare
from polychrome.evaluation.evaluate import evaluate, read_per_post
from polychrome.evaluation.experiment import Criterion
from polychrome.evaluation.metrics import ENCODED
from polychrome.files import read_json, read_jsonl, write_json
from polychrome.measures.encoder import Encoder
from polychrome.measures.failures import KINDS
from polychrome.measures.words import LANGUAGE
from polychrome.reporting.charts import plane_chart
from polychrome.reporting.names import metric_name
from polychrome.reporting.page.inputs import read_inputs
from polychrome.reporting.page.replies import packed
from polychrome.reporting.palette import palette_of
from polychrome.reporting.read import read_plane
from tests.encoders import Letters
from tests.evaluation.fakes import EXPERIMENT, MODELS, settings, write_rows
from tests.measures.test_languages import ALIKE, VARIED, English
from tests.reporting.page.tree import edit

OTHERS, ENGLISH = ("Japanese", "Thai", "Russian", "Arabic"), ("English",) * 3
SETTINGS = settings(60, ks=(1, 5))
NEAR = 2.0  # a cosine that no reply has: whoever is asked whether it is on topic is not
OF_ENCODER = ("semantic_diversity", "vendi", "vendi_passing", "utility_k", "distinct_k", "precision", "relevance")
ASKED_OF_ENGLISH = ("generic", "hostile", "off_topic")


def measured(root, languages, encoder, on_topic=NEAR, models=MODELS):
    """Evaluates every model on a post in each of ``languages``; returns what of the first model metrics.json holds."""
    Judge((), ("!",), np.array([0.1]), 0.5, Thresholds(on_topic, 0.5, 0.9)).save(root / "judge")
    others = [{"id": str(i), "replies": ALIKE[name]} for i, name in enumerate(languages)]
    references = write_rows(root / "references.jsonl", others)
    for place, model in enumerate(models):
        rows = [
            {"id": str(i), "post": VARIED[name][1], "human": VARIED[name][0], "replies": replies}
            | {"human_nll": 3.0 + place + 0.1 * i, "human_tokens": 4, "ended": [True] * 5}
            for i, name in enumerate(languages)
            for replies in [VARIED[name] if place % 2 else ALIKE[name]]
        ]
        path, out = write_rows(root / f"{model}.jsonl", rows), root / f"results/evaluation/{model}/seed-42"
        evaluate(path, root / "judge", encoder, out, SETTINGS, references=references)
    return read_json(root / f"results/evaluation/{MODELS[0]}/seed-42/metrics.json")


def contrasted(root, experiment=EXPERIMENT):
    """Compares them; returns comparison.json. GRPO arms of which there is no verdict are not gamed."""
    for arm in [arm for arm in experiment.judged if not (root / f"results/gaming/{arm}").exists()]:
        verdict = {"arm": arm, "seed": 42, "verdict": "not gamed", "conclusive": True, "text": ""}
        write_json(root / f"results/gaming/{arm}/seed-42/verdict.json", verdict)
    folders = {"evaluations": root / "results/evaluation", "gaming": root / "results/gaming", "out": root / "results"}
    compare(MODELS, (42,), experiment, SETTINGS, **folders)
    return read_json(root / "results/comparison.json")


def runs(root):
    return {(model, 42): read_per_post(root / f"results/evaluation/{model}/seed-42/per_post.json") for model in MODELS}


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A run of which the encoder can read nothing."""
    root = tmp_path_factory.mktemp("foreign")
    return root, measured(root, OTHERS, English()), contrasted(root)


def test_what_rests_on_the_encoder_is_null_and_the_rest_is_measured(foreign):
    root, found, _ = foreign
    for name in OF_ENCODER:
        assert found["metrics"][name] == {"mean": None, "low": None, "high": None, "undefined_posts": 4}, name
    assert found["human"]["relevance"]["mean"] is None
    for name in (
        "self_bleu",
        "distinct_1",
        "ead",
        "rouge_l",
        "engagement",
        "well_formed",
        "cross_entropy",
        "pass_at_1",
    ):
        assert found["metrics"][name]["undefined_posts"] == 0, name
    (first, *_) = read_jsonl(root / f"results/evaluation/{MODELS[0]}/seed-42/replies.jsonl")
    assert {reply["relevance"] for reply in (first["human"], *first["replies"])} == {None}


def test_a_pass_leaves_out_what_cannot_be_asked_and_asks_for_the_rest(foreign, tmp_path):
    assert foreign[1]["metrics"]["pass_at_1"]["mean"] == 1
    assert measured(tmp_path, OTHERS, Letters(), models=MODELS[:1])["metrics"]["pass_at_1"]["mean"] == 0


def test_failures_that_cannot_be_asked_of_a_script_have_no_share(foreign):
    for failures in (foreign[1]["failures"], foreign[1]["human_failures"]):
        assert failures == {kind: None if kind in ASKED_OF_ENGLISH else 0.0 for kind in KINDS}


def test_an_encoder_that_is_open_reads_no_other_script_either(tiny_encoder, tmp_path):
    found = measured(tmp_path, OTHERS, Encoder.open(tiny_encoder, remember=True), models=MODELS[:1])
    assert {found["metrics"][name]["mean"] for name in OF_ENCODER} == {None}


def test_the_comparison_says_once_what_is_not_defined_and_for_how_many_posts(foreign):
    root, _, comparison = foreign
    (said,) = [sentence for sentence in comparison["warnings"]["sentences"] if LANGUAGE in sentence]
    assert said.count("(4 of 4 test posts)") == len(MODELS)
    assert comparison["not_for_this_language"] == list(ENCODED)
    contrasts = [one for question in comparison["questions"] for one in question["contrasts"]]
    assert {one["metric"] for one in contrasts if one.get("undefined") == LANGUAGE} == {
        "semantic_diversity",
        "utility_k",
    }
    assert comparison["family"]["tests"] == sum("undefined" not in one for one in contrasts) > 0
    assert not {*OF_ENCODER} & read_json(root / "results/metrics.json")["baseline"].keys()


def test_table_and_plane_leave_it_out_and_say_so(foreign):
    root, *_ = foreign
    head, *_, note = (root / "results/table.md").read_text().strip().split("\n")
    assert "self-BLEU" in head
    assert metric_name("semantic_diversity") not in head
    assert f"{LANGUAGE.capitalize()}, whose script the encoder does not know: semantic diversity, utility_k" in note
    with (root / "results/plane.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert {row["semantic_diversity"] for row in rows} == {""}
    assert all(row["self_bleu"] for row in rows)
    plane = read_plane(root / "results/plane.csv")
    assert plane_chart(plane, palette_of(list(plane))) is None


def test_a_criterion_on_what_is_not_defined_says_why_it_is_not_met(foreign):
    own = Criterion(level="must", kind="exceeds", a="baseline", metric="semantic_diversity", threshold=0.5)
    contrasted(foreign[0], replace(EXPERIMENT, criteria=(own,)))
    (judged,) = read_json(foreign[0] / "results/success_criteria.json")["criteria"]
    assert (judged["value"], judged["verdict"]) == (None, "fail")
    assert judged["note"] == "Not defined for this language, whose script the encoder does not know."


def test_revisions_are_compared_on_what_is_defined(foreign, tmp_path):
    measured(tmp_path, OTHERS[::-1], English())
    found = compared_runs(runs(foreign[0]), runs(tmp_path), SETTINGS)
    printed = as_tables(found | {"a": "A", "b": "B", "params": {}}, everything=False)
    assert re.search(rf"semantic diversity +{LANGUAGE}\n", printed)


def test_the_page_says_it_wherever_the_numbers_would_stand(tree, text_of):
    measured(tree, OTHERS, English())
    contrasted(tree)
    edit(tree / "results/judge.json", lambda judge: judge.update(on_topic_threshold=None))
    inputs = read_inputs(tree, models=MODELS, untouched=("zero_shot",), seeds=(42,))
    text = text_of(inputs)
    assert "Take care.</strong> A pass does not ask whether replies are on topic" in text
    assert (
        "Not defined for this language, whose script the encoder does not know: semantic diversity, utility_k" in text
    )
    assert text.count('<td><span class="none">not defined for this language</span></td>') == 3 * (len(MODELS) + 1)
    assert '"on_topic":null' in text
    human, sets = json.loads(packed(inputs, 10**9)[0])["posts"][0][2:]
    assert {reply[2] for reply in (human, *sets[0][0])} == {None}


# --- beside English ---------------------------------------------------------------------------------------------------


def test_beside_english_posts_the_others_are_left_out_and_counted(tmp_path):
    found = measured(tmp_path, (*ENGLISH, "Thai"), English(), on_topic=-1.0)
    alone = measured(tmp_path / "english", ENGLISH, English(), on_topic=-1.0, models=MODELS[:1])
    for name in OF_ENCODER:
        assert found["metrics"][name]["undefined_posts"] == 1, name
        assert found["metrics"][name]["mean"] == alone["metrics"][name]["mean"] is not None, name
    comparison = contrasted(tmp_path)
    assert "not_for_this_language" not in comparison
    assert "baseline (1 of 4 test posts)" in " ".join(comparison["warnings"]["sentences"])
    assert "semantic diversity" in (tmp_path / "results/table.md").read_text().split("\n")[0]


def test_english_keeps_its_bytes_whether_or_not_the_encoder_knows_other_scripts(tmp_path):
    def files(encoder, name):
        measured(tmp_path / name, ENGLISH, encoder, on_topic=0.3)
        contrasted(tmp_path / name)
        results = tmp_path / name / "results"
        return {path.relative_to(results): path.read_bytes() for path in results.rglob("*") if path.is_file()}

    first = files(Letters(), "all")
    assert first == files(English(), "english")
    assert not any(LANGUAGE.encode() in content for content in first.values())
