"""What a reply that was cut at max_new_tokens earns and teaches, as `reward.cut` has it."""

from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch

from polychrome.measures.partition import components
from polychrome.objectives.grpo import group_advantages
from polychrome.objectives.kin import times_difference
from polychrome.objectives.sets import set_advantages
from polychrome.training.methods.context import Drawn
from polychrome.training.methods.grpo import Rewarded

from .tiny import KIN, grpo, kin, likes_ascii, polychromic, sets

ENDED = torch.tensor([[True, False, True, True], [False, True, True, False], [False] * 4])


@pytest.fixture
def stepped(make_run, pairs):
    """A step on three posts of which the replies of ENDED ended; the policy has left its reference."""

    def build(method, cut, ended=ENDED):
        run = make_run(replace(method, cut=cut))
        with torch.no_grad():
            for tensor in run.parameters.values():
                tensor.mul_(-2)
        with mock.patch.object(Drawn, "ended", property(lambda drawn: ended[: len(drawn.groups)].tolist())):
            return run, run.method.step(run.context, pairs[:3], 1)

    return build


def gradient(run, piece):
    """The loss, its gradient at every token's log-probability (12, T), and the mask of completions."""
    logps, entropies, _ = run.scorer(piece.packed, piece.temperature)
    logps = logps.detach().requires_grad_()
    loss, metrics = piece.loss(logps, entropies.detach())
    loss.backward()
    return float(loss.detach()), logps.grad, piece.packed.completion_mask, metrics


@pytest.mark.parametrize("cut", ["zero", "mask", "keep"])
@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo"])
def test_the_loss_is_the_mean_over_what_is_left_of_advantages_that_rewards_of_0_went_into(stepped, cut, loss_type):
    run, step = stepped(grpo(loss_type=loss_type), cut)
    texts = [rollout["replies"] for rollout in step.rollouts]
    rewards = torch.from_numpy(np.array([likes_ascii([""] * 4, group) for group in texts]))
    rewards = rewards if cut == "keep" else torch.where(ENDED, rewards, 0.0)
    advantages = group_advantages(rewards).flatten()
    assert step.metrics["reward"] == pytest.approx(float(rewards.mean()))
    assert [rollout["rewards"] for rollout in step.rollouts] == pytest.approx(rewards.numpy(), rel=1e-5)
    (piece,) = step.pieces
    loss, slope, mask, _ = gradient(run, piece)
    entering = [i for i in range(12) if cut != "mask" or ENDED.flatten()[i]]
    lengths = mask.sum(-1).double()
    whole = {
        "dapo": sum(advantages[i] * lengths[i] for i in entering) / sum(lengths[i] for i in entering),
        "grpo": sum(advantages[i] for i in entering) / len(entering),
        "dr_grpo": sum(advantages[i] * lengths[i] for i in entering) / (len(entering) * 6),
    }[loss_type]
    assert loss == pytest.approx(-float(whole), abs=1e-6)
    taught = {i for i in entering if advantages[i] != 0}
    assert {i for i in range(12) if (slope[i] != 0).any()} == taught
    assert taught == set(range(12)) or cut != "keep"
    assert not (cut == "mask" and taught & set(torch.nonzero(~ENDED.flatten()).flatten().tolist()))


def test_a_masked_reply_has_no_part_in_the_kl_of_the_loss_and_is_watched_all_the_same(stepped):
    watched = []
    for cut, held in (("zero", torch.ones_like(ENDED)), ("mask", ENDED)):
        run, step = stepped(grpo(beta=1e3), cut)
        _, slope, _, metrics = gradient(run, step.pieces[0])
        assert (slope != 0).any(-1).tolist() == held.flatten().tolist()
        watched.append(float(metrics["kl"]))
    assert watched[0] == pytest.approx(watched[1])
    assert watched[0] > 0.1


def test_a_batch_in_which_every_reply_was_cut_teaches_nothing(stepped):
    for cut in ("zero", "mask"):
        run, step = stepped(grpo(), cut, ~torch.ones_like(ENDED))
        loss, slope, _, _ = gradient(run, step.pieces[0])
        assert (loss, float(slope.abs().max())) == (0, 0)


@pytest.mark.parametrize("objective", KIN)
def test_no_kin_of_grpo_pays_for_a_cut_reply(stepped, objective):
    method = kin(objective)
    with mock.patch.object(type(method), "advantages", autospec=True, side_effect=type(method).advantages) as seen:
        stepped(method, "zero")
    of = seen.call_args.args[1]
    assert (of.rewards[~ENDED] == 0).all()
    assert of.rewards[ENDED].min() > 0
    assert torch.equal(of.whole, ENDED)


def asked(method, whole):
    """What ``method`` makes of two groups, of which only the replies of ``whole`` are replies."""
    replies = [["aaab", "aaac", "xyz", "zyx"], ["good", "goods", "bad", "dab"]]
    pairs = [SimpleNamespace(id=str(i), post="a post") for i in range(2)]
    rewards = torch.tensor([[0.4, 0.5, 0.9, 0.8], [0.5, 0.3, 0.4, 0.7]], dtype=torch.float64)
    rewards = rewards if whole is None else torch.where(whole, rewards, 0.0)
    context = SimpleNamespace(total=float, seed=1, batches=1)
    of = Rewarded(context, pairs, 0, SimpleNamespace(texts=replies), rewards, rewards, whole)
    alike = [one.copy() for one in method.classes(["a post"] * 2, replies)]
    return method.advantages(of)[0], rewards, alike


def test_a_cut_reply_makes_no_class():
    whole = ENDED[:2]
    method = sets(set_size=3)
    advantages, rewards, alike = asked(method, whole)
    raw = []
    for own, one, ends in zip(rewards.numpy(), alike, whole.numpy(), strict=True):
        one[~ends], one[:, ~ends] = False, False
        raw.append(set_advantages(own, one, "poly", 3))
    raw = np.stack(raw)
    assert advantages.numpy() == pytest.approx(raw / np.sqrt((raw**2).mean()))
    assert not torch.allclose(advantages, asked(method, None)[0])
    advantages, rewards, alike = asked(kin("darling"), whole)
    classes = np.where(whole, np.array([components(one) for one in alike]), -1)
    torch.testing.assert_close(
        advantages, group_advantages(times_difference(rewards, torch.from_numpy(classes)), "none")
    )
    by_kind = sets(set_size=3)
    by_kind.classes = lambda posts, texts: [np.array([0, 1, 2, 3])] * 2
    of = SimpleNamespace(pairs=[], drawn=SimpleNamespace(texts=[]), whole=whole)
    assert [one.tolist() for one in by_kind.alike(of)] == [[0, -1, 2, 3], [-1, 1, 2, -1]]


def test_the_gate_of_polychromic_lets_no_cut_reply_into_a_set(make_run, pairs):
    for gate, share in ((-1.0, 0.0), (None, 1.0)):
        run = make_run(polychromic(gate=gate))
        with mock.patch.object(Drawn, "ended", property(lambda drawn: [[False] * 4 for _ in drawn.groups])):
            assert run.method.step(run.context, pairs[:4], 0).metrics["valid_share"] == share
