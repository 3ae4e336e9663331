"""Control stage `metrics`: every metric and test against another implementation or its definition."""

from polychrome import stage
from polychrome.audit.controls.record import ROOT, table, write_part
from polychrome.audit.controls.reference import controls


def main() -> None:
    text = "Metrics and tests against other implementations, or their definitions counted out, on the same inputs."
    print(table(write_part(ROOT / "metrics.json", text, controls(), {})["controls"]))


if __name__ == "__main__":
    stage.run(main)
