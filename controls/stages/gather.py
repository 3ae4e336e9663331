"""Control stage `gather`: all controls in one file and one short table."""

from polychrome import stage
from polychrome.audit.controls.record import gather, table


def main() -> None:
    found = gather()
    print(table(found["controls"]))
    print(f"{found['text']} They are in results/controls/controls.json; docs/controls.md explains them.")


if __name__ == "__main__":
    stage.run(main)
