"""Base models and adapters: opened, adapted, merged, switched and saved."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from polychrome.engine.packing import Group, pack
from polychrome.engine.sampler import Request, sample
from polychrome.engine.sampling import SamplingSettings
from polychrome.engine.scoring import CompletionScorer
from polychrome.errors import InputError
from polychrome.models.assets import make_base
from polychrome.models.policy import (
    POLICY,
    RECIPE,
    REFERENCE,
    adapter_tensors,
    add_adapter,
    lora_layers,
    merged,
    open_adapter,
    open_base,
    reference_active,
    save_adapter,
    set_training,
)
from tests.engine.families import FAMILIES, opened
from tests.tiny import LORA

IDS = torch.tensor([[5, 6, 7, 8, 9]])


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits.float()


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(model, before):
    after = model.state_dict()
    return after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)


@pytest.fixture
def base(tiny_base):
    return open_base(tiny_base, torch.float32)


# --- opening and adapting -------------------------------------------------------------------------------------------


def test_a_base_model_opens_frozen_in_the_dtype_asked_for(tiny_base):
    base = open_base(tiny_base, torch.bfloat16)
    assert {(p.dtype, p.requires_grad) for p in base.parameters()} == {(torch.bfloat16, False)}
    assert not base.training


def test_what_cannot_be_opened_is_reported_with_its_remedy(tiny_base, base, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"no base model.*dvc repro assets"):
        open_base(tmp_path, torch.float32)
    with pytest.raises(InputError, match=r"no adapter.*adapter_model\.safetensors.*Train it first"):
        open_adapter(base, tmp_path, trainable=False)
    monkeypatch.setattr("polychrome.models.policy.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"assets\.load_in_4bit: found true without bitsandbytes.*quantized"):
        open_base(tiny_base, torch.float32, load_in_4bit=True)


def test_a_new_adapter_starts_as_the_base_model_and_only_its_tensors_learn(base):
    expected = logits(base)
    policy = add_adapter(base, LORA, seed=3)
    assert torch.equal(logits(policy), expected)
    assert adapter_tensors(policy).keys() == {n for n, _ in policy.named_parameters() if "lora_" in n}
    assert len(adapter_tensors(policy)) == 2 * 2 * 3  # A and B, two layers, three targets


def test_the_draw_of_an_adapter_depends_on_the_seed_alone_and_leaves_the_global_random_state(tiny_base):
    def drawn(seed, noise):
        base = open_base(tiny_base, torch.float32)
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        tensors = adapter_tensors(add_adapter(base, LORA, seed))
        assert torch.equal(torch.get_rng_state(), before)
        return tensors

    first, again, other = drawn(3, noise=0), drawn(3, noise=1), drawn(4, noise=0)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(not torch.equal(first[name], other[name]) for name in first if "lora_A" in name)


@pytest.mark.parametrize(
    ("targets", "layers", "message"),
    [
        (["q_proj", "v_porj"], 0, "found v_porj, which no linear layer to adapt is called"),
        (["q_proj", "roj"], 0, "found roj, which"),  # a name is a whole word
        (["q_proj", "embed_tokens"], 0, "found embed_tokens, which"),
        (["q_proj", "input_layernorm"], 0, "found q_proj, input_layernorm, of which .*not supported"),
        (["layers.0.self_attn.q_proj", "v_proj"], 1, r"found layers\.0\.self_attn\.q_proj, which"),
        (["q_proj", "lm_head"], 0, "found lm_head, whose weights are those of the embedding too"),
    ],
)
def test_every_target_names_a_linear_layer_or_one_error_lists_those_there_are(base, targets, layers, message):
    settings = SimpleNamespace(**vars(LORA) | {"targets": targets, "layers": layers})
    listed = "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
    with pytest.raises(InputError, match=rf"(?s)lora\.targets: {message}.*; expected .* which are {listed}\. "):
        add_adapter(base, settings, seed=1)


def test_a_target_may_be_more_than_a_last_name_and_a_head_of_its_own_may_be_adapted():
    model = opened(FAMILIES["llama"], adapted=False)  # whose head is not the embedding
    targets = ["layers.0.self_attn.q_proj", "lm_head"]
    policy = add_adapter(model, SimpleNamespace(**vars(LORA) | {"targets": targets}), seed=1).eval()
    assert len(list(lora_layers(policy))) == 2
    with torch.no_grad():
        for tensor in adapter_tensors(policy).values():
            tensor.add_(0.3)
    [[drawn]] = sample(policy, [Request([5, 6, 7], 1, ("x",), SamplingSettings(1.0, 6))], pad_id=0)
    scored, _, _ = CompletionScorer(policy)(pack([Group([5, 6, 7], [drawn.tokens])]))
    torch.testing.assert_close(scored[0], torch.tensor(drawn.logps), rtol=1e-4, atol=1e-4)


def test_layers_1_adapts_only_the_last_layer_and_targets_must_be_there(tiny_base, base):
    policy = add_adapter(base, SimpleNamespace(**{**vars(LORA), "layers": 1}), seed=3)
    assert len(adapter_tensors(policy)) == 2 * 3
    assert all(".layers.1." in name for name in adapter_tensors(policy))
    absent = SimpleNamespace(**{**vars(LORA), "targets": ["no_such"]})
    with pytest.raises(InputError, match=r"params\.yaml:lora\.targets: found .*no_such"):
        add_adapter(open_base(tiny_base, torch.float32), absent, seed=3)


# --- merging ------------------------------------------------------------------------------------------------------


def test_merged_answers_as_the_adapter_does_and_afterwards_every_bit_is_as_it_was(policy, base):
    before, answers, learning = weights(policy), logits(policy), adapter_tensors(policy).keys()
    with merged(policy) as model:
        assert not isinstance(model, PeftModel)
        torch.testing.assert_close(logits(model), answers, rtol=1e-4, atol=1e-4)
        changed = {n: t for n, t in weights(model).items() if "base_layer.weight" in n}
        assert all(not torch.equal(t, before[f"base_model.model.{n}"]) for n, t in changed.items())
        assert len(changed) == 6
    assert (answers - logits(base)).abs().max() > 0.1  # the adapter does something
    assert same(policy, before)
    assert torch.equal(logits(policy), answers)
    assert adapter_tensors(policy).keys() == learning


@pytest.mark.parametrize("half_way", [False, True], ids=["inside", "half-way through merging"])
def test_an_exception_restores_the_weights_too(policy, monkeypatch, half_way):
    before, answers = weights(policy), logits(policy)
    with monkeypatch.context() as broken:
        if half_way:
            broken.setattr(list(lora_layers(policy))[-1], "scaling", {})
        with pytest.raises(KeyError), merged(policy):
            raise KeyError("inside")
    assert same(policy, before)
    assert torch.equal(logits(policy), answers)


def test_over_a_bfloat16_base_the_adapter_stays_apart_in_float32(tiny_base, saved):
    """Added to a coarser weight a small update would be rounded away, so nothing is merged and nothing changes."""
    policy = open_adapter(open_base(tiny_base, torch.bfloat16), saved, trainable=False)
    assert {p.dtype for n, p in policy.named_parameters() if "lora_" in n} == {torch.float32}
    before, adapted = weights(policy), logits(policy)
    with merged(policy) as model:
        assert same(policy, before)
        assert torch.equal(logits(model), adapted)


def test_merging_takes_the_adapter_that_is_active_and_a_model_without_is_yielded_as_it_is(both, base):
    with reference_active(both):
        expected = logits(both)
        with merged(both) as model:
            torch.testing.assert_close(logits(model), expected, rtol=1e-4, atol=1e-4)
    with merged(both) as model:
        assert (logits(model) - expected).abs().max() > 0.1
    with merged(base) as model:
        assert model is base


# --- policy and reference -----------------------------------------------------------------------------------------


def test_the_reference_answers_as_it_was_opened_however_the_policy_moves_and_what_learns_stays(both, saved, base):
    opened = open_adapter(base, saved, trainable=False)
    assert adapter_tensors(opened) == {}  # opened to answer, it learns nothing
    with pytest.raises(ValueError, match="no reference adapter"), reference_active(opened):
        pass
    start, moved, learning = logits(opened), logits(both), adapter_tensors(both).keys()
    assert (moved - start).abs().max() > 0.1
    assert learning == {name for name, _ in both.named_parameters() if f".{POLICY}." in name}
    with reference_active(both):
        assert torch.equal(logits(both), start)
        assert adapter_tensors(both).keys() == learning
    with pytest.raises(RuntimeError, match="inside"), reference_active(both):
        raise RuntimeError("inside")
    assert torch.equal(logits(both), moved)
    assert adapter_tensors(both).keys() == learning


def test_every_tensor_of_the_policy_gets_a_gradient_and_none_of_the_reference(both):
    both(input_ids=IDS, use_cache=False).logits.square().mean().backward()
    for name, tensor in both.named_parameters():
        assert (tensor.grad is not None and bool(tensor.grad.norm() > 0)) is (f".{POLICY}." in name)


def test_policy_and_reference_share_one_base_in_memory(base, saved):
    storage = {p.data_ptr() for p in base.parameters()}
    policy = open_adapter(base, saved, trainable=True, with_reference=True)
    assert {p.data_ptr() for n, p in policy.named_parameters() if "lora_" not in n} == storage
    counts = [sum(p.numel() for n, p in policy.named_parameters() if f".{name}." in n) for name in (POLICY, REFERENCE)]
    assert counts[0] == counts[1] > 0


# --- saving -------------------------------------------------------------------------------------------------------


def test_a_saved_adapter_opens_with_peft_alone_and_answers_the_same(policy, saved, base):
    assert torch.equal(logits(PeftModel.from_pretrained(base, saved)), logits(policy))


def test_what_is_saved_has_the_same_bytes_twice_and_names_no_path_of_this_machine(policy, saved, tiny_base, tmp_path):
    assert json.loads((saved / RECIPE).read_text()) == {"arm": "baseline", "seed": 42}
    config = json.loads(text := (saved / "adapter_config.json").read_text())
    assert str(tiny_base) not in text
    assert config["base_model_name_or_path"] == "assets/base"
    assert config["target_modules"] == sorted(LORA.targets)  # a set in memory: its order changes from run to run
    save_adapter(policy, tmp_path / "again", {"seed": 42, "arm": "baseline"})
    for file in saved.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_an_adapter_names_the_id_of_a_base_that_came_from_the_hub_also_when_it_goes_on_from_another(
    tiny_base, tmp_path, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    cached = tmp_path / "hub/models--some-one--a.model/snapshots" / ("0a" * 20)
    make_base(shutil.copytree(tiny_base, cached), tmp_path / "base")
    make_base(tmp_path / "base", tmp_path / "copied")  # laid out again from its own folder, it is the hub's still
    save_adapter(add_adapter(open_base(tmp_path / "base", torch.float32), LORA, seed=1), tmp_path / "start", {})
    policy = open_adapter(open_base(tmp_path / "copied", torch.float32), tmp_path / "start", trainable=True)
    save_adapter(policy, tmp_path / "end", {})
    for folder in ("start", "end"):
        config = json.loads((tmp_path / folder / "adapter_config.json").read_text())
        assert (config["base_model_name_or_path"], config["revision"]) == ("some-one/a.model", "0a" * 20)


def test_the_policy_alone_is_saved_as_safetensors_and_json_and_nobody_is_asked_or_warned(
    both, tmp_path, monkeypatch, recwarn
):
    """An adapter opened from disk names its base as the workspace does; no hub is asked what that may be."""
    monkeypatch.setattr("peft.utils.save_and_load.check_file_exists_on_hf_hub", lambda *a, **k: pytest.fail("asked"))
    recwarn.clear()
    save_adapter(both, folder := tmp_path / "policy", {})
    assert [str(w.message) for w in recwarn] == []
    files = {str(f.relative_to(folder)) for f in folder.rglob("*")}
    assert files == {"adapter_model.safetensors", "adapter_config.json", RECIPE}
    found = load_file(folder / "adapter_model.safetensors")
    ours = {name.replace(f".{POLICY}", ""): t for name, t in adapter_tensors(both).items()}
    assert found.keys() == ours.keys()
    assert all(torch.equal(found[name], ours[name]) for name in found)


def test_training_is_switched_for_every_module_as_pytorch_does(policy):
    for training in (True, False, True):
        set_training(policy, training)
        assert {module.training for module in policy.modules()} == {training}
