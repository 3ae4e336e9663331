"""The compiled library: when it is built and when not, what it decodes, and what is left to PyTorch's operators."""

import copy
import ctypes
import multiprocessing
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import GemmaConfig, LlamaConfig, MistralConfig, Qwen3Config

from polychrome.engine import compute
from polychrome.engine.attention import SlabAttention
from polychrome.engine.native import library
from polychrome.engine.native.decoder import Decoder, can_decode
from polychrome.engine.native.products import Map, address
from polychrome.engine.slab import Slab
from polychrome.engine.stack import FAMILIES as KNOWN
from polychrome.engine.stack import Stack
from polychrome.errors import InputError
from tests.compilers import TRIVIAL, make_compiler, on_pytorch

from .families import FAMILIES, SIZES, TARGETS, opened

# --- choosing and building -------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/polychrome"


@pytest.fixture
def trivial(built_kernels, cache, tmp_path, monkeypatch):
    """A library of one line in place of the decoder, and a list of what its compiler has been asked to make."""
    compiler, asked = library._compiler(), tmp_path / "asked"
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "trivial.c").write_text(TRIVIAL)
    (sources / "trivial.h").write_text("")
    monkeypatch.setattr(library, "FOLDER", sources)
    monkeypatch.setattr(library, "SOURCES", [sources / "trivial.c"])
    monkeypatch.setenv("CC", str(make_compiler(tmp_path, f'echo compiled >> {asked}\nexec {compiler} "$@"')))
    return SimpleNamespace(sources=sources, made=lambda: len(asked.read_text().split()) if asked.exists() else 0)


def test_torch_opens_nothing_and_compiles_nothing(trivial):
    assert library.choose("auto") == "compiled"
    assert library.choose("torch") == "torch"
    assert library.opened() is None
    assert trivial.made() == 1


@pytest.mark.parametrize("kernels", ["auto", "compiled"])
def test_what_was_compiled_once_is_only_opened_from_then_on(trivial, cache, kernels):
    for _ in range(3):
        assert library.choose(kernels) == "compiled"
        assert library.opened().width() > 0
    assert trivial.made() == 1
    assert len(list(cache.iterdir())) == 1  # and nothing else is left


def another_source(trivial, monkeypatch, tmp_path):
    (trivial.sources / "trivial.c").write_text(TRIVIAL + "int more(void) { return 1; }\n")


def another_header(trivial, monkeypatch, tmp_path):
    (trivial.sources / "trivial.h").write_text("/* changed */\n")


def another_flag(trivial, monkeypatch, tmp_path):
    monkeypatch.setattr(library, "FLAGS", (*library.FLAGS, "-DMORE"))


def another_processor(trivial, monkeypatch, tmp_path):
    monkeypatch.setattr(library, "_processor", lambda: "flags: more")


def another_compiler(trivial, monkeypatch, tmp_path):
    file = tmp_path / "cc"
    file.write_text(file.read_text().replace("a compiler 1.0", "a compiler 2.0"))


@pytest.mark.parametrize("change", [another_source, another_header, another_flag, another_processor, another_compiler])
def test_whatever_the_library_depends_on_makes_another(trivial, cache, monkeypatch, tmp_path, change):
    library.choose("compiled")
    change(trivial, monkeypatch, tmp_path)
    assert library.choose("compiled") == "compiled"
    assert trivial.made() == len(list(cache.iterdir())) == 2


def _opens(kernels):
    return library.choose(kernels), library.opened().width() > 0


def test_two_processes_that_compile_at_once_both_end_well(built_kernels, cache, tmp_path, monkeypatch):
    """Each compiler leaves half a file until both have been started."""
    waiting = f"""
    for last; do [ "$before" = -o ] && out=$last; before=$last; done
    echo half > "$out"; touch {tmp_path}/started.$$
    for i in $(seq 200); do [ $(ls {tmp_path}/started.* | wc -l) = 2 ] && break; sleep 0.1; done
    exec {library._compiler()} "$@"
    """
    monkeypatch.setenv("CC", str(make_compiler(tmp_path, waiting)))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_opens, ["compiled", "compiled"], chunksize=1) == [("compiled", True)] * 2
    assert len(list(tmp_path.glob("started.*"))) == 2
    assert len(list(cache.iterdir())) == 1


def failing_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", str(make_compiler(tmp_path, "echo omp.h: no such file >&2; exit 1")))
    return "omp.h: no such file"


def silent_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", str(make_compiler(tmp_path, "exit 3")))
    return "exit status 3"


def compiler_of_rubbish(monkeypatch, tmp_path):
    saying = 'for last; do [ "$before" = -o ] && echo rubbish > "$last"; before=$last; done'
    monkeypatch.setenv("CC", str(make_compiler(tmp_path, saying)))
    return "kernels-"


