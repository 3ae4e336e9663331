"""The packed fast path against one completion at a time: equal log-probabilities, entropies and gradients."""

from unittest.mock import patch

import pytest
import torch
from torch import nn

from polychrome.engine import sampler as engine
from polychrome.engine import scoring
from polychrome.engine.packing import Group, pack
from polychrome.engine.sampler import Request, recording_of, sample
from polychrome.engine.sampling import SamplingSettings
from polychrome.engine.scoring import CompletionScorer, tokens_within
from polychrome.engine.stack import bare
from polychrome.models.policy import adapter_tensors, open_adapter, open_base, reference_active, save_adapter

from .families import TARGETS, adapted_in
from .naive import SHARING, naive_scores, random_groups, sharing_groups


@pytest.fixture(params=["stack", "transformers"])
def path(request, monkeypatch):
    """Both ways through the layers: the stack, and transformers' own for architectures it does not know."""
    if request.param == "transformers":
        monkeypatch.setattr(scoring, "has_stack", lambda model: False)
    return request.param


def naive_table(policy, groups, temperature=1.0):
    """As the scorer answers: (N, T) log-probabilities and entropies, zero beyond an end."""
    scored = [naive_scores(policy, group.prompt, c, temperature) for group in groups for c in group.completions]
    return tuple(nn.utils.rnn.pad_sequence(part, batch_first=True) for part in zip(*scored, strict=True))


def gradients(policy, logps):
    """By tensor, of a loss that weighs every token differently."""
    weights, tensors = torch.linspace(-1, 1, logps.numel()).view_as(logps), adapter_tensors(policy)
    found = torch.autograd.grad((weights * logps).sum(), list(tensors.values()))
    return dict(zip(tensors, found, strict=True))


def assert_same_gradients(policy, found, expected):
    fast, slow = gradients(policy, found), gradients(policy, expected)
    for name, gradient in slow.items():
        assert gradient.norm() > 0, name
        assert (fast[name] - gradient).norm() < 1e-5 * gradient.norm(), name


def assert_scores_and_learns(policy, backend, groups, temperature=1.0):
    """As one completion at a time does."""
    packed = pack(groups)
    logps, entropies, _ = CompletionScorer(policy, backend)(packed, temperature)
    expected = naive_table(policy, groups, temperature)
    for found, naive in zip((logps, entropies), expected, strict=True):
        torch.testing.assert_close(found, naive, rtol=1e-5, atol=1e-5)
        assert (found[packed.completion_mask == 0] == 0).all()
    assert (logps.requires_grad, entropies.requires_grad) == (True, False)
    assert_same_gradients(policy, logps, expected[0])


GROUPS = {
    "mixed": random_groups([3, 1, 6, 2, 4, 5]),
    "one-token prompts": random_groups([2, 2], longest_prompt=1),
    "G 16": random_groups([16]),
    "one reply each": random_groups([1] * 8, longest_prompt=40),
    "a prompt of 512": [Group([7 + i % 200 for i in range(512)], [[5, 6], [7]]), *random_groups([16])],
    "replies of one token": [Group([5, 6, 7], [[8], [9]]), Group([4], [[3]])],
}


@pytest.mark.parametrize(("groups", "temperature"), list(zip(GROUPS.values(), [1.0, 0.7] * 3, strict=True)), ids=GROUPS)
def test_packed_scores_and_their_gradient_equal_one_at_a_time(policy, path, backend, groups, temperature):
    bare(policy).config.max_position_embeddings = 600  # the tiny model knows 512, and completions are behind them
    assert_scores_and_learns(policy, backend, groups, temperature)


