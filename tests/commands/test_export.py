"""`polychrome export`: what is written is opened by others, and answers as base and adapter do."""

import base64
import json
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from peft import PeftModel
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers import models as tokenizer_models
from transformers import AutoModelForCausalLM, AutoTokenizer

from polychrome.commands import export
from polychrome.commands.export import with_defaults
from polychrome.commands.gguf_file import SPLITS, split_of, write_gguf
from polychrome.errors import InputError
from polychrome.models.chat import TODAY, Chat
from tests.engine.families import FAMILIES, opened
from tests.pipeline.conftest import set_params

MODEL = "grpo_from_polychromic/seed-42"
IDS = torch.tensor([[5, 6, 7, 8, 9, 40, 41, 60]])


def assert_told(said, message):
    assert re.search(message, said), said


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits.double()


def nats(before, after):
    p, q = before.log_softmax(-1), after.log_softmax(-1)
    return float((p.exp() * (p - q)).sum(-1).mean())


@pytest.fixture
def expected(project):
    """Logits of base and adapter, opened by PEFT."""
    base = AutoModelForCausalLM.from_pretrained(project / "assets/base", dtype=torch.float32)
    untouched = logits(base)
    adapted = logits(PeftModel.from_pretrained(base, project / "models" / MODEL))
    assert (adapted - untouched).abs().max() > 0.1
    return adapted


def test_the_merged_model_opened_by_transformers_has_the_logits_of_base_and_adapter(project, polychrome, expected):
    printed = polychrome("export", MODEL, "out").out
    assert "opened again by transformers: safetensors, logits within" in printed
    merged = AutoModelForCausalLM.from_pretrained(project / "out", dtype=torch.float32)
    assert (logits(merged) - expected).abs().max() < 1e-4
    assert merged.config.use_cache
    generation = merged.generation_config
    assert (generation.do_sample, generation.temperature, generation.top_p) == (True, 0.8, 0.95)
    assert (generation.max_new_tokens, generation.eos_token_id) == (6, 1)


def test_its_template_asks_as_training_did_unless_a_system_turn_is_given(project, polychrome):
    set_params(project / "params.yaml", {"prompt.plain": 'Say "hi"\\n, {{ not }} {% this %}.'})
    polychrome("export", MODEL, "out")
    asked = AutoTokenizer.from_pretrained(project / "out")
    base = AutoTokenizer.from_pretrained(project / "assets/base")
    ours = Chat(base, 'Say "hi"\\n, {{ not }} {% this %}.', 200, 32)

    def ids(tokenizer, *turns):
        turns = [dict(zip(("role", "content"), turn, strict=True)) for turn in turns]
        text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    assert ids(asked, ("user", "hello you")) == ours.prompt("hello you")
    other = (("system", "Be kind."), ("user", "hello"))
    assert ids(asked, *other) == ids(base, *other)


def test_a_template_that_can_think_is_told_not_to_as_in_training():
    from jinja2 import Template

    template = Template(with_defaults("{{ messages[0].content }} {{ enable_thinking }}", "S"))
    turns = [{"role": "user", "content": "u"}]
    assert template.render(messages=turns) == "S False"
    assert template.render(messages=turns, enable_thinking=True) == "S True"


def test_a_template_with_a_clock_has_the_date_of_training():
    from jinja2 import Template

    template = """{{ strftime_now("%d %b %Y") }} {{ strftime_now('%Y') }} {{ messages[0].content }}"""
    exported = with_defaults(template, "S")
    assert Template(exported).render(messages=[{"role": "user"}]) == f"{TODAY:%d %b %Y} {TODAY:%Y} S"


def own_base(project):
    """The base model in a folder that the test may change."""
    base = shutil.copytree(project / "assets/base", project / "base")
    (project / "assets/base").unlink()
    return base.rename(project / "assets/base")


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0"])
def test_a_gguf_file_opened_by_transformers_answers_as_base_and_adapter_do(project, polychrome, expected, kind):
    """F32 to 1e-4 in every logit; rounded kinds to the mean KL that the command states and checks."""
    file = own_base(project) / "tokenizer.json"
    tokens = json.loads(file.read_text())
    vocabulary = tokens["model"]["vocab"]
    vocabulary["hi"] = vocabulary.pop("\u0143")  # a byte that no UTF-8 text has
    tokens["model"]["merges"] = [["h", "i"]]
    file.write_text(json.dumps(tokens))
    printed = polychrome("export", MODEL, "out", "--gguf", kind).out
    assert f"{kind}, logits within" in printed
    file = f"grpo_from_polychromic-seed-42-{kind}.gguf"
    (project / "alone").mkdir()
    (project / "out" / file).rename(project / "alone" / file)
    found = logits(AutoModelForCausalLM.from_pretrained(project / "alone", gguf_file=file, dtype=torch.float32))
    if kind == "F32":
        assert (found - expected).abs().max() < 1e-4
    else:
        assert (found - expected).abs().max() > 0
        assert nats(expected, found) < export.NATS[kind]
    tokenizer = AutoTokenizer.from_pretrained(project / "alone", gguf_file=file)
    assert tokenizer(text := "hi <|im_end|> 12")["input_ids"] == AutoTokenizer.from_pretrained("out")(text)["input_ids"]
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained("out").chat_template


