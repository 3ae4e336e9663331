"""The pipeline as its users run it: dvc for real, on a tiny model and tweets of its own, without a network."""

import os
import re
import signal
import subprocess
import time

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

from polychrome.files import read_json
from tests.pipeline.conftest import Repository

# Tests of one file run in one process: here some change params.yaml of the finished repository for a moment.
pytestmark = pytest.mark.timeout(1800)

MODELS = (
    "zero_shot", "prompted", "baseline_warmstart", "polychromic_warmstart",
    "baseline", "polychromic", "grpo_from_baseline", "grpo_from_polychromic",
)  # fmt: skip

GAMING = {"baseline": "gaming@grpo_from-baseline-42", "polychromic": "gaming@grpo_from-polychromic-42"}


def answered(*models: str) -> set[str]:
    """The stages that read a model's arm in params.yaml, besides the one that trains it."""
    return {f"{stage}@{model}-42" for model in models for stage in ("generate", "evaluate")} | {"compare"}


def test_every_promised_output_is_there_and_speaks_of_every_model(finished):
    results = finished.path / "results"
    metrics = read_json(results / "metrics.json")
    assert set(MODELS) <= set(metrics)
    assert all(isinstance(value, float) for model in MODELS for value in metrics[model].values())
    assert {one["id"] for one in read_json(results / "comparison.json")["questions"]} == {"Q1", "Q2", "Q3", "Q4"}
    criteria = read_json(results / "success_criteria.json")["criteria"]
    assert {criterion["level"] for criterion in criteria} == {"must", "should", "nice"}
    for figure in ("pass_at_k", "plane", "training"):
        assert (results / f"figures/{figure}.svg").read_text().startswith("<svg ")
    assert (finished.path / "data/phases/phase_split_distributions.svg").exists()


def test_adapters_open_with_peft_alone_and_are_safetensors_only(finished):
    for arm in MODELS[2:]:
        folder = finished.path / f"models/{arm}/seed-42"
        base = AutoModelForCausalLM.from_pretrained(finished.path / "assets/base")
        assert PeftModel.from_pretrained(base, folder).peft_config["default"].r == 2
        assert {file.suffix for file in folder.iterdir()} == {".safetensors", ".json"}


def test_a_second_repro_runs_nothing(finished):
    assert "Running stage" not in finished.dvc("repro").stdout
    assert finished.changed() == set()


