"""Two runs from nothing, in two places. A file of its own, so that it can run beside the tests of the first run."""

from __future__ import annotations

import pytest

from tests.pipeline.conftest import make_repository

pytestmark = pytest.mark.timeout(1200)


def test_from_scratch_every_output_has_the_same_md5(tmp_path, request):
    again = make_repository(tmp_path / "again")
    again.dvc("repro")
    finished = request.getfixturevalue("finished")  # not before: another process may be making it meanwhile
    assert again.outputs() == finished.outputs()
    assert len(again.outputs()) > 50
