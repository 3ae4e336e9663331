"""The loop's schedule, clipping, order of data, validation and choice of weights."""

import math

import pytest
import torch

from .tiny import Scripted, Watched


def test_the_learning_rate_rises_for_the_warm_up_and_falls_along_a_cosine(make_run):
    run = make_run(epochs=10, batch_size=12, warmup_ratio=0.2, learning_rate=0.5)
    rates = [row["learning_rate"] for row in run.train().history]
    rising = [0.5 * 1 / 2]  # the first step already teaches
    falling = [0.25 * (1 + math.cos(math.pi * step / 9)) for step in range(9)]
    assert rates == pytest.approx(rising + falling)


def test_gradients_are_clipped_to_the_norm_and_the_log_has_the_norm_before(make_run):
    run = make_run(max_grad_norm=0.05)
    applied = []
    step = run.optimizer.step
    run.optimizer.step = lambda: (
        applied.append(float(torch.stack([t.grad.norm() for t in run.parameters.values()]).norm())),
        step(),
    )
    logged = [row["grad_norm"] for row in run.train().history]
    assert applied == pytest.approx([0.05] * 3, rel=1e-3)
    assert min(logged) > 0.1


def test_weight_decay_pulls_weights_towards_zero(make_run):
    plain, decayed = (make_run(weight_decay=decay, learning_rate=1e-2) for decay in (0.0, 10.0))
    for run in (plain, decayed):
        run.train()
    size = [sum(float(t.detach().norm()) for t in run.parameters.values()) for run in (plain, decayed)]
    assert size[1] < 0.9 * size[0]


def test_every_epoch_shows_every_pair_once_in_an_order_of_its_own_that_belongs_to_the_seed(make_run, pairs):
    methods = [Watched() for _ in range(3)]
    for method, seed in zip(methods, (1, 1, 2), strict=True):
        make_run(method, epochs=2, batch_size=5, seed=seed).train()
    shown = [method.batches for method in methods]
    assert [len(batch) for batch in shown[0]] == [5, 5, 2] * 2
    first, second = ([name for batch in shown[0][i : i + 3] for name in batch] for i in (0, 3))
    assert sorted(first) == sorted(second) == sorted(pair.id for pair in pairs)
    assert first != second
    assert shown[0] == shown[1] != shown[2]


@pytest.mark.parametrize(("evaluate_every", "steps"), [(0, [3, 6]), (2, [2, 4, 6]), (4, [4, 6]), (100, [6])])
def test_validation_comes_once_an_epoch_or_every_so_many_steps_and_at_the_end(make_run, pairs, evaluate_every, steps):
    method = Scripted(values=[1.0] * 9)
    for held_out, expected in ((pairs, steps), ([], [])):
        state = make_run(method, epochs=2, evaluate_every=evaluate_every, validation=held_out).train()
        assert [row["step"] for row in state.validations] == expected


def test_training_stops_when_validation_has_not_improved_for_the_patience(make_run, pairs):
    method = Scripted(values=[math.nan, 3.0, 2.0, 2.5, 1.9, 1.9, 2.1, 0.0])  # what is no number is never the best
    state = make_run(method, epochs=9, evaluate_every=2, patience=2, validation=pairs).train()
    assert state.step == 14  # 1.9 at step 10 is followed by two that are no better
    assert (state.best, state.best_step) == (1.9, 10)


@pytest.mark.parametrize("keep_best", [True, False])
def test_a_run_ends_with_its_best_weights_or_its_last_as_asked(make_run, pairs, keep_best):
    method = Scripted(values=[2.0, 1.0, 3.0])
    run = make_run(method, epochs=3, validation=pairs, keep_best=keep_best)
    assert run.train().step == 9  # without patience to the end
    expected = method.weights[1 if keep_best else 2]
    assert all(torch.equal(run.parameters[name], tensor) for name, tensor in expected.items())
    assert not all(torch.equal(method.weights[1][name], method.weights[2][name]) for name in expected)