def test_no_output_names_this_machine(finished):
    outputs = [finished.path / path for path in finished.outputs() if not path.startswith("assets/")]
    files = [file for path in outputs for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    assert [file for file in files if str(finished.path).encode() in file.read_bytes()] == []


@pytest.mark.parametrize(
    ("key", "value", "stages"),
    [
        ("arms__grpo_from_polychromic__beta", 0.5, {"grpo@grpo_from-polychromic-42"} | answered(MODELS[7])),
        ("arms__baseline__learning_rate", 0.01, {"sft@baseline-42"} | answered("baseline")),
        ("arms__polychromic_warmstart__lambda", 0.7, {"sft@polychromic_warmstart-42"} | answered(MODELS[3])),
        ("arms__prompted__prompt", "plain", {"untouched@prompted-42"} | answered("prompted")),
        ("reward__weights__length", 0.9, {"grpo@grpo_from-baseline-42", "grpo@grpo_from-polychromic-42"}),
        ("sampling__temperature", 0.9, {f"generate@{model}-42" for model in MODELS}),
        ("reward__mix__learned", 0.9, {"grpo@grpo_from-baseline-42", "grpo@grpo_from-polychromic-42"}),
        ("reward__learned__patience", 3, {"reward"}),
        ("gaming__copy_rise", 0.2, set(GAMING.values())),
        ("report__price_per_hour", 9.0, {"report"}),
        ("controls__seed", 7, set()),
        ("llm_judge__max_calls", 7, set()),
        ("evaluation__alpha", 0.1, {"compare"}),
        ("data__min_words", 4, {"prepare"}),
        ("split__seed", 8, {"split"}),
        ("lora__alpha", 9.0, {f"sft@{arm}-42" for arm in MODELS[2:6]}),
        ("seeds", [42, 7], {
            *(f"untouched@{model}-7" for model in MODELS[:2]),
            *(f"sft@{arm}-7" for arm in MODELS[2:6]),
            *(f"{stage}@grpo_from-{start}-7" for stage in ("grpo", "gaming") for start in GAMING),
            *(f"{stage}@{model}-7" for model in MODELS for stage in ("generate", "evaluate")),
            *("compare", "report"),
        }),
    ],
)  # fmt: skip
def test_a_changed_parameter_concerns_the_stages_that_read_it_and_no_other(finished, key, value, stages):
    before = (finished.path / "params.yaml").read_text()
    try:
        finished.set(**{key: value})
        assert finished.changed() == stages
    finally:
        (finished.path / "params.yaml").write_text(before)


def test_a_local_model_that_was_edited_is_laid_out_again(repository):
    (repository.path / "tiny/base/chat_template.jinja").write_text("{{ messages }}")
    assert repository.changed() == {"assets"}


def test_an_experiment_runs_what_it_changes_and_shows_in_the_table(repository):
    done = repository.dvc("exp", "run", "-n", "strict", "-S", "arms.grpo_from_polychromic.beta=0.5")
    ran = {line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")}
    followed = {GAMING["polychromic"], "report"}
    assert ran == {"grpo@grpo_from-polychromic-42"} | answered("grpo_from_polychromic") | followed
    table = repository.dvc("exp", "show", "--csv").stdout
    assert "strict" in table
    assert "grpo_from_polychromic.pass_at_1" in table.splitlines()[0]


def test_pushed_artifacts_are_pulled_into_a_fresh_clone_where_nothing_is_left_to_run(repository, tmp_path):
    repository.dvc("remote", "add", "-d", "store", str(tmp_path / "store"))
    repository.commit("remote")
    repository.dvc("push")
    clone = Repository(tmp_path / "clone")
    repository.run("git", "clone", "-q", str(repository.path), str(clone.path))
    clone.dvc("pull")
    assert clone.changed() == set()
    assert "Running stage" not in clone.dvc("repro").stdout
    assert clone.outputs() == repository.outputs()


def test_a_bad_line_stops_the_run_with_its_place_and_says_how_to_get_earlier_outputs_back(repository):
    kept = [repository.path / f"data/prepared/{name}" for name in ("pairs.jsonl", "cleaning_report.json")]
    before = [path.read_bytes() for path in kept]
    tweets = repository.path / "tiny/tweets.jsonl"
    lines = tweets.read_text().splitlines()
    lines[6] = lines[6].replace('"tweet_likes": ', '"tweet_likes": -7')
    lines[9] = lines[9][:-5]
    tweets.write_text("\n".join(lines) + "\n")
    done = repository.dvc("repro", ok=False)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "tiny/tweets.jsonl:7:tweet_likes" in said
    assert "tiny/tweets.jsonl:10" in said
    assert "Traceback" not in said
    from_cache, from_git = re.findall("`(dvc checkout .*?|git checkout .*?)`", said)
    for command in (from_cache, from_git):
        repository.run("bash", "-c", command)
    assert [path.read_bytes() for path in kept] == before


def test_plots_open_on_the_six_promised_pictures(repository):
    repository.dvc("plots", "show", "-o", "plots")
    page = (repository.path / "plots/index.html").read_text()
    titles = ("training loss", "reward while GRPO", "KL to the", "diversity of sampled", "Pass@k", "quality against")
    assert [title for title in titles if title not in page] == []


def test_a_run_killed_by_kill_9_goes_on_from_its_checkpoint_to_the_same_bytes(repository):
    expected = repository.outputs()
    stage, out = "grpo@grpo_from-baseline-42", repository.path / "models/grpo_from_baseline/seed-42"
    process = subprocess.Popen(
        ["dvc", "repro", "--single-item", "--force", "--no-run-cache", stage],
        cwd=repository.path, env=repository.environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    checkpoints = repository.path / ".checkpoints"
    while not list(checkpoints.glob("*/[!.]*/state.json")):  # not one that is still being written, beside its place
        assert process.poll() is None, "the stage ended before it could be killed"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = repository.dvc("repro", "--force", "--single-item", "--no-run-cache", stage)
    assert "going on from step" in done.stdout + done.stderr
    assert out.exists()
    assert repository.outputs() == expected
