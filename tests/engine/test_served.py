"""A vLLM server as sampler, against one that speaks its protocol: what is asked, what comes back, what goes wrong."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from polychrome.engine import compute
from polychrome.engine.sampler import Request, sample
from polychrome.engine.sampling import SamplingSettings
from polychrome.engine.served import Served
from polychrome.errors import InputError
from polychrome.models.policy import adapter_tensors, open_base

from .naive import naive_scores
from .standin import StandIn, processed, refusal

SETTINGS = SamplingSettings(temperature=0.7, max_new_tokens=6)
ASKED = [
    Request([5, 6, 7], 3, ("a",), SETTINGS, seed=4),
    Request([9, 8], 2, ("b",), replace(SETTINGS, top_p=0.6), seed=4),
    Request([9, 8], 2, ("c",), replace(SETTINGS, temperature=1.3, top_k=5, min_p=0.05), seed=4),
]


@pytest.fixture
def standin(tiny_base):
    with StandIn(tiny_base) as server:
        yield server


@pytest.fixture
def served(standin, monkeypatch, tmp_path):
    """The process's sampler, as `compute.sampler_url` sets it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(compute.CHOSEN, "sampler", None)
    own = Served(SimpleNamespace(sampler_url=standin.url + "/"), torch.float32)
    own.takes_seeds = True  # as beside a GPU
    monkeypatch.setattr(compute, "_server", own)
    return own


pytestmark = pytest.mark.usefixtures("served")


# --- what is drawn ------------------------------------------------------------------------------------------------


def test_completions_come_in_the_order_asked_with_log_probabilities_of_what_they_were_drawn_from(policy):
    finished = []
    drawn = sample(policy, ASKED, pad_id=1, progress=finished.append)
    assert [len(group) for group in drawn] == finished == [3, 2, 2]
    for request, group in zip(ASKED, drawn, strict=True):
        settings = {name: getattr(request.settings, name) for name in ("temperature", "top_p", "top_k", "min_p")}
        for completion in group:
            assert len(completion.tokens) == 6
            assert not completion.ended
            ids = torch.tensor([[*request.prompt, *completion.tokens]])
            logits = policy(input_ids=ids, use_cache=False).logits[0, len(request.prompt) - 1 : -1].detach()
            found = [processed(row, settings)[token] for row, token in zip(logits, completion.tokens, strict=True)]
            assert completion.logps == pytest.approx([float(logp) for logp in found], abs=1e-4)
    for completion in drawn[0]:  # without top-k and top-p that is what training scores
        logps, _ = naive_scores(policy, ASKED[0].prompt, completion.tokens, SETTINGS.temperature)
        assert completion.logps == pytest.approx(logps.tolist(), abs=1e-4)
    assert compute.CHOSEN["sampler"] == "vLLM 0.32.0"


def test_what_draws_itself_asks_no_server(policy, standin, monkeypatch):
    monkeypatch.setattr(compute, "_server", None)
    sample(policy, ASKED, pad_id=1)
    assert standin.asked == []


def test_a_completion_ends_with_any_of_its_stop_tokens_and_with_no_other(policy):
    [[free]] = sample(policy, [Request([5, 6], 1, ("a",), SETTINGS)], pad_id=1)
    stops = (free.tokens[3], 250)
    [[cut]] = sample(policy, [Request([5, 6], 1, ("a",), SETTINGS, stops)], pad_id=1)
    assert cut.tokens == free.tokens[: free.tokens.index(free.tokens[3]) + 1]
    assert (cut.ended, free.ended) == (True, False)


def test_every_setting_goes_with_the_question_so_that_none_is_the_servers_own(policy, standin):
    request = replace(ASKED[2], stop_ids=(1, 7))
    sample(policy, [request], pad_id=1)
    asked = standin.bodies("/v1/completions")[-1]
    assert asked.pop("model") not in ("", "base")
    assert 0 <= asked.pop("seed") < 2**63
    assert asked == {
        "prompt": [9, 8], "n": 2, "max_tokens": 6, "temperature": 1.3, "top_p": 1.0, "top_k": 5, "min_p": 0.05,
        "repetition_penalty": 1.0, "stop_token_ids": [1, 7], "ignore_eos": True, "logprobs": 1,
        "return_token_ids": True,
    }  # fmt: skip


def test_each_question_has_a_seed_of_its_own_by_which_it_is_answered_alike_whatever_is_asked_beside_it(policy):
    together = sample(policy, ASKED, pad_id=1)
    assert sample(policy, ASKED[1:2], pad_id=1) == together[1:2]
    assert sample(policy, [replace(ASKED[1], key=("d",))], pad_id=1) != together[1:2]
    assert sample(policy, [replace(ASKED[1], seed=5)], pad_id=1) != together[1:2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="of a process without CUDA")
def test_without_a_gpu_no_seed_is_sent(policy, standin, served):
    served.takes_seeds = Served(SimpleNamespace(sampler_url=""), torch.float32).takes_seeds
    sample(policy, ASKED, pad_id=1)
    assert not any("seed" in body for body in standin.bodies("/v1/completions"))


