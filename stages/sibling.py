"""What lets a stage run the code of its own checkout (an experiment's copy), wherever `polychrome` is installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
