"""The same tensors into TRL's loss and into ours: equal value, equal gradient, for every loss type."""

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import nanstd

from polychrome.objectives.grpo import group_advantages, grpo_terms

LENGTHS = torch.tensor([6, 1, 4, 2, 6, 3])
MAX_COMPLETION_LENGTH = 9


def tensors():
    """Six completions of unequal lengths, some ratios far outside the clip range."""
    generator = torch.Generator().manual_seed(0)
    shape = (len(LENGTHS), int(LENGTHS.max()))
    logps, old, reference = (-3 * torch.rand(shape, generator=generator) for _ in range(3))
    mask = (torch.arange(shape[1]) < LENGTHS[:, None]).float()
    return logps, old, reference, torch.randn(shape[0], generator=generator), mask


def trl_loss(logps, old, reference, advantages, mask, loss_type, beta, epsilon_high):
    """GRPOTrainer._compute_loss on a trainer that has only what the method reads, and whose model answers ``logps``."""
    trainer = object.__new__(GRPOTrainer)
    trainer.__dict__.update(
        aux_loss_enabled=False,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level="token",
        use_vllm=False,
        _entropy_bonus_enabled=False,
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1),
        accelerator=SimpleNamespace(gather=lambda x: x, reduce=lambda x, reduction: x, num_processes=1),
        model=torch.nn.Identity().train(),
        current_gradient_accumulation_steps=1,
        max_completion_length=MAX_COMPLETION_LENGTH,
        loss_type=loss_type,
        beta=beta,
        epsilon_low=0.2,
        epsilon_high=epsilon_high,
        _metrics={"train": defaultdict(list)},
        _get_per_token_logps_and_entropies=lambda *args, **kwargs: (logps, torch.zeros_like(logps), None),
    )
    ids = torch.zeros_like(mask, dtype=torch.long)
    inputs = {
        "prompt_ids": ids[:, :1], "prompt_mask": ids[:, :1] + 1, "completion_ids": ids, "completion_mask": mask,
        "advantages": advantages, "old_per_token_logps": old, "ref_per_token_logps": reference,
        "num_items_in_batch": mask.sum(),
    }  # fmt: skip
    loss = trainer._compute_loss(trainer.model, inputs)
    return loss, trainer._metrics["train"]


@pytest.mark.parametrize("epsilon_high", [0.2, 0.4])
@pytest.mark.parametrize("beta", [0.0, 0.1])
@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dr_grpo", "dapo"])
def test_loss_gradient_and_what_is_logged_agree_with_trl(loss_type, beta, epsilon_high):
    logps, *rest = tensors()
    theirs_logps, ours_logps = (logps.clone().requires_grad_() for _ in range(2))
    theirs, logged = trl_loss(theirs_logps, *rest, loss_type, beta, epsilon_high)
    terms = grpo_terms(
        ours_logps, *rest, loss_type=loss_type, epsilon=0.2, epsilon_high=epsilon_high,
        max_completion_length=MAX_COMPLETION_LENGTH, sequences=len(LENGTHS), tokens=float(LENGTHS.sum()),
    )  # fmt: skip
    ours = terms.policy + beta * terms.kl
    theirs.backward()
    ours.backward()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours_logps.grad, theirs_logps.grad, rtol=1e-5, atol=1e-5)
    assert ours_logps.grad.abs().max() > 1e-2  # the comparison is not one of zeros
    assert terms.clip_fraction.item() == pytest.approx(logged["clip_ratio/region_mean"][0])
    if beta and loss_type in ("bnpo", "dapo"):  # there our KL is the token mean that TRL logs
        assert terms.kl.item() == pytest.approx(logged["kl"][0], rel=1e-5)


def test_advantages_agree_with_trls_formula_and_its_bessel_corrected_deviation():
    rewards = torch.rand(5, 4, generator=torch.Generator().manual_seed(1))
    centred = rewards - rewards.mean(-1, keepdim=True)
    torch.testing.assert_close(group_advantages(rewards), centred / (nanstd(rewards, dim=1)[:, None] + 1e-4))
    torch.testing.assert_close(group_advantages(rewards, "none"), centred)