def no_compiler(monkeypatch, tmp_path):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    return "no C compiler"


def no_place_to_keep_it(monkeypatch, tmp_path):
    make_compiler(tmp_path, "exit 0")
    monkeypatch.setenv("CC", str(tmp_path / "cc"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cc"))
    return str(tmp_path / "cc")


def no_home(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", str(make_compiler(tmp_path, "exit 0")))
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a user whom the system does not know
    return "home"


FAILURES = [failing_compiler, silent_compiler, compiler_of_rubbish, no_compiler, no_place_to_keep_it, no_home]


@pytest.mark.parametrize("failure", FAILURES)
def test_auto_falls_back_and_tells_why(cache, monkeypatch, tmp_path, capsys, failure):
    said = failure(monkeypatch, tmp_path)
    assert library.choose("auto") == "torch"
    assert library.opened() is None
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("failure", FAILURES)
def test_compiled_is_an_error_where_it_cannot_be_had(cache, monkeypatch, tmp_path, failure):
    said = failure(monkeypatch, tmp_path)
    with pytest.raises(InputError, match=r"params\.yaml:compute\.kernels") as raised:
        library.choose("compiled")
    assert said in str(raised.value)
    assert library.opened() is None


def test_the_record_of_a_run_tells_which_kernels_it_had(trivial, monkeypatch, tmp_path):
    monkeypatch.setattr(compute, "CHOSEN", {})
    for kernels, told in (("auto", "compiled"), ("torch", "torch")):
        compute.configure(SimpleNamespace(threads=1, dtype="float32", kernels=kernels))
        assert compute.CHOSEN["kernels"] == told
    no_compiler(monkeypatch, tmp_path)
    compute.configure(SimpleNamespace(threads=1, dtype="float32", kernels="auto"))
    assert compute.CHOSEN["kernels"] == "torch"


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


# --- products --------------------------------------------------------------------------------------------------------


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def packed(kernels, weight, a=None, b=None, scale=1.0):
    """Panels (ceil(n / width), K, width) of ``weight`` (n, K) + scale b a."""
    (n, k), width = weight.shape, kernels.width()
    panels = torch.full((-(-n // width), k, width), torch.nan)
    rank = 0 if a is None else len(a)
    kernels.pack(
        *map(address, (weight, b, a)), ctypes.c_int64(rank), ctypes.c_double(scale), ctypes.c_int64(n),
        ctypes.c_int64(k), address(panels), 1,
    )  # fmt: skip
    return panels


def multiplied(kernels, x, panels, n, bias=None, threads=1):
    out, blocks = torch.full((len(x), n), torch.nan), torch.full((-(-len(x) // 8) * 8 * x.shape[1],), torch.nan)
    linear = Map(address(panels), address(bias), n, address(out))
    kernels.multiply(
        0,
        address(x),
        ctypes.c_int64(len(x)),
        ctypes.c_int64(x.shape[1]),
        ctypes.byref(linear),
        address(blocks),
        threads,
    )
    return out


def assert_near(found, expected):
    """Row by row within 1e-5 of what is expected, by their norms."""
    assert found.shape == expected.shape
    assert ((found - expected).norm(dim=-1) <= 1e-5 * expected.norm(dim=-1)).all()


WEIGHTS = [(1, 1), (5, 3), (47, 65), (48, 64), (49, 2), (97, 129), (191, 31), (16, 200)]


@pytest.mark.parametrize(("n", "k"), WEIGHTS)
@pytest.mark.parametrize("rank", [0, 1, 3])
def test_panels_hold_the_weights_with_the_adapter_in_them_and_zeros_behind(compiled, n, k, rank):
    weight, a, b = numbers(n, k), numbers(rank, k, seed=1), numbers(n, rank, seed=2)
    panels = packed(compiled, weight, *((a, b, 1.7) if rank else ()))
    rows = panels.transpose(1, 2).flatten(0, 1)
    assert_near(rows[:n], weight + 1.7 * b @ a)
    assert not rows[n:].any()
    if not rank:
        assert torch.equal(rows[:n], weight)


@pytest.mark.parametrize(("n", "k"), WEIGHTS)
@pytest.mark.parametrize("rows", [1, 2, 7, 8, 9, 16, 23, 136])
def test_products_are_those_of_a_matrix_product(compiled, n, k, rows):
    weight, x, bias = numbers(n, k), numbers(rows, k, seed=1), numbers(n, seed=2)
    panels, expected = packed(compiled, weight), (x.double() @ weight.double().t()).float()
    scale = x.norm(dim=-1, keepdim=True) * weight.norm()  # a sum of two numbers may be near nothing
    for threads in (1, 3):
        without, with_bias = (multiplied(compiled, x, panels, n, each, threads) for each in (None, bias))
        assert ((without - expected).abs() <= 1e-6 * scale).all()
        assert torch.equal(with_bias, without + bias)


# --- decoding --------------------------------------------------------------------------------------------------------


def filled(model, lengths, columns=80, spare=2):
    """A slab whose rows hold ``lengths`` random tokens, and something that is none of theirs before."""
    config = model.config
    d = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    slab = Slab(config.num_hidden_layers, len(lengths) + spare, columns, torch.device("cpu"))
    slab.admit(torch.tensor(lengths))
    for i, block in enumerate(slab.layers):
        shape = (len(lengths), config.num_key_value_heads, slab.used, d)
        block.place(numbers(*shape, seed=2 * i), numbers(*shape, seed=2 * i + 1))
    return slab


@torch.inference_mode()
def assert_decodes(model, lengths, steps=3):
    """Steps of the decoder beside the stack's on PyTorch's operators: states, logits, what the slab then holds."""
    slab = filled(model, lengths)
    other = copy.deepcopy(slab)
    decoder, head = Decoder(model, slab.rows, slab), model.get_output_embeddings()
    for step in range(steps):
        tokens = torch.randint(SIZES["vocab_size"], (len(slab),), generator=torch.Generator().manual_seed(step))
        positions = slab.lengths
        for each in (slab, other):
            each.advance()
        found = decoder.step(tokens, positions)
        with on_pytorch():
            expected, _ = Stack(model)(tokens, positions, SlabAttention(other, torch.float32))
        assert_near(found, expected)
        assert_near(decoder.logits(found), head(expected))
        for one, two in zip(slab.layers, other.layers, strict=True):
            held = (slice(len(slab)), slice(None), slice(slab.used))
            assert_near(one.keys[held].flatten(1), two.keys[held].flatten(1))
            assert_near(one.values[held].flatten(1), two.values[held].flatten(1))
        gone = torch.arange(len(slab)) == step  # the next is of one row less
        if len(slab) > 1:
            slab.drop(gone)
            other.drop(gone)


def grouped(model, lengths, sizes, *, known):
    """A slab of so many rows a group, each with its group's prompt; whether it is ``known`` who belongs together."""
    one = filled(model, lengths)
    spread = torch.arange(len(lengths)).repeat_interleave(torch.tensor(sizes))
    slab = Slab(len(one.layers), len(spread), one.columns, torch.device("cpu"))
    slab.admit(torch.tensor(lengths)[spread], spread if known else None)
    for block, own in zip(slab.layers, one.layers, strict=True):
        block.place(*(tensor[spread, :, : one.used] for tensor in (own.keys, own.values)))
    return slab


@torch.inference_mode()
def assert_reads_prompts_of_leaders(model):
    """The bits of rows that each read their own prompt; what others than leaders hold of it is not read."""
    slabs = [grouped(model, [37, 20, 5], [6, 4, 1], known=known) for known in (True, False)]
    decoders = [Decoder(model, slab.rows, slab) for slab in slabs]
    for number in range(4):
        tokens = torch.arange(3, 3 + len(slabs[0]))
        for slab in slabs:
            slab.advance()
        if number == 3:
            for row in (slabs[0].leaders != torch.arange(len(tokens))).nonzero().flatten().tolist():
                first, held = int(slabs[0].starts[row]), int(slabs[0].admitted[row]) // 16 * 16  # whole vectors
                for block in slabs[0].layers:
                    block.keys[row, :, first : first + held] = block.values[row, :, first : first + held] = torch.nan
        one, two = (decoder.step(tokens, slab.lengths - 1) for decoder, slab in zip(decoders, slabs, strict=True))
        assert torch.equal(one, two)
        assert not one.isnan().any()
        gone = torch.arange(len(tokens)) == number  # leaders too
        for slab in slabs if number < 3 else []:
            slab.drop(gone)
    assert len(slabs[0].leaders.unique()) < len(slabs[0])


@pytest.mark.parametrize("config", [FAMILIES["llama"], FAMILIES["qwen3"], LlamaConfig(**SIZES | {"head_dim": 64})])
def test_a_group_reads_its_prompt_where_its_leader_has_it(compiled, config):
    assert_reads_prompts_of_leaders(opened(config))


def test_every_family_of_the_stack_is_tried():
    assert {config.model_type for config in FAMILIES.values()} == set(KNOWN)


@pytest.mark.parametrize("adapters", ["all", "last", "none"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_is_that_of_the_stack_family_by_family(compiled, family, adapters):
    model = opened(FAMILIES[family], adapted=adapters != "none", layers=[2] if adapters == "last" else None)
    assert can_decode(model)
    assert_decodes(model, [9, 1, 37, 20, 20])


@pytest.mark.parametrize("rows", [*range(1, 18), 32])
def test_a_step_is_that_of_the_stack_however_many_rows_there_are(compiled, rows):
    """Rows of 1 to 40 tokens: each starts at a column of its own."""
    assert_decodes(opened(FAMILIES["llama"]), [(7 * i) % 40 + 1 for i in range(rows)], steps=2)


SHAPES = {  # hidden, middle, heads, key heads, head size
    "one query a key": (50, 97, 3, 3, 6),
    "two queries a key": (33, 31, 4, 2, 18),
    "three queries a key": (19, 5, 6, 2, 10),
    "one key for all": (24, 49, 3, 1, 2),
    "whole vectors": (48, 96, 2, 1, 64),
    "vectors and a rest": (65, 47, 2, 1, 86),
}


@pytest.mark.parametrize("config", [MistralConfig, Qwen3Config])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_step_is_that_of_the_stack_whatever_the_sizes(compiled, shape, config):
    names = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim")
    sizes = SIZES | dict(zip(names, shape, strict=True))
    assert_decodes(opened(config(**sizes, sliding_window=None)), [3, 17, 40, 1])


@pytest.mark.parametrize("vocabulary", [97, 144])
@pytest.mark.parametrize("tied", [True, False])
def test_the_head_has_weights_of_its_own_or_those_of_the_embeddings(compiled, tied, vocabulary):
    model = opened(LlamaConfig(**SIZES | {"vocab_size": vocabulary}, tie_word_embeddings=tied))
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) is tied
    assert_decodes(model, [3, 5])


def test_states_that_do_not_lie_in_order_have_the_same_logits(compiled):
    model = opened(FAMILIES["llama"])
    decoder, states = Decoder(model, 5, filled(model, [1])), numbers(SIZES["hidden_size"], 5).t()
    with torch.inference_mode():
        assert_near(decoder.logits(states), model.get_output_embeddings()(states))


def test_a_step_has_the_same_bits_with_any_number_of_threads(compiled):
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        model = opened(FAMILIES["qwen3"])
        slab = filled(model, [9, 1, 37])
        with torch.inference_mode():
            slab.advance()
            decoder = Decoder(model, 5, slab)
            found.append(decoder.logits(decoder.step(torch.tensor([3, 4, 5]), slab.lengths - 1)))
    assert all(torch.equal(one, found[0]) for one in found)


def test_the_decoder_has_the_adapters_as_they_were_when_it_was_made(compiled):
    """It reads nothing of the policy but norms, biases and embeddings afterwards."""
    model = opened(FAMILIES["llama"])
    slab = filled(model, [4, 2])
    slab.advance()
    with torch.inference_mode():
        decoder = Decoder(model, 2, slab)
        before = decoder.step(torch.tensor([3, 4]), slab.lengths - 1)
        with model.disable_adapter():
            assert torch.equal(decoder.step(torch.tensor([3, 4]), slab.lengths - 1), before)
            other = Decoder(model, 2, slab).step(torch.tensor([3, 4]), slab.lengths - 1)
    assert (other - before).norm() > 0.01 * before.norm()


# --- what it does not decode -----------------------------------------------------------------------------------------


class OtherLinear(nn.Linear):
    """A layer with arithmetic of its own."""


def coarse_in_part(model):
    model.get_decoder().layers[2].mlp.up_proj.to(torch.bfloat16)
    return model


def coarse_head(model):
    model.lm_head.to(torch.bfloat16)
    return model


def other_head(model):
    model.lm_head = OtherLinear(SIZES["hidden_size"], SIZES["vocab_size"], bias=False)
    return model


def other_layer(model):
    model.get_decoder().layers[1].mlp.down_proj = OtherLinear(SIZES["intermediate_size"], SIZES["hidden_size"])
    return model


def rows_apart(model):
    projection = model.get_decoder().layers[0].self_attn.q_proj
    projection.weight.data = projection.weight.data.t().contiguous().t()
    return model


def head_rows_apart(model):
    model.lm_head.weight.data = model.lm_head.weight.data.t().contiguous().t()
    return model


CHANGES = [coarse_in_part, coarse_head, other_head, other_layer, rows_apart, head_rows_apart]


@pytest.mark.parametrize("change", CHANGES)
def test_matrices_that_are_not_plain_or_not_of_one_dtype_are_left_to_pytorch(compiled, change):
    model = opened(FAMILIES["llama"], adapted=False)
    assert can_decode(model)
    assert not can_decode(change(model))


def test_an_adapted_head_is_left_to_pytorch(compiled):
    assert not can_decode(opened(FAMILIES["llama"], targets=[*TARGETS, "lm_head"]))


def test_other_architectures_are_left_to_pytorch(compiled):
    assert not can_decode(opened(GemmaConfig(**SIZES), adapted=False))


def test_without_the_library_nothing_is_decoded():
    model = opened(FAMILIES["llama"])
    assert not can_decode(model)
    with pytest.raises(ValueError, match="no compiled kernels"):
        Decoder(model, 1, filled(model, [1]))
