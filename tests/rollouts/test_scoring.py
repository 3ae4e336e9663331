"""The packed fast path against one completion at a time: equal log-probabilities, entropies and gradients."""

import pytest
import torch

from polychrome.models.policy import adapter_tensors
from polychrome.rollouts import scoring
from polychrome.rollouts.packing import pack
from polychrome.rollouts.scoring import CompletionScorer

from .naive import naive_scores, random_groups

PAD = 0
SIZES = [3, 1, 6, 2, 4, 5]


def naive_table(policy, groups, temperature=1.0):
    """As the scorer answers: (N, T) log-probabilities and entropies, zero beyond an end."""
    scored = [naive_scores(policy, group.prompt, c, temperature) for group in groups for c in group.completions]
    return tuple(torch.nn.utils.rnn.pad_sequence(part, batch_first=True) for part in zip(*scored, strict=True))


def gradients(policy, logps):
    """Flat gradient of a loss that weighs every token differently."""
    weights = torch.linspace(-1, 1, logps.numel()).view_as(logps)
    tensors = list(adapter_tensors(policy).values())
    return torch.cat([g.flatten() for g in torch.autograd.grad((weights * logps).sum(), tensors)])


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("row_tokens", [1, 100, 1000])
def test_packed_scores_equal_one_at_a_time(policy, row_tokens, temperature):
    groups = random_groups(SIZES)
    packed = pack(groups, PAD, row_tokens)
    assert len(packed.input_ids) < len(SIZES)  # some groups share a row
    with torch.no_grad():
        logps, entropies = CompletionScorer(policy)(packed, temperature)
        expected_logps, expected_entropies = naive_table(policy, groups, temperature)
    torch.testing.assert_close(logps, expected_logps, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(entropies, expected_entropies, rtol=1e-5, atol=1e-5)
    assert (logps[packed.completion_mask == 0] == 0).all()


def test_the_gradient_of_packed_scores_equals_that_of_one_at_a_time(policy):
    groups = random_groups(SIZES)
    fast = gradients(policy, CompletionScorer(policy)(pack(groups, PAD, 100), 0.7)[0])
    slow = gradients(policy, naive_table(policy, groups, 0.7)[0])
    assert slow.norm() > 0.1
    assert (fast - slow).norm() < 1e-5 * slow.norm()


def test_logits_in_small_checkpointed_chunks_give_the_same_scores_and_gradients(policy, monkeypatch):
    packed = pack(random_groups(SIZES), PAD)
    scorer = CompletionScorer(policy)
    logps, entropies = scorer(packed, 0.7)
    whole = gradients(policy, logps)
    heights = []
    head = policy.get_output_embeddings()
    hook = head.register_forward_hook(lambda module, inputs, output: heights.append(len(output)))
    monkeypatch.setattr(scoring, "LOGIT_ROWS", 7)
    chunked_logps, chunked_entropies = scorer(packed, 0.7)
    chunked = gradients(policy, chunked_logps)
    hook.remove()
    assert max(heights) == 7
    assert sum(heights) == 2 * len(packed.targets)  # forward, and once more in the backward pass: checkpointed
    torch.testing.assert_close(chunked_logps, logps, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(chunked_entropies, entropies, rtol=1e-6, atol=1e-6)
    assert (chunked - whole).norm() < 1e-5 * whole.norm()


def test_entropies_carry_no_gradient_and_log_probabilities_do(policy):
    logps, entropies = CompletionScorer(policy)(pack(random_groups([2]), PAD))
    assert logps.requires_grad
    assert not entropies.requires_grad


def test_a_base_model_without_adapters_is_scored_as_it_is(policy):
    groups = random_groups([2, 3])
    base = policy.unload()
    with torch.no_grad():
        logps, _ = CompletionScorer(base)(pack(groups, PAD))
        expected, _ = naive_table(base, groups)
    torch.testing.assert_close(logps, expected, rtol=1e-5, atol=1e-5)
