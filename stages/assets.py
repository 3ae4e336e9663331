"""Stage `assets`: fetch, verify and lay out the base model, the sentence encoder and the conversations."""

from pathlib import Path

import sibling

from polychrome import stage
from polychrome.engine.compute import dtype_named
from polychrome.engine.trial import try_base
from polychrome.models.assets import make_assets
from polychrome.params import load_params


def main() -> None:
    params = load_params()
    assets, dtype = params.assets, dtype_named(params.compute.dtype)

    def tried(base: Path, called: str) -> None:
        try_base(base, called, params.lora, params.prompt, dtype, assets.load_in_4bit)

    make_assets(assets.base_model, assets.encoder, assets.conversations, tried=tried)
    print(f"base model {assets.base_model} in assets/base, encoder {assets.encoder} in assets/encoder")
    print(f"conversations: {assets.conversations}; each licence is beside what was fetched")


if __name__ == "__main__":
    stage.run(main)
