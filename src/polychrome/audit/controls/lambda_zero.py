"""Polychromic training with lambda 0 is cross-entropy: the same adapter and the same replies, bit for bit."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, deserialize

from polychrome import paths
from polychrome.audit.controls.record import REMEDY, ROOT, Control, verdict_of, write_part
from polychrome.errors import bad
from polychrome.files import read_objects
from polychrome.params import Params

CONTROL, BASELINE = "control_lambda_zero", "baseline"
TEXT = "Polychromic training with lambda 0 must be cross-entropy, bit for bit."


def run(params: Params) -> str:
    """Write results/controls/lambda_zero.json; returns a table of it."""
    seed = params.controls.seed
    folders = [paths.model_dir(model, seed) for model in (CONTROL, BASELINE)]
    replies = [paths.generations_file(model, seed) for model in (CONTROL, BASELINE)]
    return write_part(ROOT / "lambda_zero.json", TEXT, *lambda_zero(*folders, *replies))


def lambda_zero(
    control: str | Path, baseline: str | Path, control_replies: str | Path, baseline_replies: str | Path
) -> tuple[list[Control], dict[str, Any]]:
    """The polychromic arm with lambda 0 against the baseline: adapters tensor by tensor, replies to the test posts."""
    ours, theirs = (tensors_of(Path(folder) / "adapter_model.safetensors") for folder in (control, baseline))
    differing = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
    tensors = Control(
        name="lambda_zero_adapter",
        text="Polychromic training with lambda 0 against cross-entropy: tensors of the adapter that differ in any bit.",
        expected="none",
        found=f"{len(differing)} of {len(theirs)}",
        value=float(len(differing)),
        verdict=verdict_of(bool(theirs) and not differing),
        note=f"The first is {differing[0]}." if differing else "",
    )
    fields = ("id", "replies", "human_nll")
    a, b = map(read_objects, (control_replies, baseline_replies))
    unlike = sum(any(x[field] != y[field] for field in fields) for x, y in zip(a, b, strict=False))
    unlike += abs(len(a) - len(b))
    replies = Control(
        name="lambda_zero_replies",
        text="The same two models: test posts whose replies, or the human reply's likelihood, differ.",
        expected="none",
        found=f"{unlike} of {len(b)}",
        value=float(unlike),
        verdict=verdict_of(bool(b) and not unlike),
    )
    return [tensors, replies], {"tensors": len(theirs), "differing": differing}


def tensors_of(path: str | Path) -> dict[str, dict[str, Any]]:
    """Tensor -> its type, shape and bytes, in whatever order they lie. Raises InputError for no such file."""
    path = Path(path)
    if not path.is_file():
        raise bad(str(path), "no such file", "an adapter", REMEDY)
    try:
        return dict(deserialize(path.read_bytes()))
    except SafetensorError as error:
        raise bad(str(path), f"{error}", "a safetensors file", REMEDY) from error