# --- adapters -----------------------------------------------------------------------------------------------------


def test_the_server_answers_as_the_policy_is_now_not_as_it_was(policy, standin):
    for _ in range(3):
        [group] = sample(policy, ASKED[:1], pad_id=1)
        for completion in group:
            logps, _ = naive_scores(policy, ASKED[0].prompt, completion.tokens, SETTINGS.temperature)
            assert completion.logps == pytest.approx(logps.tolist(), abs=1e-4)
        with torch.no_grad():
            for tensor in adapter_tensors(policy).values():
                tensor.mul_(-1.5)
    loaded, unloaded = (standin.bodies(f"/v1/{what}_lora_adapter") for what in ("load", "unload"))
    for part in ("lora_name", "lora_path"):
        assert len({body[part] for body in loaded}) == 3
    assert [body["lora_name"] for body in unloaded] == [body["lora_name"] for body in loaded]


def test_no_adapter_stays_on_the_disk(policy, tmp_path):
    sample(policy, ASKED, pad_id=1)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_a_model_without_adapter_is_the_base_model_itself(tiny_base, standin):
    base = open_base(tiny_base, torch.float32)
    [group] = sample(base, ASKED[:1], pad_id=1)
    assert {body["model"] for body in standin.bodies("/v1/completions")} == {"base"}
    assert standin.bodies("/v1/load_lora_adapter") == []
    logps, _ = naive_scores(base, ASKED[0].prompt, group[0].tokens, SETTINGS.temperature)
    assert group[0].logps == pytest.approx(logps.tolist(), abs=1e-4)


def test_a_policy_in_training_is_back_in_it_afterwards(policy):
    policy.train()
    sample(policy, ASKED, pad_id=1)
    assert policy.training


# --- what goes wrong ----------------------------------------------------------------------------------------------


def dies(standin):
    standin.act = lambda path, body: (None, "") if path == "/v1/completions" and body["max_tokens"] == 6 else None


def is_away(standin):
    standin.http.shutdown()
    standin.http.server_close()


def has_another_model(standin):
    torch.manual_seed(9)
    with torch.no_grad():
        for tensor in standin.models["base"].parameters():
            tensor.copy_(0.3 * torch.randn_like(tensor))
    standin.load = lambda lora_name, lora_path: standin.models.update({lora_name: standin.models["base"]}) or (200, "")


def answers_fewer(standin):
    def act(path, body):
        return standin.answer(path, body | {"n": body["n"] - 1}) if body.get("n") == 3 else None

    standin.act = act


def takes_lower_ranks(standin):
    standin.rank = 1


def takes_no_adapters(standin):
    standin.runtime = False


def refuses_the_prompt(standin):
    said = "This model's maximum context length is 8 tokens."
    standin.act = lambda path, body: refusal(400, said) if path == "/v1/completions" else None


def has_no_model(standin):
    standin.models.clear()


def is_not_healthy(standin):
    standin.act = lambda path, body: (503, "") if path == "/health" else None


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (dies, r"/v1/completions: found no answer \(ConnectionError\); expected a vLLM server"),
        (is_away, r"/health: found no answer \(ConnectionError\); expected a vLLM server"),
        (is_not_healthy, r"/health: found HTTP 503: ; expected 200"),
        (has_no_model, r"/v1/models: found no base model"),
        (has_another_model, r"found another model: tokens that it drew differ by \d.* nats each"),
        (answers_fewer, r"/v1/completions: found 2 whole completions of 2; expected the 3 that were asked for"),
        (takes_lower_ranks, r"found HTTP 400: LoRA rank 2 is greater than max_lora_rank 1.* needs --enable-lora --max"),
        (takes_no_adapters, r"/v1/load_lora_adapter: found HTTP 404: .*Not Found.*VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"),
        (refuses_the_prompt, r"found HTTP 400: This model's maximum context length is 8 tokens"),
    ],
)
def test_what_goes_wrong_is_one_error_that_says_what_to_do(policy, standin, tmp_path, fault, told):
    fault(standin)
    with pytest.raises(InputError, match=rf"http://127\.0\.0\.1:\d+.*{told}") as caught:
        sample(policy, ASKED, pad_id=1)
    assert len(caught.value.problems) == 1
    assert "`dvc repro`: training goes on from its last checkpoint" in str(caught.value)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_tokens_beyond_the_vocabulary_are_another_models(policy, standin):
    def act(path, body):
        if path != "/v1/completions":
            return None
        choice = {"index": 0, "token_ids": [5, 300], "logprobs": {"token_logprobs": [-1.0, -1.0]}}
        return 200, {"choices": [choice | {"finish_reason": "length"}]}

    standin.act = act
    with pytest.raises(InputError, match="found another model"):
        sample(policy, ASKED, pad_id=1)


def test_several_processes_start_no_server_each(policy, monkeypatch):
    monkeypatch.setattr(compute, "_server", Served(SimpleNamespace(sampler_url=""), torch.float32))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"compute.sampler_url: found no address, and several processes"):
        sample(policy, ASKED, pad_id=1)
