"""polychrome: train language models whose set of replies is both good and varied, and measure which training wins."""

import os

# GNU OpenMP's threads wait for each other in a loop of up to some milliseconds. Where another process takes one of the
# cores, that is a time slice lost at every operation, and a step takes ten times as long. They may sleep sooner; read
# when the first library with OpenMP, such as torch, is loaded.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
