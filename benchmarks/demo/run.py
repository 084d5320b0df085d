"""How long `make demo` takes after installation, and a second run of the same study.

Bars: the study `digits` within 90 s on two cores; a second run trains nothing and takes under 5 s.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from result_rows import spread, write_rows

BNKIT = str(Path(sys.executable).with_name("bnkit"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    first, second = [], []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            command = [BNKIT, "study", "run", "digits", "--out", str(Path(folder) / "digits")]
            for seconds in (first, second):
                start = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True)
                seconds.append(time.perf_counter() - start)
    rows = [
        {"command": "bnkit study run digits", "unit": "s", **spread(first)},
        {"command": "the same again", "unit": "s", **spread(second)},
    ]
    write_rows("demo", rows, options.out)


if __name__ == "__main__":
    main()
