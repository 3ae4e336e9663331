"""Export a model for other programs: the adapter merged into its base, with tokenizer, settings and a model card.

DIR gets safetensors, tokenizer, chat template, generation settings and README.md: transformers and vLLM open it, and
llama.cpp the file of --gguf. The template uses the system prompt that the model was trained with unless another is
given. The result is opened again and must answer as base and adapter do.
"""

import json
import re
import shutil
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polychrome import paths
from polychrome.commands.models import named
from polychrome.errors import bad
from polychrome.files import read_json, whole_directory, write_json, write_text

if TYPE_CHECKING:
    from torch import Tensor

    from polychrome.models.chat import Chat
    from polychrome.params import Params

MADE = "polychrome_export.json"  # what an export is known by: only such a folder is replaced
QUANTISED = ("F32", "F16", "BF16", "Q8_0")
DTYPES = ("float32", "bfloat16", "float16")
LOGITS = 1e-4  # by which float32 weights, written and read again, may differ in logits up to 30, beyond in proportion
NATS = {"F16": 1e-3, "BF16": 1e-2, "Q8_0": 1e-2}  # mean KL per token, likewise, from the distribution before rounding
PROBE = ("Do you like dogs?", "I just moved to a new city and know nobody here. What did you do on the weekend?")


def arguments(parser: ArgumentParser) -> None:
    """What the command is given."""
    parser.add_argument("model", metavar="MODEL", help="<arm>/seed-<n>, as in models/")
    parser.add_argument("directory", metavar="DIR", help="a new folder, or an earlier export, which is replaced")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="for the safetensors (default: %(default)s)")
    parser.add_argument("--gguf", choices=QUANTISED, help="also write a GGUF file of this type, from float32")
    parser.add_argument("--adapter", action="store_true", help="export the adapter alone with its card, nothing merged")
    parser.add_argument("--push", metavar="OWNER/NAME", help="upload DIR to the Hugging Face Hub (HF_TOKEN)")
    parser.add_argument("--private", action="store_true", help="make the repository of --push private")


def run(asked: Namespace) -> None:
    """Export, and upload where that is asked for."""
    from polychrome.params import load_params

    directory, params = Path(asked.directory), load_params()
    if asked.push and not re.fullmatch(r"[\w.-]+/[\w.-]+", asked.push):
        raise bad("--push", asked.push, "owner/name", "Name the repository as the hub does.")
    if asked.adapter and asked.gguf:
        raise bad("--gguf", "--adapter as well", "one of them", "An adapter alone cannot be a GGUF file.")
    if directory.exists() and (
        not directory.is_dir() or (any(directory.iterdir()) and not (directory / MADE).is_file())
    ):
        raise bad(str(directory), "something else", "a new folder, or an earlier export", "Name another.")
    arm, seed = named(asked.model, params)
    if asked.adapter:
        export_adapter(params, arm, seed, directory)
    else:
        for line in export(params, arm, seed, directory, asked.dtype, asked.gguf):
            print(line, flush=True)
    print(f"{arm}/seed-{seed} is in {directory}; its README.md says what it is and what it must not be used for")
    if asked.push:
        print(f"uploaded to {push(directory, asked.push, asked.private)}")


def export_adapter(params: "Params", arm: str, seed: int, directory: Path) -> None:
    """The adapter's files and a card. Raises InputError when the model is the base as it is, or out of date."""
    from polychrome.commands.card import card
    from polychrome.models.recipes import check_recipe, recipe_of

    own = paths.model_dir(arm, seed)
    check_recipe(own, recipe_of(params, arm, seed))
    if not (own / "adapter_model.safetensors").is_file():
        raise bad(str(own), "no adapter: it is the base model as it is", "an adapter", "Leave out --adapter.")
    with whole_directory(directory) as beside:
        shutil.copytree(own, beside, dirs_exist_ok=True)
        write_text(beside / "README.md", card(params, arm, seed, adapter=True))
        write_json(beside / MADE, {"recipe": recipe_of(params, arm, seed)})