@pytest.mark.parametrize("headed", ["matrix", "bias"])
def test_logits_in_small_parts_give_the_same_scores_and_gradients(policy, backend, monkeypatch, headed):
    if headed == "bias":
        old = bare(policy).lm_head
        bare(policy).lm_head = nn.Linear(old.in_features, old.out_features).requires_grad_(False)
    packed, scorer = pack(GROUPS["mixed"]), CompletionScorer(policy, backend)
    logps, entropies, _ = scorer(packed, 0.7)
    monkeypatch.setattr(scoring, "LOGIT_ROWS", 7)
    parted_logps, parted_entropies, _ = scorer(packed, 0.7)
    torch.testing.assert_close(parted_logps, logps, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(parted_entropies, entropies, rtol=1e-6, atol=1e-6)
    assert_same_gradients(policy, parted_logps, logps)


def test_nothing_of_the_size_of_vocabulary_times_tokens_is_kept_for_the_backward_pass(policy, backend):
    packed, saved = pack(random_groups([8, 8])), [0]
    weights = {tensor.data_ptr() for tensor in policy.state_dict().values()}

    def keep(tensor):
        saved.append(0 if tensor.data_ptr() in weights else tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        CompletionScorer(policy, backend)(packed)
    assert 0 < max(saved) < len(packed.targets) * bare(policy).config.vocab_size / 2


def test_a_base_model_without_adapters_is_scored_as_it_is(policy, path, backend):
    base = policy.unload()
    with torch.no_grad():
        logps, _, _ = CompletionScorer(base, backend)(pack(GROUPS["mixed"]))
        torch.testing.assert_close(logps, naive_table(base, GROUPS["mixed"])[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_drawn_while_training_and_only_then(tiny_base, backend, training):
    policy, packed = adapted_in(tiny_base, dropout=0.5), pack(random_groups([2, 3]))
    policy.train(training)
    torch.manual_seed(1)
    first, again = (CompletionScorer(policy, backend)(packed)[0] for _ in range(2))
    assert torch.equal(first, again) is not training
    assert all(gradient.norm() > 0 for gradient in gradients(policy, first).values())


def test_a_coarse_base_scores_and_learns_as_transformers_does_up_to_its_own_rounding(backend, tiny_base, saved):
    coarse = open_adapter(open_base(tiny_base, torch.bfloat16), saved, trainable=True)
    logps, _, _ = CompletionScorer(coarse, backend)(pack(GROUPS["mixed"]))
    expected, _ = naive_table(coarse, GROUPS["mixed"])
    assert (logps - expected).abs().mean() < 0.02
    fast, slow = (torch.cat([g.flatten() for g in gradients(coarse, y).values()]) for y in (logps, expected))
    assert torch.nn.functional.cosine_similarity(fast, slow, dim=0) > 0.99


# --- the trunk: layers below the first adapter -----------------------------------------------------------------------


@pytest.fixture
def upper(tiny_base, tmp_path):
    """A policy with its reference, adapted in the last layer only, moved away from where it started."""
    save_adapter(adapted_in(tiny_base, layers=1), tmp_path / "start", {})
    both = open_adapter(open_base(tiny_base, torch.float32), tmp_path / "start", trainable=True, with_reference=True)
    with torch.no_grad():
        for tensor in adapter_tensors(both).values():
            tensor.mul_(-2)
    return both


def test_the_policy_scores_and_learns_bit_for_bit_the_same_on_the_trunk_of_the_reference(upper, backend):
    scorer, packed = CompletionScorer(upper, backend), pack(GROUPS["mixed"])
    logps, _, _ = scorer(packed, 0.7)
    with torch.no_grad(), reference_active(upper):
        reference, _, trunk = scorer(packed, 0.7)
    assert not torch.equal(reference, logps)
    again, _, same = scorer(packed, 0.7, trunk)
    assert torch.equal(again, logps)
    assert torch.equal(same, trunk)
    one, two = gradients(upper, again), gradients(upper, logps)
    assert all(torch.equal(one[name], two[name]) for name in one)
    with torch.no_grad():  # what is given is not computed
        assert not torch.equal(scorer(packed, 0.7, trunk + 1)[0], logps)


def test_without_layers_below_the_adapters_there_is_no_trunk_and_memory_bounds_the_tokens(policy, upper):
    packed = pack(random_groups([2]))
    with torch.no_grad():
        assert CompletionScorer(policy)(packed)[2] is None  # adapted everywhere
        assert CompletionScorer(upper.unload())(packed)[2] is None
    assert tokens_within(200, policy) == pytest.approx(2 * tokens_within(100, policy), abs=1)
    assert tokens_within(0, policy) == 1


# --- what prompts begin with in common -------------------------------------------------------------------------------


@pytest.fixture(params=[0, 1], ids=["adapted everywhere", "adapted above a trunk"])
def adapted(request, tiny_base):
    """A policy with an adapter on every linear layer of all blocks or of the last."""
    return adapted_in(tiny_base, layers=request.param, targets=TARGETS)


@pytest.mark.parametrize(("prompts", "shared"), SHARING.values(), ids=SHARING)
def test_prompts_that_begin_alike_score_and_learn_as_each_sequence_alone(adapted, path, backend, prompts, shared):
    assert_scores_and_learns(adapted, backend, sharing_groups(prompts), 0.7)


BRANCHING = [[5, 6, 7, 8, 9, 10], [5, 6, 7, 8, 11], [5, 6, 12, 13], [5, 6, 12], [5, 6, 12, 13, 14, 15, 16]]


@pytest.mark.parametrize("spans", [[(0, 5)], [(0, 2), (2, 5)], [(0, 1), (1, 4), (4, 5)]], ids=len)
@pytest.mark.parametrize(("rows", "prefilled"), [(128, 17), (4, 21)], ids=["prefilled together", "two by two"])
def test_what_was_recorded_is_replayed_in_packs_that_share_more_or_less_than_the_prefills(
    adapted, backend, spans, rows, prefilled
):
    """Five prompts of 25 tokens share 2; two by two, the longest first, they share 2, 2 and, the last alone, none."""
    settings = SamplingSettings(temperature=0.8, max_new_tokens=7)
    requests = [Request(prompt, 2, (i,), settings, (3,), 1) for i, prompt in enumerate(BRANCHING)]
    with patch.object(engine, "MOST_ROWS", rows):
        recording = recording_of(adapted, requests, 64, backend)
        drawn = sample(adapted, requests, pad_id=1, recording=recording, backend=backend)
    assert recording.used == prefilled + sum(len(c.tokens) - 1 for group in drawn for c in group)
    groups = [Group(prompt, [c.tokens for c in own]) for prompt, own in zip(BRANCHING, drawn, strict=True)]
    scorer = CompletionScorer(adapted, backend)
    for start, stop in spans:
        packed = pack(groups[start:stop])
        replay = recording.replay(range(start, stop), packed)
        replayed, _, _ = scorer(packed, 0.8, replay.trunk(), replay)
        computed, _, _ = scorer(packed, 0.8)
        torch.testing.assert_close(replayed, computed, rtol=1e-5, atol=1e-6)
        assert_same_gradients(adapted, replayed, computed)


def test_a_request_that_was_not_sampled_cannot_be_replayed(adapted):
    requests = [Request([5, 6], 1, (i,), SamplingSettings(0.8, 3), (3,), 1) for i in range(2)]
    recording = recording_of(adapted, requests, 64)
    with pytest.raises(ValueError, match="request 1 was not sampled"):
        recording.replay(range(1, 2), pack([Group([5, 6], [[7, 8]])]))
