"""Chit-chat as the real file has it, small."""

import json
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from tests.tiny import WORDS


@pytest.fixture(autouse=True)
def _precision_as_before():
    """TRL's trainers leave theirs, bfloat16 on some machines, to every accelerator of the process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def conversations(tmp_path_factory) -> Path:
    """Thirty conversations of six turns, of 2 to 12 words each."""

    def turn(c: int, t: int) -> list[dict[str, str]]:
        words = [WORDS[(3 * c + 5 * t + i) % len(WORDS)] for i in range(2 + (7 * c + 3 * t) % 11)]
        return [{"text": " ".join(words), "sender": f"{c}-{t % 2}", "timestamp": "2018-01-01T00:00:00Z"}]

    file = tmp_path_factory.mktemp("chitchat") / "dataset.json"
    file.write_text(json.dumps({f"c{c}": {"messages": [turn(c, t) for t in range(6)]} for c in range(30)}))
    return file