def export(params: "Params", arm: str, seed: int, directory: Path, dtype: str, gguf: str | None) -> list[str]:
    """Merge, write and open again; returns what was measured, a line each.

    Raises InputError when the model is out of date, its architecture cannot be written as GGUF, the disk refuses, or
    what was written does not answer as base and adapter do.
    """
    import torch

    from polychrome.commands.card import card
    from polychrome.evaluation.generate import open_model
    from polychrome.models.recipes import recipe_of

    whole = replace(params, assets=replace(params.assets, load_in_4bit=False))
    policy, chat = open_model(whole, arm, seed, torch.float32)
    probes = [torch.tensor([chat.prompt(text)]) for text in PROBE]
    before = _logits(policy, probes)
    model = policy.merge_and_unload() if hasattr(policy, "merge_and_unload") else policy
    model.config.use_cache = True
    model.generation_config = _generation(params, chat)
    chat.tokenizer.chat_template = with_defaults(chat.tokenizer.chat_template, chat.system)
    with whole_directory(directory) as beside:
        measured = {}
        if gguf:
            from polychrome.commands.gguf_file import write_gguf

            file = f"{arm}-seed-{seed}-{gguf}.gguf"
            write_gguf(model, chat.tokenizer, beside / file, gguf, name=f"{arm} seed {seed}")
        model.to(getattr(torch, dtype)).save_pretrained(beside)
        del model, policy
        chat.tokenizer.save_pretrained(beside)
        _copy_licence(beside)
        measured["safetensors"] = _compared(before, _opened(beside), probes, None if dtype == "float32" else "BF16")
        if gguf:
            measured[gguf] = _compared(before, _opened(beside, gguf_file=file), probes, None if gguf == "F32" else gguf)
        opened = [in_words(name, one) for name, one in measured.items()]
        write_text(beside / "README.md", card(params, arm, seed, opened))
        write_json(beside / MADE, {"recipe": recipe_of(params, arm, seed), "dtype": dtype, "opened_again": measured})
    return [f"opened again by transformers: {line}" for line in opened]


def in_words(name: str, found: Mapping[str, float]) -> str:
    """How near what was written is to base and adapter."""
    rounded = "" if found["logits"] < 1e-2 else f", mean KL {found['nats']:.1e} nats per token"
    return f"{name}, logits within {found['logits']:.1e} of base and adapter in float32{rounded}"


def with_defaults(template: str, system: str) -> str:
    """A chat template that asks as training did where no system turn, and nothing about thinking, is given.

    The date that it writes is training's.
    """
    from polychrome.models.chat import dated

    told = json.dumps(system, ensure_ascii=False)
    opening = "{% if messages[0]['role'] != 'system' %}{% set messages = [{'role': 'system', 'content': " + told
    opening += "}] + messages %}{% endif %}"
    if "enable_thinking" in template:
        opening += "{% if enable_thinking is not defined %}{% set enable_thinking = false %}{% endif %}"
    return opening + dated(template)


def _generation(params: "Params", chat: "Chat") -> Any:
    """Sampling as params.yaml has it, as transformers and vLLM read it."""
    from transformers import GenerationConfig

    names = ("temperature", "top_p", "top_k", "max_new_tokens")
    settings = {name: getattr(params.sampling, name) for name in names}
    ends = chat.stop_id if len(chat.stop_ids) == 1 else list(chat.stop_ids)
    return GenerationConfig(do_sample=True, **settings, eos_token_id=ends, pad_token_id=chat.pad_id)


def _logits(model: Any, probes: list["Tensor"]) -> "Tensor":
    """Logits (tokens, V) in float64 of all probes, one after another."""
    import torch

    with torch.inference_mode():
        return torch.cat([model(input_ids=ids.to(model.device)).logits[0].double().cpu() for ids in probes])


def _opened(directory: Path, **how: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    with redirect_stderr(StringIO()):  # progress bars that cannot be switched off
        return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, **how).eval()


def _compared(before: "Tensor", model: Any, probes: list["Tensor"], rounded: str | None) -> dict[str, float]:
    """Largest difference of a logit and mean KL (nats per token). Raises InputError where it is more than rounding."""
    after = _logits(model, probes)
    p, q = before.log_softmax(-1), after.log_softmax(-1)
    found = {"logits": float((after - before).abs().max()), "nats": float((p.exp() * (p - q)).sum(-1).mean())}
    of, limit = "nats", NATS.get(rounded or "", 0.0)
    if rounded is None:
        of, limit = "logits", LOGITS * max(1.0, float(before.abs().max()) / 30)
    if not found[of] <= limit:
        expected = f"at most {limit:.2g} from base and adapter ({of})"
        raise bad("what was written", f"{found[of]:.2g}", expected, "Nothing was kept; report it with the base's name.")
    return found


def _copy_licence(into: Path) -> None:
    if (licence := paths.BASE / "LICENSE").is_file():
        shutil.copyfile(licence, into / "LICENSE")


def push(directory: Path, repository: str, private: bool) -> str:
    """Upload ``directory``; returns the address. Raises InputError when the hub refuses or is not reached."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError

    try:
        read_json(directory / MADE)  # what is uploaded is an export, whole
        api = HfApi()
        made = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=made.repo_id, folder_path=directory, commit_message="Upload by polychrome export")
    except (OSError, ValueError, HTTPError) as error:
        found = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        remedy = f"Set HF_TOKEN to a token that may write there. The export is whole, in {directory}."
        raise bad(f"the hub's {repository}", found, "a repository that takes an upload", remedy) from error
    return str(made)
