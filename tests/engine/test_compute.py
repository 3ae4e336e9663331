"""Threads and dtype as params.yaml says, or as the processor can."""

from types import SimpleNamespace

import pytest
import torch

from polychrome.engine import compute
from polychrome.engine.compute import configure


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    yield
    torch.set_num_threads(threads)


def processor(monkeypatch, *, tiles=False, vectors=False):
    """One that multiplies bfloat16 by tiles (AMX), by vectors (AVX512-BF16) or not at all."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: vectors)


@pytest.mark.parametrize("able", [True, False])
@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_named_dtype_is_taken_whatever_the_processor_can(monkeypatch, name, able):
    processor(monkeypatch, tiles=able, vectors=able)
    assert configure(SimpleNamespace(threads=1, dtype=name, kernels="torch")) is getattr(torch, name)


@pytest.mark.parametrize(
    ("tiles", "vectors", "taken"),
    [(True, True, torch.bfloat16), (False, True, torch.bfloat16), (False, False, torch.float32)],
)
def test_auto_takes_bfloat16_only_on_a_processor_that_multiplies_it(monkeypatch, tiles, vectors, taken):
    processor(monkeypatch, tiles=tiles, vectors=vectors)
    assert configure(SimpleNamespace(threads=1, dtype="auto", kernels="torch")) is taken


def test_auto_gives_the_same_answer_every_time():
    assert len({configure(SimpleNamespace(threads=1, dtype="auto", kernels="torch")) for _ in range(3)}) == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_set_and_told(threads):
    configure(SimpleNamespace(threads=threads, dtype="float32", kernels="torch"))
    assert torch.get_num_threads() == threads
    assert {"threads": threads, "dtype": "torch.float32", "kernels": "torch"} == compute.CHOSEN
