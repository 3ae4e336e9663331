"""Base models and adapters: opened, adapted, merged, switched and saved."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from polychrome.errors import InputError
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
    open_tokenizer,
    reference_active,
    save_adapter,
    set_training,
)

LORA = SimpleNamespace(rank=2, alpha=4, dropout=0.0, layers=0, targets=["q_proj", "v_proj", "down_proj"])
IDS = torch.tensor([[5, 6, 7, 8, 9]])


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits.float()


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same_weights(model, before):
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def fresh(tiny_base, dtype=torch.float32):
    return open_base(tiny_base, dtype)


@pytest.fixture
def saved(policy, tmp_path):
    """The policy's adapter on disk."""
    save_adapter(policy, tmp_path / "adapter", {"arm": "baseline", "seed": 42})
    return tmp_path / "adapter"


@pytest.fixture
def both(tiny_base, saved):
    """A policy opened with its reference, and since then moved away from it."""
    policy = open_adapter(fresh(tiny_base), saved, trainable=True, with_reference=True)
    with torch.no_grad():
        for tensor in adapter_tensors(policy).values():
            tensor.mul_(-2)
    return policy


# --- opening ------------------------------------------------------------------------------------------------------


def test_a_base_model_opens_frozen_in_the_dtype_asked_for(tiny_base):
    base = fresh(tiny_base, torch.bfloat16)
    assert {p.dtype for p in base.parameters()} == {torch.bfloat16}
    assert not any(p.requires_grad for p in base.parameters())
    assert not base.training


def test_what_is_missing_is_told_with_its_remedy(tiny_base, tmp_path):
    with pytest.raises(InputError, match=r"no base model.*dvc repro assets"):
        open_base(tmp_path, torch.float32)
    with pytest.raises(InputError, match=r"no adapter.*adapter_model\.safetensors.*Train it first"):
        open_adapter(fresh(tiny_base), tmp_path, trainable=False)


def test_four_bit_weights_without_cuda_are_refused(tiny_base, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"assets\.load_in_4bit: found true without CUDA"):
        open_base(tiny_base, torch.float32, load_in_4bit=True)


@pytest.mark.parametrize("name", ["chat_template", "pad_token", "eos_token"])
def test_a_tokenizer_without_template_pad_or_end_token_is_refused(tiny_base, tmp_path, name):
    directory = shutil.copytree(tiny_base, tmp_path / "base")
    (directory / "chat_template.jinja").unlink() if name == "chat_template" else None
    config = json.loads((directory / "tokenizer_config.json").read_text())
    config.pop(name, None)
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    (directory / "special_tokens_map.json").unlink(missing_ok=True)
    with pytest.raises(InputError, match=f":{name}: found nothing; expected a tokenizer with a {name}"):
        open_tokenizer(directory)


# --- adapting -----------------------------------------------------------------------------------------------------


def test_a_new_adapter_starts_as_the_base_model_and_only_its_tensors_learn(tiny_base):
    base = fresh(tiny_base)
    expected = logits(base)
    policy = add_adapter(base, LORA, seed=3)
    assert torch.equal(logits(policy), expected)
    assert adapter_tensors(policy).keys() == {n for n, _ in policy.named_parameters() if "lora_" in n}
    assert len(adapter_tensors(policy)) == 2 * 2 * 3  # A and B, two layers, three targets


def test_the_draw_of_an_adapter_depends_on_the_seed_alone_and_leaves_the_global_random_state(tiny_base):
    def drawn(seed, noise):
        base = fresh(tiny_base)
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        tensors = adapter_tensors(add_adapter(base, LORA, seed))
        assert torch.equal(torch.get_rng_state(), before)
        return {name: tensor.detach().clone() for name, tensor in tensors.items()}

    first, again, other = drawn(3, noise=0), drawn(3, noise=1), drawn(4, noise=0)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(not torch.equal(first[name], other[name]) for name in first if "lora_A" in name)


def test_layers_1_adapts_only_the_last_layer_and_targets_must_be_there(tiny_base):
    policy = add_adapter(fresh(tiny_base), SimpleNamespace(**{**vars(LORA), "layers": 1}), seed=3)
    assert len(adapter_tensors(policy)) == 2 * 3
    assert all(".layers.1." in name for name in adapter_tensors(policy))
    with pytest.raises(InputError, match=r"params\.yaml:lora\.targets: found .*no_such"):
        add_adapter(fresh(tiny_base), SimpleNamespace(**{**vars(LORA), "targets": ["no_such"]}), seed=3)


# --- merging ------------------------------------------------------------------------------------------------------


def test_merged_answers_as_the_adapter_does_and_afterwards_every_bit_is_as_it_was(policy, tiny_base):
    before, answers, learning = weights(policy), logits(policy), adapter_tensors(policy).keys()
    with merged(policy) as model:
        assert not isinstance(model, PeftModel)
        torch.testing.assert_close(logits(model), answers, rtol=1e-4, atol=1e-4)
        changed = {n: t for n, t in weights(model).items() if "base_layer.weight" in n}
        assert all(not torch.equal(t, before[f"base_model.model.{n}"]) for n, t in changed.items())
        assert len(changed) == 6
    assert (answers - logits(fresh(tiny_base))).abs().max() > 0.1  # the adapter does something
    assert_same_weights(policy, before)
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
    assert_same_weights(policy, before)
    assert torch.equal(logits(policy), answers)


