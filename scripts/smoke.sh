#!/usr/bin/env bash
# Run the whole pipeline at the `smoke` preset's size in .scratch/smoke, a copy of the working tree with a git
# repository and a DVC cache of its own; ARMS=all: with every arm of the `methods` preset, whose arms are like those that
# are small by then. The workspace is only read: downloads are shared, and so are the assets
# that are already there. Needs an environment in .venv; `make smoke` sees to it.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
scratch=$root/.scratch/smoke

rm -rf "$scratch"
mkdir -p "$scratch" .cache
git ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' file; do if [ -e "$file" ]; then printf '%s\0' "$file"; fi; done |
    xargs -0 cp --parents -P -t "$scratch"
ln -s "$root/.cache" "$scratch/.cache"
ln -s "$root/.venv" "$scratch/.venv"
if [ -d assets ]; then
    cp -alf assets "$scratch/" # hard links: stages replace files whole, they never write into one
fi

cd "$scratch"
export PYTHONPATH=$scratch/src # the copy's code, though the environment's install points to the workspace
.venv/bin/python -m polychrome.presets smoke --base "$root/params.yaml"
if [ "${ARMS:-}" = all ]; then
    .venv/bin/python -m polychrome.presets methods --base params.yaml
fi
git init -q
git add -A
git -c user.name=smoke -c user.email=smoke@localhost commit -q -m 'smoke run'
start=$SECONDS
.venv/bin/dvc repro
echo "smoke: the whole pipeline ran in $((SECONDS - start)) s; its results are in .scratch/smoke/results"
