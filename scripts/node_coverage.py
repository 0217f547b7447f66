"""Lines and branches of geoseg_ros that the last `make test` ran; status 1 below 95 % and 90 %."""

import json
import subprocess
import sys

LEAST = {"line": 95.0, "branch": 90.0}


def main() -> int:
    command = [sys.executable, "-m", "coverage", "json", "-q", "--include=geoseg_ros/*", "--fail-under=0", "-o", "-"]
    totals = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["totals"]
    found = {
        "line": 100 * totals["covered_lines"] / totals["num_statements"],
        "branch": 100 * totals["covered_branches"] / totals["num_branches"],
    }
    for name, percent in found.items():
        print(f"geoseg_ros, {name} coverage: {percent:.1f} %, at least {LEAST[name]:g} % expected")
    return int(any(found[name] < LEAST[name] for name in found))


if __name__ == "__main__":
    sys.exit(main())
