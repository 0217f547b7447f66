#!/bin/sh
# Brings requirements/robot.lock up to robot.in, with uv in an environment of its own. Versions that still fit are
# kept; remove the lock first to take the newest of all.
set -eu
cd "$(dirname "$0")/.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"${PYTHON:-python3}" -m venv "$tools"
"$tools/bin/pip" install --quiet uv
# torch is installed afterwards, in the build that fits the machine: whoever asks for it gets nothing here.
echo "torch ; python_version < '3'" >"$tools/without_torch.txt"
"$tools/bin/uv" pip compile --quiet --override "$tools/without_torch.txt" --python-version 3.11 --generate-hashes --no-emit-index-url \
    --custom-compile-command "make lock" requirements/robot.in -o requirements/robot.lock
echo "requirements/robot.lock written; now: make setup test"
