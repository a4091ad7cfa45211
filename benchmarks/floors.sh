#!/usr/bin/env bash
# The lowest and the newest libraries that pyproject.toml allows: installed into a folder that is removed afterwards,
# and a few minutes of the tests run with them. About 6 GB of disk each, since torch brings CUDA's libraries on Linux.
#
#   benchmarks/floors.sh lowest
#   benchmarks/floors.sh newest
#   TORCH=2.13.0 benchmarks/floors.sh newest tests/test_huggingface.py     another torch, other tests
#
# bitsandbytes stands apart, since it needs CUDA for what it is there for, and so do ray and laion-clap.
set -euo pipefail
cd "$(dirname "$0")/.."
which=${1:-}
case $which in
  lowest | newest) shift ;;
  *) echo "usage: benchmarks/floors.sh lowest|newest [TESTS...]" >&2 && exit 2 ;;
esac
if [ $# -eq 0 ]; then
  set -- tests/test_huggingface.py tests/test_int8.py tests/test_device.py tests/test_parallel.py \
    tests/test_published.py tests/test_authors.py tests/test_lean.py tests/test_mats.py tests/test_llm.py tests/test_audio.py \
    tests/test_library.py tests/test_search.py tests/test_cli.py
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
# each requirement as it stands, or with >= made ==
"$folder/venv/bin/python" - "$which" "${TORCH:-}" > "$folder/wanted.txt" << 'PYTHON'
import re
import sys
from pathlib import Path

try:
    import tomllib
except ImportError:  # Python 3.10
    from pip._vendor import tomli as tomllib
which, torch = sys.argv[1:]
project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = project["optional-dependencies"]
wanted = project["dependencies"] + [each for name in ("media", "llm", "train", "index") for each in extras[name]]
wanted += [each for each in extras["dev"] if re.match("pytest|pexpect", each)]
for each in wanted:
    if torch and re.match(r"torch\b", each):
        print(f"torch=={torch}")
    else:
        print(each.replace(">=", "==") if which == "lowest" else each)
PYTHON
# none is built: an old release without a file for this Python is no floor of its own
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir --only-binary :all: \
  -r "$folder/wanted.txt"
"$folder/venv/bin/python" -m pip list --disable-pip-version-check --format=freeze |
  grep -iE "^(numpy|torch|transformers|tokenizers|peft|accelerate|safetensors|typer|soxr|av)=="
export PYTHONPATH=$PWD/src
"$folder/venv/bin/python" -m pytest -p no:cacheprovider "$@"
