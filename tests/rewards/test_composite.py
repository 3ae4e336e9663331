"""A mix of rewards, and the bonus for differing from one's group, by hand."""

import numpy as np
import pytest
import torch

from polychrome.rewards.composite import GroupBonus, mixed
from tests.encoders import Table, at

COMPASS = Table(dict(zip(("east", "east too", "north", "west"), at(0, 0, 90, 180), strict=True)))
GROUPS = [["east", "east too", "north"], ["east", "north", "west"]]
DISTANCES = torch.tensor([[0.5, 0.5, 1.0], [1.0, 1.0, 1.0]]).double()  # the west's mean, 1.5, is cut at 1
REWARDS = torch.tensor([[0.4, 0.2, 0.6], [0.5, 0.0, 1.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("form", "weight", "climbed"),
    [("additive", 0.2, REWARDS + 0.2 * DISTANCES), ("multiplicative", 5, REWARDS * DISTANCES)],
)
def test_the_bonus_is_the_mean_distance_to_the_others_and_nothing_where_there_is_no_reward(form, weight, climbed):
    climbed[1, 1] = 0.0
    found = GroupBonus(COMPASS, form, weight)(GROUPS, REWARDS)
    torch.testing.assert_close(found, climbed, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("form", "climbed"), [("additive", [[0.3, 0.9]]), ("multiplicative", [[0.0, 0.0]])])
def test_a_group_of_equal_replies_gains_nothing(form, climbed):
    found = GroupBonus(COMPASS, form, 1.0)([["east", "east too"]], torch.tensor([[0.3, 0.9]]).double())
    torch.testing.assert_close(found, torch.tensor(climbed).double(), rtol=0, atol=1e-6)


def test_a_process_without_posts_has_no_bonus():
    empty = torch.zeros(0, 3, dtype=torch.float64)
    assert GroupBonus(COMPASS, "additive", 1.0)([], empty).shape == (0, 3)


def test_a_mix_is_the_weighted_mean_whatever_the_weights_sum_to():
    def of(value):
        return lambda posts, replies: np.full(len(replies), value)

    mix = mixed({"a": (3.0, of(0.2)), "b": (1.0, of(0.6))})
    assert mix(["p", "p"], ["r", "s"]) == pytest.approx([0.3, 0.3])
