"""Where models come from, how they are asked and adapted (params.yaml: assets, prompt, lora, untouched arms)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from polychrome.declare import Rule, Section
from polychrome.pairs.formats.hub import HUB_DATA
from polychrome.pairs.sources import FETCHED


@dataclass(frozen=True, kw_only=True)
class AssetSettings(Section):
    """Where the pretrained parts come from."""

    base_model: Annotated[
        str, Rule("a name in models/registry.py, a local directory, or a Hugging Face id", empty=False)
    ]
    encoder: Annotated[str, Rule("likewise, a sentence encoder", empty=False)]
    watched: Annotated[str, Rule("folder of local models; DVC watches it", empty=False)] = "local"
    conversations: Annotated[
        str,
        Rule(
            "a name in pairs/sources/__init__.py, owner/name/split on the Hugging Face hub, or none",
            pattern="|".join((*FETCHED, "none", HUB_DATA)),
            words=f"that is {', '.join(FETCHED)}, none, or owner/name/split on the Hugging Face hub",
        ),
    ]
    load_in_4bit: Annotated[bool, Rule("true or false; 4-bit base weights, by bitsandbytes")]


@dataclass(frozen=True, kw_only=True)
class PromptSettings(Section):
    """The system prompt and token limits."""

    plain: Annotated[str, Rule("system prompt of every trained model", empty=False)]
    max_prompt_tokens: Annotated[int, Rule("tokens; a longer post is an error, never cut in silence", minimum=1)]
    max_reply_tokens: Annotated[int, Rule("tokens of a training reply; end included", minimum=1)]


@dataclass(frozen=True, kw_only=True)
class LoraSettings(Section):
    """The adapter (Hu et al. 2021, arXiv 2106.09685)."""

    rank: Annotated[int, Rule(minimum=1)]
    alpha: Annotated[float, Rule("; the update is scaled by alpha / rank", above=0)]
    dropout: Annotated[float, Rule(minimum=0, below=1)]
    layers: Annotated[int, Rule("adapt only the last so many layers; 0 adapts all", minimum=0)]
    targets: Annotated[tuple[str, ...], Rule("linear layers that get an adapter", empty=False, unique=True)]


@dataclass(frozen=True, kw_only=True)
class UntouchedArm(Section):
    """The base model as it is."""

    stage: ClassVar[str] = "untouched"

    objective: Annotated[str, Rule("untouched, or one of METHODS in training/methods")]
    prompt: Annotated[str, Rule("system prompt", empty=False)]
