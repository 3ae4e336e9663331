"""The command as a whole: what it knows, that it starts without what it does not need, and `polychrome check`."""

import subprocess
import sys
import tomllib

import pytest

from polychrome.commands.main import COMMANDS, main
from tests.pipeline.conftest import ROOT


def test_the_package_installs_it():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"] == {
        "polychrome": "polychrome.commands.main:main"
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert f"usage: polychrome {name}" in capsys.readouterr().out


def test_help_waits_for_no_library_that_only_a_command_needs():
    code = """
import sys
from polychrome.commands.main import main
try:
    main(["--help"])
except SystemExit:
    pass
print([name for name in ("torch", "transformers", "dvc", "scipy", "pydantic", "gguf") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_check_says_what_a_run_would_make_of_a_file_and_a_file_that_is_not_there_is_one_message(
    tmp_path, monkeypatch, polychrome
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "mine.csv").write_text("post,reply,likes\nwhat do you think of rain,i like it a lot,3\nhi,no,1\n")
    printed = polychrome("check", "mine.csv").out
    assert "mine.csv: source replies, 2 replies" in printed
    assert "1 dropped: too short" in printed
    assert {path.name for path in tmp_path.iterdir()} == {"params.yaml", "mine.csv"}
    assert "gone.csv" in polychrome("check", "gone.csv", fails=True).err
    (tmp_path / "params.yaml").unlink()
    assert "params.yaml: found no such file" in polychrome("check", "mine.csv", fails=True).err
