"""Threads, dtype and kernels as params.yaml says or the machine can; when compiled code is built and when not."""

import multiprocessing
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from polychrome.engine import compute
from polychrome.engine.compute import backend_named, configure
from polychrome.engine.native import library
from polychrome.errors import InputError
from tests.compilers import TRIVIAL, make_compiler, what_the_compiler_lacks


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(compute, "CHOSEN", {})


def settings(**changed):
    return SimpleNamespace(**{"threads": 1, "dtype": "auto", "kernels": "torch", "sampler": "local"} | changed)


@pytest.mark.parametrize(("tiles", "vectors"), [(True, True), (False, True), (False, False)])
def test_bfloat16_is_taken_where_it_is_named_or_the_processor_multiplies_it(monkeypatch, tiles, vectors):
    """By tiles (AMX), by vectors (AVX512-BF16) or not at all."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: vectors)
    assert configure(settings(dtype="float32")) is torch.float32
    assert configure(settings(dtype="bfloat16")) is torch.bfloat16
    able = torch.bfloat16 if vectors else torch.float32
    assert {configure(settings()) for _ in range(3)} == {able}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/polychrome"


@pytest.fixture
def trivial(cache, tmp_path, monkeypatch):
    """A library of one line in place of ours, and a list of what its compiler has been asked to make."""
    if lacking := what_the_compiler_lacks():
        pytest.skip(f"compiled kernels need a C compiler with OpenMP: {lacking}")
    compiler, asked = library._compiler(), tmp_path / "asked"
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "trivial.c").write_text(TRIVIAL)
    (sources / "trivial.h").write_text("")
    monkeypatch.setattr(library, "FOLDER", sources)
    counting = make_compiler(tmp_path, f'echo compiled >> {asked}\nexec {compiler} "$@"')
    monkeypatch.setenv("CC", str(counting))
    made = lambda: len(asked.read_text().split()) if asked.exists() else 0  # noqa: E731
    return SimpleNamespace(sources=sources, compiler=counting, made=made)


def test_the_backend_is_what_params_say_is_reported_by_a_run_and_compiled_once(trivial, cache):
    configure(settings(threads=2, dtype="float32"))
    assert compute.CHOSEN == {"threads": 2, "dtype": "torch.float32", "kernels": "torch"}
    assert torch.get_num_threads() == 2
    assert trivial.made() == 0
    for kernels in ("auto", "compiled", "auto"):
        configure(settings(kernels=kernels))
        assert compute.chosen().name == compute.CHOSEN["kernels"] == "compiled"
        assert compute.chosen().library.tiles() > 0
    assert trivial.made() == 1
    assert len(list(cache.iterdir())) == 1  # and nothing else is left


CHANGES = {
    "source": lambda t, patch: (t.sources / "trivial.c").write_text(TRIVIAL + "int more(void) { return 1; }\n"),
    "header": lambda t, patch: (t.sources / "trivial.h").write_text("/* changed */\n"),
    "flag": lambda t, patch: patch.setattr(library, "FLAGS", (*library.FLAGS, "-DMORE")),
    "processor": lambda t, patch: patch.setattr(library, "_processor", lambda: "flags: more"),
    "compiler": lambda t, patch: t.compiler.write_text(
        t.compiler.read_text().replace("a compiler 1.0", "a compiler 2.0")
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_the_library_depends_on_makes_another(trivial, cache, monkeypatch, change):
    library.opened()
    change(trivial, monkeypatch)
    library.opened()
    assert trivial.made() == len(list(cache.iterdir())) == 2


def _opens(kernels):
    return backend_named(kernels).name


def test_two_processes_that_compile_at_once_both_end_well(trivial, cache, tmp_path, monkeypatch):
    """Each compiler leaves half a file until both have been started."""
    monkeypatch.delenv("CC")
    waiting = f"""
    for last; do [ "$before" = -o ] && out=$last; before=$last; done
    echo half > "$out"; touch {tmp_path}/started.$$
    for i in $(seq 200); do [ $(ls {tmp_path}/started.* | wc -l) = 2 ] && break; sleep 0.1; done
    exec {library._compiler()} "$@"
    """
    monkeypatch.setenv("CC", str(make_compiler(tmp_path, waiting)))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_opens, ["compiled", "compiled"], chunksize=1) == ["compiled"] * 2
    assert len(list(tmp_path.glob("started.*"))) == 2
    assert len(list(cache.iterdir())) == 1


RUBBISH = 'for last; do [ "$before" = -o ] && echo rubbish > "$last"; before=$last; done'
FAILURES = {  # what the compiler runs, or None without one; where the cache is; what is said
    "a compiler that fails": ("echo omp.h: no such file >&2; exit 1", "cache", "omp.h: no such file"),
    "one that fails and is silent": ("exit 3", "cache", "exit status 3"),
    "one that makes rubbish": (RUBBISH, "cache", "kernels-"),
    "no compiler": (None, "cache", "no C compiler"),
    "no place to keep it": ("exit 0", "cc", "cc"),
    "no home": ("exit 0", None, "home"),
}


@pytest.mark.parametrize(("compiling", "place", "said"), FAILURES.values(), ids=FAILURES)
def test_where_it_cannot_be_had_auto_falls_back_and_says_why_and_compiled_is_an_error(
    monkeypatch, tmp_path, capsys, compiling, place, said
):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a user whom the system does not know
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / place)) if place else monkeypatch.delenv(
        "XDG_CACHE_HOME", False
    )
    if compiling is None:
        monkeypatch.delenv("CC", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    else:
        monkeypatch.setenv("CC", str(make_compiler(tmp_path, compiling)))
    configure(settings(kernels="auto"))
    assert compute.chosen().name == compute.CHOSEN["kernels"] == "torch"
    assert said in capsys.readouterr().err
    with pytest.raises(InputError, match=r"params\.yaml:compute\.kernels") as raised:
        backend_named("compiled")
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("own", "found"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "5"}, "5"), ({"OMP_WAIT_POLICY": "active"}, "None")],
    ids=["nothing", "a count", "a policy"],
)
def test_threads_that_wait_sleep_sooner_unless_the_environment_has_its_own_mind(own, found):
    kept = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    program = "import os, polychrome; print(os.environ.get('GOMP_SPINCOUNT'))"
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, env=kept | own, capture_output=True, text=True).stdout.strip() == found