def test_over_a_bfloat16_base_the_adapter_stays_apart_in_float32(tiny_base, saved):
    """Added to a coarser weight a small update would be rounded away, so nothing is merged and nothing changes."""
    policy = open_adapter(fresh(tiny_base, torch.bfloat16), saved, trainable=False)
    assert {p.dtype for n, p in policy.named_parameters() if "lora_" in n} == {torch.float32}
    before, adapted = weights(policy), logits(policy)
    with merged(policy) as model:
        assert_same_weights(policy, before)
        assert torch.equal(logits(model), adapted)


def test_merging_takes_the_adapter_that_is_active_and_a_model_without_is_yielded_as_it_is(both, tiny_base):
    with reference_active(both):
        expected = logits(both)
        with merged(both) as model:
            torch.testing.assert_close(logits(model), expected, rtol=1e-4, atol=1e-4)
    with merged(both) as model:
        assert (logits(model) - expected).abs().max() > 0.1
    base = fresh(tiny_base)
    with merged(base) as model:
        assert model is base


# --- policy and reference -----------------------------------------------------------------------------------------


def test_the_reference_answers_as_it_was_opened_however_the_policy_moves_and_what_learns_stays(both, saved, tiny_base):
    start, moved = logits(open_adapter(fresh(tiny_base), saved, trainable=False)), logits(both)
    learning = {name: p.requires_grad for name, p in both.named_parameters()}
    assert (moved - start).abs().max() > 0.1
    with reference_active(both):
        assert torch.equal(logits(both), start)
        assert {name: p.requires_grad for name, p in both.named_parameters()} == learning
    assert torch.equal(logits(both), moved)
    assert {name: p.requires_grad for name, p in both.named_parameters()} == learning
    assert {name for name, on in learning.items() if on} == {n for n in learning if f".{POLICY}." in n}
    assert any(f".{REFERENCE}." in name for name in learning)
    with pytest.raises(RuntimeError, match="inside"), reference_active(both):
        raise RuntimeError("inside")
    assert torch.equal(logits(both), moved)


def test_no_gradient_reaches_the_reference_and_every_tensor_of_the_policy_gets_one(both):
    both(input_ids=IDS, use_cache=False).logits.square().mean().backward()
    for name, tensor in both.named_parameters():
        learns = f".{POLICY}." in name
        assert (tensor.grad is not None and bool(tensor.grad.norm() > 0)) is learns


def test_policy_and_reference_share_one_base_in_memory(tiny_base, saved):
    base = fresh(tiny_base)
    storage = {p.data_ptr() for p in base.parameters()}
    policy = open_adapter(base, saved, trainable=True, with_reference=True)
    assert {p.data_ptr() for n, p in policy.named_parameters() if "lora_" not in n} == storage
    counts = [sum(p.numel() for n, p in policy.named_parameters() if f".{name}." in n) for name in (POLICY, REFERENCE)]
    assert counts[0] == counts[1] > 0


def test_without_a_reference_it_says_so_and_opened_to_answer_nothing_learns(policy, saved, tiny_base):
    with pytest.raises(ValueError, match="no reference adapter"), reference_active(policy):
        pass
    assert adapter_tensors(open_adapter(fresh(tiny_base), saved, trainable=False)) == {}


# --- saving -------------------------------------------------------------------------------------------------------


def test_a_saved_adapter_opens_with_peft_alone_and_answers_the_same(policy, saved, tiny_base):
    assert torch.equal(logits(PeftModel.from_pretrained(fresh(tiny_base), saved)), logits(policy))


def test_only_safetensors_and_json_are_saved_the_same_bytes_twice_and_no_path_of_this_machine(
    policy, saved, tiny_base, tmp_path
):
    assert {f.name for f in saved.iterdir()} == {"adapter_model.safetensors", "adapter_config.json", RECIPE}
    assert json.loads((saved / RECIPE).read_text()) == {"arm": "baseline", "seed": 42}
    text = (saved / "adapter_config.json").read_text()
    config = json.loads(text)
    assert str(tiny_base) not in text
    assert config["base_model_name_or_path"] == "assets/base"
    assert config["target_modules"] == sorted(LORA.targets)  # a set in memory: its order changes from run to run
    save_adapter(policy, tmp_path / "again", {"seed": 42, "arm": "baseline"})
    for file in saved.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_the_policy_alone_is_saved_and_nobody_is_asked_or_warned(both, tmp_path, monkeypatch, recwarn):
    """An adapter opened from disk names its base as the workspace does; no hub is asked what that may be."""
    monkeypatch.setattr("peft.utils.save_and_load.check_file_exists_on_hf_hub", lambda *a, **k: pytest.fail("asked"))
    recwarn.clear()
    save_adapter(both, tmp_path / "policy", {})
    assert [str(w.message) for w in recwarn] == []
    files = {str(f.relative_to(tmp_path / "policy")) for f in (tmp_path / "policy").rglob("*")}
    assert files == {"adapter_model.safetensors", "adapter_config.json", RECIPE}
    found = load_file(tmp_path / "policy/adapter_model.safetensors")
    ours = {name.replace(f".{POLICY}", ""): t for name, t in adapter_tensors(both).items()}
    assert found.keys() == ours.keys()
    assert all(torch.equal(found[name], ours[name]) for name in found)


def test_training_is_switched_for_every_module_as_pytorch_does(policy):
    for training in (True, False, True):
        set_training(policy, training)
        assert {module.training for module in policy.modules()} == {training}
