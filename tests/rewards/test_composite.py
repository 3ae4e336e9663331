"""A mix of rewards, and the bonus for differing from one's group, by hand."""

import numpy as np
import pytest
import torch

from polychrome.rewards.composite import GroupBonus, Mix
from tests.encoders import Table, at

COMPASS = Table(dict(zip(("east", "east too", "north", "west"), at(0, 0, 90, 180), strict=True)))
GROUPS = [["east", "east too", "north"], ["east", "north", "west"]]
DISTANCES = torch.tensor([[0.5, 0.5, 1.0], [1.0, 1.0, 1.0]])  # east and west are 2 apart: the mean 1.5 is cut at 1
REWARDS = torch.tensor([[0.4, 0.2, 0.6], [0.5, 0.0, 1.0]], dtype=torch.float64)


def test_the_additive_bonus_adds_the_weighted_mean_distance_to_the_others():
    climbed = GroupBonus(COMPASS, "additive", 0.2)(GROUPS, REWARDS)
    expected = REWARDS + 0.2 * DISTANCES
    expected[1, 1] = 0.0
    torch.testing.assert_close(climbed, expected.double(), rtol=0, atol=1e-6)


def test_the_multiplicative_bonus_is_quality_times_diversity():
    climbed = GroupBonus(COMPASS, "multiplicative", 0.2)(GROUPS, REWARDS)
    torch.testing.assert_close(climbed, (REWARDS * DISTANCES).double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("form", ["additive", "multiplicative"])
def test_a_reply_without_reward_earns_nothing_for_being_different(form):
    assert GroupBonus(COMPASS, form, 5.0)(GROUPS, REWARDS)[1, 1] == 0


@pytest.mark.parametrize("form", ["additive", "multiplicative"])
def test_a_group_of_equal_replies_gains_nothing(form):
    rewards = torch.tensor([[0.3, 0.9]], dtype=torch.float64)
    climbed = GroupBonus(COMPASS, form, 1.0)([["east", "east too"]], rewards)
    expected = rewards if form == "additive" else torch.zeros(1, 2)
    torch.testing.assert_close(climbed, expected.double(), rtol=0, atol=1e-6)


def test_a_process_without_posts_has_no_bonus():
    empty = torch.zeros(0, 3, dtype=torch.float64)
    assert GroupBonus(COMPASS, "additive", 1.0)([], empty).shape == (0, 3)


def test_a_mix_is_the_weighted_mean_whatever_the_weights_sum_to():
    def of(value):
        return lambda posts, replies: np.full(len(replies), value)

    mix = Mix({"a": (3.0, of(0.2)), "b": (1.0, of(0.6))})
    assert mix(["p", "p"], ["r", "s"]) == pytest.approx([0.3, 0.3])