def test_what_ends_a_reply_ends_it_where_the_model_is_opened_too(project, polychrome):
    """Here the template closes a turn with token 0, the tokenizer's end is 1, and the base model names 5 as well."""
    import gguf

    base = own_base(project)
    (base / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}<|im_start|>\n{% endfor %}")
    (base / "generation_config.json").write_text('{"eos_token_id": [1, 5]}')
    polychrome("export", MODEL, "out", "--gguf", "F32")
    assert AutoModelForCausalLM.from_pretrained(project / "out").generation_config.eos_token_id == [0, 1, 5]
    reader = gguf.GGUFReader(project / "out/grpo_from_polychromic-seed-42-F32.gguf")
    ends = [reader.fields[f"tokenizer.ggml.{kind}_token_id"].contents() for kind in ("eot", "eos")]
    assert ends == [0, 1]


@pytest.mark.parametrize("family", ["llama", "llama with biases", "mistral", "qwen2", "qwen3"])
def test_every_family_is_named_and_turned_as_llama_cpp_has_it(family, tiny_base, tmp_path, monkeypatch):
    """Read back by name: what transformers undoes to open a file is what llama.cpp's converter does to write it."""
    import gguf

    model = opened(FAMILIES[family], adapted=False)
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    monkeypatch.setattr("polychrome.commands.gguf_file._add_tokenizer", lambda *of: None)
    write_gguf(model, tokenizer, tmp_path / "m.gguf", "F32", "m")
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    found = {tensor.name: np.array(tensor.data).reshape(tensor.shape[::-1]) for tensor in reader.tensors}
    weights = {name: tensor.numpy() for name, tensor in model.named_parameters()}
    assert len(found) == len(weights)
    rotated = model.config.model_type in ("llama", "mistral")
    for ours, theirs in (("q_proj", "attn_q"), ("k_proj", "attn_k"), ("v_proj", "attn_v"), ("o_proj", "attn_output")):
        heads = {"q_proj": 4, "k_proj": 2}.get(ours)
        for kind in ("weight", "bias"):
            if f"blk.1.{theirs}.{kind}" in found:
                own = weights[f"model.layers.1.self_attn.{ours}.{kind}"]
                if heads and rotated:  # row 2 i + j of a head is its row j size / 2 + i
                    size = len(own) // heads
                    order = [
                        h * size + j * size // 2 + i for h in range(heads) for i in range(size // 2) for j in (0, 1)
                    ]
                    own = own[order]
                np.testing.assert_array_equal(found[f"blk.1.{theirs}.{kind}"], own)
    np.testing.assert_array_equal(found["blk.2.ffn_down.weight"], weights["model.layers.2.mlp.down_proj.weight"])


def test_rotary_scaling_and_other_architectures_are_refused_with_the_converter_that_may_know_them(tiny_base, tmp_path):
    model, tokenizer = (
        opened(FAMILIES["llama with scaled positions"], adapted=False),
        AutoTokenizer.from_pretrained(tiny_base),
    )
    with pytest.raises(InputError, match=r"rotary embeddings of type llama3; .*convert_hf_to_gguf\.py"):
        write_gguf(model, tokenizer, tmp_path / "m.gguf", "F32", "m")
    model.config.model_type = "mamba"
    with pytest.raises(InputError, match="found mamba; expected one of llama, mistral, qwen2, qwen3"):
        write_gguf(model, tokenizer, tmp_path / "m.gguf", "F32", "m")


def splitting(*steps, normalizer=None, model=None):
    tokenizer = Tokenizer(model or tokenizer_models.BPE())
    tokenizer.pre_tokenizer = steps[0] if len(steps) == 1 else pre_tokenizers.Sequence(list(steps))
    if normalizer:
        tokenizer.normalizer = normalizer
    return json.loads(tokenizer.to_str())


