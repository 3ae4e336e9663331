"""What an InputError says is wrong, for tests that look at every problem."""

import pytest

from polychrome.errors import InputError


def reported(act, *arguments, **changes):
    """The problems of the InputError that ``act`` raises."""
    with pytest.raises(InputError) as caught:
        act(*arguments, **changes)
    return caught.value.problems


def places(act, *arguments, **changes):
    """Where each of them is."""
    return [problem.where for problem in reported(act, *arguments, **changes)]
