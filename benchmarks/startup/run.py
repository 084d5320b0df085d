"""How long bnkit takes to start: each command as a whole process, interleaved, medians.

Bars: `import bnkit` under 0.3 s beyond `import torch`; `bnkit --help` under 1 s.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from result_rows import spread, write_rows

BNKIT = str(Path(sys.executable).with_name("bnkit"))
COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "import torch": [sys.executable, "-c", "import torch"],
    "import torch, bnkit": [sys.executable, "-c", "import torch, bnkit"],
    "import bnkit": [sys.executable, "-c", "import bnkit"],
    "bnkit.BatchNorm2d": [sys.executable, "-c", "import torch, bnkit; bnkit.BatchNorm2d"],
    "bnkit --help": [BNKIT, "--help"],
    "bnkit study list": [BNKIT, "study", "list"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for repeat in range(options.repeats + 1):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            if repeat:  # the first round warms the file cache
                seconds[name].append(time.perf_counter() - start)
    rows = [{"command": name, "unit": "s", **spread(values)} for name, values in seconds.items()]
    beyond = [
        ours - torch
        for ours, torch in zip(seconds["import torch, bnkit"], seconds["import torch"], strict=True)
    ]
    rows.append({"command": "import bnkit beyond import torch", "unit": "s", **spread(beyond)})
    write_rows("startup", rows, options.out)


if __name__ == "__main__":
    main()
