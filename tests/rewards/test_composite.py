"""The bonus for differing from one's group, by hand; the mix is tested by its name, in test_interface."""

import pytest
import torch

from polychrome.rewards.composite import GroupBonus
from tests.encoders import Table, at

COMPASS = Table(dict(zip(("east", "east too", "north", "west"), at(0, 0, 90, 180), strict=True)))
GROUPS = [["east", "east too", "north"], ["east", "north", "west"], ["east", "east too", "east"]]
# In the second group the west's mean, 1.5, is cut at 1; equal replies gain nothing.
DISTANCES = torch.tensor([[0.5, 0.5, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]).double()
REWARDS = torch.tensor([[0.4, 0.2, 0.6], [0.5, 0.0, 1.0], [0.3, 0.9, 0.1]]).double()


@pytest.mark.parametrize(
    ("form", "weight", "climbed"),
    [("additive", 0.2, REWARDS + 0.2 * DISTANCES), ("multiplicative", 5, REWARDS * DISTANCES)],
)
def test_the_bonus_is_the_mean_distance_to_the_others_and_nothing_where_there_is_no_reward(form, weight, climbed):
    climbed[1, 1] = 0.0
    bonus = GroupBonus(COMPASS, form, weight)
    torch.testing.assert_close(bonus(GROUPS, REWARDS), climbed, rtol=0, atol=1e-6)
    assert bonus([], REWARDS[:0]).shape == (0, 3)  # a process without posts
