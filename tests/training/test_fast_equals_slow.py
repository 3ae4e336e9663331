"""Twenty GRPO steps on the fast path against the slow one: transformers' forward pass, one completion at a time."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from polychrome.rollouts import engine
from tests.rollouts.naive import naive_scores

from .tiny import grpo


class OneAtATime(nn.Module):
    """The scorer without packing, shared prompts, hand-written backward passes or a trunk."""

    def __init__(self, policy):
        super().__init__()
        self.policy = policy

    def forward(self, packed, temperature=1.0, trunk=None):
        scored = []
        for i, owner in enumerate(packed.owner):
            prompt = packed.input_ids[packed.prompts[owner, : packed.prompt_lengths[owner]]].tolist()
            completion = packed.targets[packed.completion == i].tolist()
            scored.append(naive_scores(self.policy, prompt, completion, temperature))
        return (*(pad_sequence(part, batch_first=True) for part in zip(*scored, strict=True)), None)


def trained(run):
    return [{name: value for name, value in row.items() if name != "prompt_rewards"} for row in run.train().history]


@pytest.mark.parametrize("changes", [{}, {"repeats": 2, "loss_type": "grpo"}], ids=["on policy", "two steps a batch"])
def test_twenty_grpo_steps_have_the_losses_of_the_naive_path(make_run, pairs, monkeypatch, changes):
    method = {"beta": 0.2, "repeats": 1} | changes
    epochs = 20 // method["repeats"]
    fast = trained(make_run(grpo(**method), pairs=pairs[:4], epochs=epochs, learning_rate=1e-3))
    monkeypatch.setattr(engine, "has_stack", lambda model: False)
    slow_run = make_run(grpo(**method), pairs=pairs[:4], epochs=epochs, learning_rate=1e-3)
    slow_run.scorer = OneAtATime(slow_run.policy)
    slow_run.context = replace(slow_run.context, scorer=slow_run.scorer)
    slow = trained(slow_run)
    assert len(fast) == len(slow) == 20
    for name in ("loss", "policy_loss", "kl", "grad_norm", "reward", "entropy", "completion_length"):
        found, expected = (torch.tensor([row[name] for row in rows]) for rows in (fast, slow))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")
    assert abs(fast[-1]["kl"]) > 1e-4  # it went somewhere


def test_sampler_and_trainer_agree_up_to_rounding_in_float32(make_run, pairs):
    for row in trained(make_run(grpo(), pairs=pairs, epochs=2)):
        assert 0 <= row["sampler_gap"] <= row["sampler_gap_max"] < 1e-4
        assert abs(row["sampler_kl"]) < 1e-6