def test_how_a_tokenizer_splits_is_named_as_llama_cpp_does_and_what_it_has_no_name_for_is_refused():
    bytes_alone, digits = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        pre_tokenizers.Digits(individual_digits=True),
    )
    after = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    assert split_of(splitting(bytes_alone)) == "gpt-2"
    assert split_of(splitting(digits, bytes_alone)) == "smollm"
    assert sorted(SPLITS.values()) == ["llama-bpe", "qwen2"]
    for regex, name in SPLITS.items():
        words = pre_tokenizers.Split(Regex(regex), "isolated")
        assert split_of(splitting(words, after, normalizer=normalizers.NFC())) == name
        assert [text for text, _ in words.pre_tokenize_str("12")] == (["12"] if name == "llama-bpe" else ["1", "2"])
    for other in (
        splitting(pre_tokenizers.ByteLevel(add_prefix_space=True)),
        splitting(pre_tokenizers.Whitespace()),
        splitting(digits, after),
        splitting(bytes_alone, normalizer=normalizers.Lowercase()),
        splitting(bytes_alone, model=tokenizer_models.WordLevel()),
    ):
        with pytest.raises(InputError, match="a tokenizer of another kind"):
            split_of(other)


def test_the_card_says_what_it_is_what_was_measured_and_what_it_is_not_for(project, polychrome):
    interval = {"mean": 0.5, "low": 0.25, "high": 0.75}
    metrics = {"pass_at_10": interval, "self_bleu": dict.fromkeys(interval)}
    measured = {"metrics": metrics, "human": {}, "posts": 40, "samples": 10}
    write(project / "results/evaluation" / MODEL / "metrics.json", measured)
    write(project / "results/gaming" / MODEL / "verdict.json", {"text": "Not gamed: the proxy changed by +0.031."})
    report = {"candidates": 100, "kept": 60, "dropped": {"too short": 40, "URL only": 0}}
    write(project / "data/prepared/cleaning_report.json", report)
    split = {"parts": {"phase2": {"pairs": 12}}}
    write(project / "data/phases/phase_split_statistics.json", split)
    (project / "LICENSE").write_text("                 Apache License\n")
    shutil.copy(project / "LICENSE", own_base(project) / "LICENSE")
    polychrome("export", MODEL, "out", "--gguf", "Q8_0")
    card = (project / "out/README.md").read_text()
    header = card.split("---")[1]
    assert "license: apache-2.0\n" in header
    assert "base_model: HuggingFaceTB/SmolLM2-135M-Instruct" in header
    for said in (
        "4-bit GGUF (Q4_1) made float32 again",
        "grpo_from_polychromic` after polychromic_warmstart",
        "beta 0.05",
        "100 candidates, 60 kept (dropped: 40 too short)",
        "phase2 12",
        "| Pass@10 | 0.500 | 0.250 to 0.750 | - |",
        "Not gamed: the proxy changed by +0.031.",
        "'Reply to the message.'",
        "Opened again by transformers: Q8_0, logits",
        "posing as a person",
    ):
        assert said in card
    assert "self-BLEU" not in card  # it was not defined
    assert (project / "out/LICENSE").read_text() == (project / "LICENSE").read_text()
    texts = "".join(
        path.read_text() for path in (project / "out").iterdir() if path.suffix in (".json", ".md", ".jinja")
    )
    assert str(project) not in texts


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def test_a_card_without_results_says_so_and_one_of_a_base_from_the_hub_names_it(project, polychrome):
    write(own_base(project) / "hub.json", {"id": "some-one/a.model", "revision": "0a" * 20})
    polychrome("export", "zero_shot", "out")
    card = (project / "out/README.md").read_text()
    assert "base_model: some-one/a.model" in card
    for said in ("license: unknown", "Nothing: it was not evaluated", "Not asked", "None: the base model as it is"):
        assert said in card
    assert "Not all counts are at hand" in card


def test_the_adapter_alone_opens_by_peft_and_its_card_names_the_base(project, polychrome, expected):
    polychrome("export", MODEL, "out", "--adapter")
    base = AutoModelForCausalLM.from_pretrained(project / "assets/base", dtype=torch.float32)
    assert torch.equal(logits(PeftModel.from_pretrained(base, project / "out")), expected)
    assert "fits them alone" in (project / "out/README.md").read_text()
    said = polychrome("export", "zero_shot", "other", "--adapter", fails=True).err
    assert_told(said, "found no adapter: it is the base model as it is")


