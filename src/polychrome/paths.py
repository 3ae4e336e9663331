"""Where stages find and leave things, relative to the repository's root."""

from pathlib import Path

BASE = Path("assets/base")
ENCODER = Path("assets/encoder")
JUDGE = Path("models/judge")  # of engagement
PHASES = Path("data/phases")
REFERENCES = PHASES / "references.jsonl"  # what others replied to the test posts
REWARD = Path("models/reward")  # the learned reward
CUSTOM_REWARDS = Path("custom_rewards")  # functions of the user's own
RECIPE = "recipe.json"  # in a model's folder: how it was made
HUB = "hub.json"  # in the folder of a base model that came from the hub: its id there, and the commit
CONTROL = "control_"  # what the name of a control's arm begins with


def model_dir(model: str, seed: int) -> Path:
    """The folder of one model: an adapter, or a note that the base model is left as it is."""
    return Path(f"models/{model}/seed-{seed}")


def training_dir(arm: str, seed: int) -> Path:
    """Curves and summary of one training run."""
    return _results(arm) / f"training/{arm}/seed-{seed}"


def generations_file(model: str, seed: int) -> Path:
    """A model's replies to the test posts."""
    return _results(model) / f"generations/{model}/seed-{seed}.jsonl"


def evaluation_dir(model: str, seed: int) -> Path:
    """What was measured of a model's replies."""
    return _results(model) / f"evaluation/{model}/seed-{seed}"


def gaming_dir(arm: str, seed: int) -> Path:
    """The gaming verdict on one GRPO run, with its evidence."""
    return _results(arm) / f"gaming/{arm}/seed-{seed}"


def _results(name: str) -> Path:
    """Controls keep their results apart: what compares models reads whole folders."""
    return Path("results/controls") if name.startswith(CONTROL) else Path("results")
