"""Threads and dtype as params.yaml says, or as the processor can."""

from types import SimpleNamespace

import pytest
import torch

from polychrome.models import compute
from polychrome.models.compute import configure


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("amx", [True, False])
@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_named_dtype_is_taken_whatever_the_processor_can(monkeypatch, name, amx):
    monkeypatch.setattr(compute, "_has_amx", lambda: amx)
    assert configure(SimpleNamespace(threads=1, dtype=name, kernels="torch")) is getattr(torch, name)


@pytest.mark.parametrize(("amx", "taken"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_takes_bfloat16_only_on_a_processor_that_multiplies_it(monkeypatch, amx, taken):
    monkeypatch.setattr(compute, "_has_amx", lambda: amx)
    assert configure(SimpleNamespace(threads=1, dtype="auto", kernels="torch")) is taken


def test_auto_gives_the_same_answer_every_time():
    assert len({configure(SimpleNamespace(threads=1, dtype="auto", kernels="torch")) for _ in range(3)}) == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_set_and_told(threads):
    configure(SimpleNamespace(threads=threads, dtype="float32", kernels="torch"))
    assert torch.get_num_threads() == threads
    assert {"threads": threads, "dtype": "torch.float32", "kernels": "torch"} == compute.CHOSEN
