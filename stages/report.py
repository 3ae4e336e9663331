"""Stage `report`: the run on one page, results/report.html, which opens from disk and needs no network."""

import sibling

from polychrome import stage
from polychrome.params import load_params
from polychrome.reporting.page import write_report


def main() -> None:
    params = load_params()
    page = write_report(
        ".",
        models=params.models,
        untouched=params.untouched,
        seeds=params.seeds,
        settings=params.report,
    )
    print(f"the report is {page}, {page.stat().st_size / 1e6:.1f} MB: open it in a browser")


if __name__ == "__main__":
    stage.run(main)
