"""What multiplies bfloat16."""

import pytest


@pytest.fixture(params=["compiled", "widening"], ids=["as the processor can", "widened"])
def tiled(request):
    """The test twice: by what multiplies bfloat16 on this processor, and as if nothing did."""
    return request.getfixturevalue(request.param)
