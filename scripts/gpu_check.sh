#!/usr/bin/env bash
# What one GPU does with this code, in under 7 minutes: see benchmarks/gpu.py. Options: --parts machine,tests,steps,profile
# --out FILE --limit SECONDS. Uses .venv where there is one, else the python3 at hand; fetches nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(command -v .venv/bin/python || command -v python3)
export PYTHONPATH=src:. HF_HUB_OFFLINE=1
exec "$python" -m benchmarks.gpu "$@"
