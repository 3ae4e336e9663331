"""What a user reads of many problems: nothing twenty thousand times."""

from polychrome.errors import InputError, Problem


def test_of_problems_that_are_alike_three_are_shown_and_the_others_counted_while_all_are_kept():
    alike = [Problem(f"a.jsonl:{n}:likes", f"'{n} likes'", "a whole number", "Mend it.") for n in range(20000)]
    other = [Problem("a.jsonl:7:reply", "3", "a string", "Mend it."), Problem("b.jsonl", "x", "a file", "Go.")]
    error = InputError([*alike[:10], *other, *alike[10:]])
    *lines, count = str(error).splitlines()
    assert lines == [str(problem) for problem in (*alike[:3], *other)]
    assert count == "a.jsonl: 19,997 more like a.jsonl:0:likes, the last at a.jsonl:19999:likes"
    assert len(error.problems) == 20002


def test_different_keys_of_one_file_are_all_shown():
    problems = [Problem(f"params.yaml:{n}:data.{key}", "x", "an integer", "Mend it.") for n, key in enumerate("abcdef")]
    assert str(InputError(problems)).splitlines() == list(map(str, problems))
