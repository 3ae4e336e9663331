"""Who may import whom: the rooms of src/polychrome, read from the files.

A room is a folder of src/polychrome, or a module beside the folders. What every room may use (errors, files, paths,
randomness, ...) stands beside them and imports no room.
"""

from graphlib import TopologicalSorter
from pathlib import Path

from .test_dvc_yaml import imported, reached

HOUSE = Path(__file__).parents[1] / "src/polychrome"
ROOMS = sorted(path.name for path in HOUSE.iterdir() if (path / "__init__.py").is_file())


def room(file: Path) -> str:
    return file.relative_to(HOUSE).parts[0].removesuffix(".py")


def files(of: str) -> list[Path]:
    return sorted((HOUSE / of).rglob("*.py")) if (HOUSE / of).is_dir() else [HOUSE / f"{of}.py"]


def used(of: str) -> set[str]:
    """The rooms and modules that one room imports, itself left out."""
    return {room(path) for file in files(of) for path in imported(file)} - {of, "__init__"}


def test_a_room_at_the_bottom_imports_nothing_above():
    assert used("objectives") == set()
    assert used("measures") <= {"errors"}


def test_no_room_imports_one_that_imports_it():
    graph = {of: used(of) & set(ROOMS) for of in ROOMS}
    TopologicalSorter(graph).prepare()  # raises CycleError with the rooms of the circle


def test_evaluation_asks_no_reward():
    """Neither directly nor through what it imports: what GRPO climbs has no part in what it is judged by."""
    asking = [*files("evaluation"), *files("audit"), *files("measures"), HOUSE / "engagement/judge.py"]
    rewards = {*files("rewards"), HOUSE / "engagement/learned.py", HOUSE / "engagement/fitting.py"}
    assert reached(*asking) & rewards == set()
