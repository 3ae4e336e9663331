"""Two runs from nothing, in two places. A file of its own, so that it can run beside the tests of the first run."""

import re

import pytest

from tests.pipeline.conftest import make_repository

pytestmark = pytest.mark.timeout(1800)

PAGE = "results/report.html"  # the one output with clocks in it: what each stage took


def test_from_scratch_every_output_has_the_same_md5(tmp_path, request):
    again = make_repository(tmp_path / "again")
    again.dvc("repro")
    finished = request.getfixturevalue("finished")  # not before: another process may be making it meanwhile
    one, other = again.outputs(), finished.outputs()
    assert len(one) > 55
    assert one.pop(PAGE)
    assert other.pop(PAGE)
    assert one == other
    pages = [(repository.path / PAGE).read_text() for repository in (again, finished)]
    without_clocks = [re.sub(r'<section id="cost".*?</section>', "", page, flags=re.DOTALL) for page in pages]
    assert without_clocks[0] == without_clocks[1]
    assert len(without_clocks[0]) < len(pages[0])
