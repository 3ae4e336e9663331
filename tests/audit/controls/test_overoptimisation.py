"""The curves of several betas are gathered; a KL that beta does not hold down is a finding."""

import pytest

from polychrome.audit.controls.overoptimisation import overoptimisation
from polychrome.audit.controls.record import AS_EXPECTED, NOT_AS_EXPECTED
from polychrome.audit.rollouts import CURVE
from polychrome.errors import InputError
from polychrome.files import write_csv, write_json


def gamed(folder, reach):
    fitted = {"reach_kl": reach, "peak_kl": None, "text": f"No peak within reach of {reach}."}
    curves = {"judge": fitted, "proxy": fitted}
    write_json(folder / "verdict.json", {"verdict": "not gamed", "over_optimisation": curves})
    rows = [
        dict.fromkeys(CURVE, 0.5) | {"step": step, "kl": kl, "judge_low": None} for step, kl in ((1, 0.0), (2, reach))
    ]
    write_csv(folder / "curve.csv", rows)
    return folder


def test_curves_are_gathered_in_order_of_beta(tmp_path):
    runs = [(f"arm{b}", b, gamed(tmp_path / str(b), 1 / (b + 0.1))) for b in (0.2, 0.0, 0.05)]
    (control,), details, rows = overoptimisation(runs)
    assert control.verdict == AS_EXPECTED
    assert [fit["beta"] for fit in details["curves"]] == [0.0, 0.05, 0.2]
    assert [(row["beta"], row["step"]) for row in rows[:3]] == [(0.0, 1), (0.0, 2), (0.05, 1)]
    assert "beta 0: No peak" in control.note
    assert set(rows[0]) == {"arm", "beta", *CURVE}
    assert rows[1]["kl"] == pytest.approx(10)
    assert rows[1]["judge_low"] is None


def test_a_kl_that_does_not_fall_with_beta_is_a_finding(tmp_path):
    runs = [(f"arm{b}", b, gamed(tmp_path / str(b), 1.0 + b)) for b in (0.0, 0.05, 0.2)]
    assert overoptimisation(runs)[0][0].verdict == NOT_AS_EXPECTED


def test_fewer_than_three_betas_and_a_verdict_without_its_curve_are_reported(tmp_path):
    runs = [(f"arm{b}", b, gamed(tmp_path / str(b), 1.0)) for b in (0.0, 0.05, 0.2)]
    with pytest.raises(InputError, match="three values of beta"):
        overoptimisation(runs[:2])
    write_json(tmp_path / "0.2" / "verdict.json", {"verdict": "gamed"})
    with pytest.raises(InputError, match="json:over_optimisation: found no such field"):
        overoptimisation(runs)
