"""Base models and adapters: how they are opened, adapted and saved.

A policy is a base model with LoRA adapters in it (Hu et al. 2021, arXiv 2106.09685). Adapters are saved as PEFT's own
safetensors, so `PeftModel.from_pretrained` opens them with none of this code.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from polychrome.errors import InputError, bad
from polychrome.files import read_json, write_json
from polychrome.paths import HUB, RECIPE
from polychrome.randomness import seed_for

POLICY, REFERENCE = "default", "reference"  # adapter names inside one base model


def open_base(
    directory: str | Path, dtype: torch.dtype, load_in_4bit: bool = False, device: str | torch.device | None = None
) -> PreTrainedModel:
    """Open a base model for inference or as the frozen base of adapters, on ``device``: by default a GPU, if any.

    Raises InputError when the directory holds no safetensors model, or when 4-bit weights are asked for without
    bitsandbytes.
    """
    directory = Path(directory)
    if not (directory / "config.json").is_file():
        raise bad(str(directory), "no base model", "config.json and *.safetensors", "Run `dvc repro assets`.")
    extra: dict[str, Any] = {}
    if load_in_4bit:
        if find_spec("bitsandbytes") is None:
            remedy = "Set it to false, or: .venv/bin/pip install -c constraints.txt -e '.[quantized]'"
            raise bad("params.yaml:assets.load_in_4bit", "true without bitsandbytes", "that package", remedy)
        from transformers import BitsAndBytesConfig

        extra["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype, bnb_4bit_use_double_quant=True
        )
    # Attention is SDPA, or "eager" where transformers has no other for the architecture (Gemma 2, GPT-OSS).
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, use_safetensors=True, **extra)
    model.requires_grad_(False)
    model.config.use_cache = False
    for module in model.modules() if load_in_4bit else ():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # Else the first forward pass without a gradient repacks the weights, and later ones give none.
            module.support_avx512bf16_for_cpu = False
    if load_in_4bit:
        return model.eval()  # where bitsandbytes has put it: the GPU of this process, or the CPU
    return model.eval().to(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def open_tokenizer(directory: str | Path) -> PreTrainedTokenizerBase:
    """Open the tokenizer beside a base model, which stage `assets` has checked."""
    return AutoTokenizer.from_pretrained(directory)


def add_adapter(base: PreTrainedModel, settings: Any, seed: int) -> Any:
    """Put a new trainable LoRA adapter into ``base``; its draw depends on ``seed`` alone. Returns a PeftModel.

    ``settings`` is params.yaml: lora. B starts at zero, so the policy starts as the base model. Raises
    InputError where a target names none of the linear layers to adapt, or a head whose weights are the embedding's too.
    """
    from peft import LoraConfig, get_peft_model

    linear = {name for name, module in base.named_modules() if isinstance(module, (torch.nn.Linear, Conv1D))}
    head, embedding = base.get_output_embeddings(), base.get_input_embeddings()
    tied = {name for name, module in base.named_modules() if module is head and head.weight is embedding.weight}
    layers = base.config.num_hidden_layers
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.targets),
        layers_to_transform=list(range(layers - settings.layers, layers)) if settings.layers else None,
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed_for(seed, "adapter"))
        try:
            policy = get_peft_model(base, config, adapter_name=POLICY)
        except ValueError as error:
            raise _wrong_targets(settings.targets, f"of which {error}", linear - tied) from error
    adapted = linear & set(policy.targeted_module_names)
    if missing := [target for target in settings.targets if not _named(target, adapted)]:
        raise _wrong_targets(missing, "which no linear layer to adapt is called", linear - tied)
    if missing := [target for target in settings.targets if _named(target, adapted & tied)]:
        raise _wrong_targets(missing, "whose weights are those of the embedding too", linear - tied)
    return policy


def _named(target: str, layers: set[str]) -> bool:
    return any(f".{layer}".endswith(f".{target}") for layer in layers)


def _wrong_targets(targets: Sequence[str], why: str, linear: set[str]) -> InputError:
    names = ", ".join(sorted({layer.rpartition(".")[2] for layer in linear}))
    found, remedy = f"{', '.join(targets)}, {why}", "Correct them; lora.layers says how many layers are adapted."
    return bad("params.yaml:lora.targets", found, f"linear layers of the base model, which are {names}", remedy)


def open_adapter(base: PreTrainedModel, directory: str | Path, *, trainable: bool, with_reference: bool = False) -> Any:
    """Open a saved adapter in ``base``; ``with_reference`` opens it twice, the second time frozen, over one base.

    Raises InputError when there is no adapter in ``directory``.
    """
    from peft import PeftModel

    directory = Path(directory)
    if not (directory / "adapter_model.safetensors").is_file():
        raise bad(str(directory), "no adapter", "adapter_model.safetensors", "Train it first: `dvc repro`.")
    policy = PeftModel.from_pretrained(base, directory, adapter_name=POLICY, is_trainable=trainable)
    if with_reference:
        policy.load_adapter(directory, adapter_name=REFERENCE, is_trainable=False)
    for layer in lora_layers(policy):
        layer.set_adapter(POLICY)
    for key, tensor in policy.named_parameters():
        tensor.requires_grad_(trainable and f".{POLICY}." in key and "lora_" in key)
    return policy


def save_adapter(policy: Any, directory: Path, recipe: Mapping[str, Any]) -> None:
    """Write the policy's adapter (PEFT safetensors and config) and the recipe it was made by into ``directory``.

    The config names the base by its id on the hub and the commit, if it came from there.
    """
    # "auto", PEFT's default for embeddings, may ask the hub whether the vocabulary was changed; it was not.
    policy.save_pretrained(directory, safe_serialization=True, selected_adapters=[POLICY], save_embedding_layers=False)
    (directory / "README.md").unlink(missing_ok=True)  # PEFT's empty model card says nothing true
    config = read_json(directory / "adapter_config.json")
    hub = Path(policy.get_base_model().name_or_path) / HUB
    origin = read_json(hub) if hub.is_file() else {"id": "assets/base", "revision": None}
    # The name by which anybody finds the base; not where this machine happened to keep it.
    config |= {"base_model_name_or_path": origin["id"], "revision": origin["revision"]}
    config["target_modules"] = sorted(config["target_modules"])  # a set: its order is not the same twice
    write_json(directory / "adapter_config.json", config)
    write_json(directory / RECIPE, dict(recipe))


def adapter_tensors(policy: Any) -> dict[str, torch.nn.Parameter]:
    """The trainable tensors of the policy's adapter by name, in the model's order."""
    return {name: tensor for name, tensor in policy.named_parameters() if tensor.requires_grad}


def lora_layers(policy: Any) -> Iterator[Any]:
    """Every layer of ``policy`` that carries adapters."""
    from peft.tuners.lora import LoraLayer

    return (module for module in policy.modules() if isinstance(module, LoraLayer))


def set_training(policy: Any, training: bool) -> None:
    """As ``policy.train(training)``; that, module by module of thousands, takes as long as decoding a token."""
    waiting = [policy]
    while waiting:
        module = waiting.pop()
        if module.training is not training:
            module.training = training
        waiting.extend(module.children())


@contextmanager
def reference_active(policy: Any) -> Iterator[None]:
    """Inside, ``policy`` answers as the frozen reference adapter; base weights are shared, nothing is copied.

    Raises ValueError when ``policy`` was opened without one: it would answer as the bare base model.
    """
    if REFERENCE not in policy.peft_config:
        raise ValueError("this policy has no reference adapter: open_adapter(..., with_reference=True)")
    _switch(policy, REFERENCE)
    try:
        yield
    finally:
        _switch(policy, POLICY)


def _switch(policy: Any, name: str) -> None:
    # PEFT's own set_adapter also flips requires_grad, which would take the trainable tensors out of the graph.
    for layer in lora_layers(policy):
        layer._active_adapter = [name]


def _mergeable(base: torch.nn.Module) -> bool:
    whole = isinstance(base, torch.nn.Linear) and type(base.weight.data) is torch.Tensor  # no DTensor
    return whole and base.weight.dtype == torch.float32


@contextmanager
def merged(policy: Any) -> Iterator[PreTrainedModel]:
    """Inside, the base weights are W + (alpha/rank) B A and the bare model is yielded: no adapter arithmetic a token.

    The original weight tensors are kept aside and put back, so they return bit for bit. Over weights coarser than
    float32 (bfloat16, 4-bit) the sum would round the update away: there the adapted model is yielded unmerged, as is a
    model without adapters, and one whose weights are shared out over processes.
    """
    layers = list(lora_layers(policy))
    bases = [layer.get_base_layer() for layer in layers]
    if not all(_mergeable(base) for base in bases):
        layers = []
    originals: list[torch.Tensor] = []
    try:
        with torch.no_grad():
            for layer, base in zip(layers, bases, strict=False):
                (name,) = layer.active_adapters
                a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
                originals.append(base.weight.data)
                base.weight.data = torch.addmm(base.weight.data, b, a, alpha=layer.scaling[name])
                layer._disable_adapters = True
        yield policy.get_base_model() if hasattr(policy, "get_base_model") else policy
    finally:
        for layer, base, original in zip(layers, bases, originals, strict=False):  # as many as were merged
            base.weight.data, layer._disable_adapters = original, False
