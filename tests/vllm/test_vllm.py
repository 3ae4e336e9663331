"""Replies that vLLM itself draws are the policy's, and it opens what `polychrome export` writes."""

import json
import os
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from polychrome.engine import compute, vllm_server
from polychrome.engine.sampler import Request, sample
from polychrome.engine.sampling import SamplingSettings
from polychrome.engine.served import Served
from polychrome.errors import InputError
from polychrome.models.policy import adapter_tensors, open_base
from tests.engine.naive import naive_scores

from .conftest import PROGRAM

SETTINGS = SamplingSettings(temperature=0.7, max_new_tokens=8)
ASKED = [Request([5, 6, 7, 8], 6, ("a",), SETTINGS), Request([9, 8], 3, ("b",), replace(SETTINGS, temperature=1.2))]
CHAT = """
import json, sys
from vllm import LLM, SamplingParams
own = {"dtype": "float32", "enforce_eager": True, "max_model_len": 256, "kv_cache_memory_bytes": 2**28}
llm = LLM(sys.argv[1], **own)
settings = SamplingParams(temperature=0.0, max_tokens=12)
(answer,) = llm.chat([{"role": "user", "content": sys.argv[2]}], settings, use_tqdm=False)
asked, drawn = list(answer.prompt_token_ids), list(answer.outputs[0].token_ids)
open(sys.argv[3], "w").write(json.dumps({"asked": asked, "drawn": drawn}))
"""


@pytest.fixture
def served(tmp_path, monkeypatch):
    """vLLM as this process's sampler, started when it is first asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(vllm_server, "PROGRAM", str(PROGRAM))
    monkeypatch.setitem(compute.CHOSEN, "sampler", None)
    own = Served(SimpleNamespace(sampler_url="", memory_mib=256, threads=1), torch.float32)
    monkeypatch.setattr(compute, "_server", own)
    yield own
    if own.server is not None:
        own.server.stop()


def assert_drawn_from(policy, request, group):
    for completion in group:
        logps, _ = naive_scores(policy, request.prompt, completion.tokens, request.settings.temperature)
        assert completion.logps == pytest.approx(logps.tolist(), abs=1e-3)


def test_vllm_answers_as_the_policy_is_now_with_its_log_probabilities_and_refuses_what_it_should(policy, served):
    for _ in range(2):
        drawn = sample(policy, ASKED, pad_id=1)
        assert [len(group) for group in drawn] == [6, 3]
        for request, group in zip(ASKED, drawn, strict=True):
            assert_drawn_from(policy, request, group)
        assert len({tuple(c.tokens) for c in drawn[0]}) > 1
        with torch.no_grad():
            for tensor in adapter_tensors(policy).values():
                tensor.mul_(-1.5)
    stop = replace(ASKED[0], count=8, stop_ids=tuple(range(0, 250, 2)))
    for completion in sample(policy, [stop], pad_id=1)[0]:
        stopping = [token in stop.stop_ids for token in completion.tokens]
        assert not any(stopping[:-1])
        assert completion.ended == stopping[-1]
    narrow = replace(ASKED[0], settings=SamplingSettings(1.0, 6, top_k=1))
    for completion in sample(policy, [narrow], pad_id=1)[0]:
        assert completion.logps == pytest.approx([0.0] * 6, abs=1e-5)  # of what was drawn from: one token
    with pytest.raises(InputError, match=r"HTTP 400: .*(context|maximum|length)"):
        sample(policy, [replace(ASKED[0], prompt=[5] * 600)], pad_id=1)
    assert_drawn_from(policy, ASKED[0], sample(policy, ASKED[:1], pad_id=1)[0])  # it goes on
    served.server.process.kill()
    with pytest.raises(InputError, match=r"vllm-\d+.log: found vLLM ended by itself"):
        sample(policy, ASKED, pad_id=1)


def test_vllm_answers_as_the_base_model_without_an_adapter(tiny_base, served):
    base = open_base(tiny_base, torch.float32)
    assert_drawn_from(base, ASKED[0], sample(base, ASKED[:1], pad_id=1)[0])


def test_vllm_opens_what_export_writes_and_answers_greedily_as_transformers_does(project, polychrome, tmp_path):
    polychrome("export", "grpo_from_polychromic/seed-42", "out")
    text, told = "Do you like dogs?", tmp_path / "told.json"
    command = [str(PROGRAM), "-c", CHAT, str(project / "out"), text, str(told)]
    quiet = os.environ | {"VLLM_NO_USAGE_STATS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=quiet)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(told.read_text())
    tokenizer = AutoTokenizer.from_pretrained(project / "out")
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False
    )
    assert found["asked"] == tokenizer(asked, add_special_tokens=False)["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(project / "out", dtype=torch.float32)
    ids = torch.tensor([found["asked"]])
    answer = model.generate(ids, do_sample=False, max_new_tokens=12, temperature=None, top_p=None, top_k=None)
    assert found["drawn"] == answer[0, ids.shape[1] :].tolist()
