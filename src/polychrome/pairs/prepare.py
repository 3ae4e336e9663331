"""From a source's file to prepared pairs and the report of what was dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from polychrome.errors import bad
from polychrome.files import write_json
from polychrome.pairs.cleaning import clean
from polychrome.pairs.schema import write_pairs
from polychrome.pairs.settings import DataSettings
from polychrome.pairs.sources import reader_of, source_path


def prepare(settings: DataSettings, out_dir: str | Path) -> dict[str, Any]:
    """Write ``pairs.jsonl`` and ``cleaning_report.json`` to ``out_dir``; returns the report.

    Raises InputError when the source is unknown or malformed, or when no pair is left; nothing is written then.
    """
    read = reader_of(settings.source)
    chosen = source_path(settings.source, settings.path)
    cleaned = clean(read(chosen), settings)
    report = {"source": settings.source, **cleaned.report}
    if not cleaned.pairs:
        dropped = {reason: count for reason, count in report["dropped"].items() if count}
        found = f"no pair left of {report['candidates']} (dropped: {dropped})"
        raise bad(str(chosen), found, "at least one pair", "Check the source, or loosen data.* in params.yaml.")
    write_json(Path(out_dir) / "cleaning_report.json", report)
    write_pairs(Path(out_dir) / "pairs.jsonl", cleaned.pairs)
    return report
