"""A data set of the Hugging Face hub, fetched by stage `assets` into a Parquet file that source `replies` reads."""

import re
from pathlib import Path

from polychrome.errors import bad

HUB_DATA = r"(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.-]+))?(/(?P<config>[\w.-]+))?/(?P<split>[\w.-]+)"


def fetch_data(name: str, into: Path, cache: Path) -> None:
    """Write the split that ``name`` (``owner/name[@revision][/config]/split``) says to ``into``, as Parquet.

    Raises InputError when it cannot be fetched. No code of the data set is run.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    asked = re.fullmatch(HUB_DATA, name)
    if asked is None:
        raise bad("params.yaml:assets.conversations", name, "owner/name/split", "Name a data set and its split.")
    at = {"split": asked["split"], "revision": asked["revision"], "cache_dir": str(cache / "datasets")}
    try:
        rows = load_dataset(asked["repository"], asked["config"], **at)
    except (DatasetsError, OSError, ValueError) as error:
        found = f"{name}, which cannot be fetched ({type(error).__name__}: {str(error).strip().splitlines()[0]})"
        remedy = "Check id, split and network (HF_TOKEN for gated data), or set data.path to a file of your own."
        raise bad("params.yaml:assets.conversations", found, "a data set on the Hugging Face hub", remedy) from error
    rows.to_parquet(into / "data.parquet")
