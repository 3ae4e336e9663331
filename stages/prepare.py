"""Stage `prepare`: the source's conversations become clean (post, reply, engagement) pairs; every drop is counted."""

from polychrome import stage
from polychrome.pairs.cleaning import Thresholds
from polychrome.pairs.prepare import prepare
from polychrome.params import load_params


def main() -> None:
    data = load_params().data
    thresholds = Thresholds(
        min_words=data.min_words,
        max_post_words=data.max_post_words,
        max_reply_words=data.max_reply_words,
        near_duplicate=data.near_duplicate,
        limit=data.limit,
    )
    report = prepare(data.source, data.path, thresholds, "data/prepared")
    dropped = ", ".join(f"{count} {reason}" for reason, count in report["dropped"].items() if count)
    print(f"{report['kept']} pairs of {report['candidates']} candidates, in {report['conversations']} conversations")
    print(f"dropped: {dropped or 'none'}")
    print("the pairs are data/prepared/pairs.jsonl, the counts data/prepared/cleaning_report.json")


if __name__ == "__main__":
    stage.run(main)
