"""Stage `assets`: fetch, verify and lay out the base model, the sentence encoder and the conversations."""

import sibling

from polychrome import stage
from polychrome.models.assets import make_assets
from polychrome.params import load_params


def main() -> None:
    assets = load_params().assets
    make_assets(assets.base_model, assets.encoder, assets.conversations)
    print(f"base model {assets.base_model} in assets/base, encoder {assets.encoder} in assets/encoder")
    print(f"conversations: {assets.conversations}; licences lie beside what was fetched")


if __name__ == "__main__":
    stage.run(main)
