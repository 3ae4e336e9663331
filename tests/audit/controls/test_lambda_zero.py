"""Lambda of zero: equal adapters and replies pass, any bit of difference is found and named."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from polychrome.audit.controls.lambda_zero import lambda_zero, tensors_of
from polychrome.audit.controls.record import AS_EXPECTED, NOT_AS_EXPECTED
from polychrome.errors import InputError
from tests.evaluation.fakes import write_rows


def model(folder, tensors, replies):
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    rows = [{"id": f"p{i}", "replies": [text, text], "human_nll": 1.5} for i, text in enumerate(replies)]
    return folder, write_rows(folder / "replies.jsonl", rows)


A = {"a": np.ones((2, 3), dtype=np.float32), "b": np.zeros(4, dtype=np.float32)}


@pytest.fixture
def found(tmp_path):
    """What is found of an adapter with these tensors and replies against ``A`` and those of the baseline."""

    def found(tensors, ours, theirs):
        folders, replies = zip(model(tmp_path / "x", tensors, ours), model(tmp_path / "y", A, theirs), strict=True)
        return lambda_zero(*folders, *replies)

    return found


def test_equal_adapters_and_replies_are_as_expected_whatever_the_order_of_the_tensors(found):
    controls, details = found(dict(reversed(A.items())), ["hi", "yo"], ["hi", "yo"])
    assert [c.verdict for c in controls] == [AS_EXPECTED, AS_EXPECTED]
    assert [c.found for c in controls] == ["0 of 2", "0 of 2"]
    assert details == {"tensors": 2, "differing": []}


@pytest.mark.parametrize(
    "changed",
    [
        A | {"b": np.array([0, 0, 0, 1e-30], dtype=np.float32)},  # one bit or so
        A | {"b": np.zeros((2, 2), dtype=np.float32)},  # another shape, the same bytes
        A | {"b": np.zeros(4, dtype=np.int32)},  # another type, the same bytes
        {"a": A["a"]},
        A | {"c": A["b"]},
    ],
)
def test_any_bit_of_difference_is_found_and_named(found, changed):
    (adapter, _), details = found(changed, ["hi"], ["hi"])
    assert adapter.verdict == NOT_AS_EXPECTED
    assert len(details["differing"]) == 1
    assert details["differing"][0] in adapter.note


def test_other_replies_are_a_finding(found):
    _, replies = found(A, ["hi", "yo"], ["hi", "you", "me"])[0]
    assert (replies.verdict, replies.found) == (NOT_AS_EXPECTED, "2 of 3")


def test_a_missing_or_damaged_adapter_is_reported(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        tensors_of(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"\x05\x00\x00\x00\x00\x00\x00\x00nonsense")
    with pytest.raises(InputError, match="a safetensors file"):
        tensors_of(tmp_path / "bad.safetensors")
