"""Stage `prepare`: the source's conversations become clean (post, reply, engagement) pairs; every drop is counted."""

import sibling

from polychrome import stage
from polychrome.pairs.cleaning import prepare
from polychrome.params import load_params


def main() -> None:
    report = prepare(load_params().data, "data/prepared")
    dropped = ", ".join(f"{count} {reason}" for reason, count in report["dropped"].items() if count)
    print(f"{report['kept']} pairs of {report['candidates']} candidates, in {report['conversations']} conversations")
    print(f"dropped: {dropped or 'none'}")
    print("the pairs are in data/prepared/pairs.jsonl, the counts in data/prepared/cleaning_report.json")


if __name__ == "__main__":
    stage.run(main)
