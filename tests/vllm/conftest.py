"""What needs vLLM itself: `make test-vllm` runs it, after `make vllm`."""

import sys
from pathlib import Path

import pytest

from polychrome.engine import vllm_server
from tests.commands.conftest import polychrome, project  # noqa: F401
from tests.tiny import make_tiny_base

ROOT = Path(__file__).parents[2]
PROGRAM = next((p for r in (ROOT, Path(sys.prefix).parent) if (p := r / vllm_server.PROGRAM).is_file()), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("vllm")
            item.add_marker(pytest.mark.timeout(1800))
            if PROGRAM is None:
                item.add_marker(pytest.mark.skip(reason=f"no {vllm_server.PROGRAM}: `make vllm` makes it"))


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory) -> Path:
    """As elsewhere, with heads as wide as vLLM's attention wants them."""
    return make_tiny_base(tmp_path_factory.mktemp("base"), hidden_size=128, num_attention_heads=2)