def test_an_earlier_export_is_replaced_and_a_folder_of_anything_else_never(project, polychrome):
    polychrome("export", MODEL, "out")
    (project / "out/stale").write_text("")
    polychrome("export", MODEL, "out")
    assert not (project / "out/stale").exists()
    (project / "mine").mkdir()
    (project / "mine/letter.txt").write_text("dear")
    for directory in ("mine", "params.yaml", f"models/{MODEL}"):
        said = polychrome("export", MODEL, directory, fails=True).err
        assert_told(said, f"{directory}: found something else; expected a new folder, or an earlier export")
    assert (project / "mine/letter.txt").read_text() == "dear"


def test_what_does_not_answer_as_base_and_adapter_do_is_not_kept(project, polychrome, monkeypatch):
    def logits_of_another(model, probes, own=export._logits):
        return own(model, probes) + (2e-4 if hasattr(model, "peft_config") else 0)

    monkeypatch.setattr(export, "_logits", logits_of_another)
    said = polychrome("export", MODEL, "out", fails=True).err
    assert_told(said, "what was written: found .*; expected at most 0.0001 from base and adapter")
    assert not (project / "out").exists()


def test_bad_inputs_end_with_one_message_each(project, polychrome, monkeypatch):
    for arguments, message in (
        (("baselin", "out"), "found baselin; expected .*Did you mean baseline?"),
        ((MODEL, "out", "--push", "nobody"), "--push: found nobody; expected owner/name"),
        ((MODEL, "out", "--gguf", "F16", "--adapter"), "--gguf: found --adapter as well"),
        ((MODEL, "/proc/out"), "/proc/out: found .* while saving; expected room and permission"),
    ):
        assert_told(polychrome("export", *arguments, fails=True).err, message)
    (project / "models" / MODEL / "adapter_model.safetensors").unlink()
    assert_told(
        polychrome("export", MODEL, "out", fails=True).err, "found no adapter; expected adapter_model.safetensors"
    )
    (project / "assets/base").unlink()
    assert_told(polychrome("export", "baseline", "out", fails=True).err, "found no base model")
    assert not (project / "out").exists()


def test_a_full_disk_is_one_message_and_leaves_nothing(project, polychrome, monkeypatch):
    def full(model, directory):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", full)
    said = polychrome("export", MODEL, "out", "--gguf", "F32", fails=True).err
    assert_told(said, "out: found No space left on device while saving")
    assert not [path for path in project.iterdir() if "out" in path.name]


# --- uploading --------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the hub on loopback: takes a repository and a commit; `hub.files` is what was uploaded."""

    class Hub(BaseHTTPRequestHandler):
        def reply(self, value, status=200):
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            self.reply({"id": "me/model", "sha": "0" * 40, "siblings": [], "tags": [], "private": True})

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Authorization") != "Bearer hf_good":
                self.reply({"error": "Invalid token"}, 401)
            elif self.path == "/api/repos/create":
                server.made = json.loads(body)
                self.reply({"url": f"{server.address}/me/model", "id": "me/model"})
            elif self.path == "/api/validate-yaml":
                self.reply({"errors": [], "warnings": []})
            elif "/preupload/" in self.path:
                how = {"uploadMode": "regular", "shouldIgnore": False}
                self.reply({"files": [{"path": file["path"]} | how for file in json.loads(body)["files"]]})
            elif "/commit/" in self.path:
                rows = [json.loads(line)["value"] for line in body.splitlines() if json.loads(line)["key"] == "file"]
                server.files = {row["path"]: base64.b64decode(row["content"]) for row in rows}
                self.reply({"commitUrl": f"{server.address}/me/model/commit/1", "commitOid": "1" * 40})
            else:
                self.reply({"error": "unknown"}, 404)

        def log_message(self, *of):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.address, server.files, server.made = f"http://127.0.0.1:{server.server_port}", {}, None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    yield server
    server.shutdown()


def test_a_push_uploads_what_was_written(project, polychrome, hub):
    printed = polychrome("export", MODEL, "out", "--push", "me/model", "--private").out
    assert f"uploaded to {hub.address}/me/model" in printed
    assert (hub.made["name"], hub.made["organization"]) == ("model", "me")
    own = {path.name: path.read_bytes() for path in (project / "out").iterdir()}
    assert own.keys() >= {"README.md", "model.safetensors", "tokenizer.json", "config.json"}
    assert hub.files == own


def test_a_refused_or_unreachable_upload_is_one_message_and_the_export_stays(project, polychrome, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_bad")
    said = polychrome("export", MODEL, "out", "--push", "me/model", fails=True).err
    assert_told(said, "the hub's me/model: found .*401.*Set HF_TOKEN")
    assert (project / "out/model.safetensors").is_file()
    hub.shutdown()
    hub.server_close()
    assert_told(
        polychrome("export", MODEL, "out", "--push", "me/model", fails=True).err, "the hub's me/model: found Conn"
    )
