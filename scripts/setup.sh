#!/bin/sh
# Finds (or on Debian and Ubuntu installs) a Python and lets setup.py do the rest. PYTHON=/path/to/python3.11 overrides.
set -eu
for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1; then
        exec "$candidate" -I "$(dirname "$0")/setup.py" "$@"
    elif [ -n "${PYTHON:-}" ]; then
        echo "set-up: expected PYTHON to name a Python interpreter, got '$PYTHON', which is not there" >&2
        exit 1
    fi
done
echo "set-up: no python3 here, installing it with apt-get"
if [ "$(id -u)" = 0 ]; then sudo=""; else sudo="sudo"; fi
if ! { $sudo apt-get update -qq && $sudo apt-get install -y -qq --no-install-recommends python3 >/dev/null; }; then
    echo "set-up: install Python 3.11 by hand, then run the same command again" >&2
    exit 1
fi
exec python3 -I "$(dirname "$0")/setup.py" "$@"
