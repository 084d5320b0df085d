"""Peak memory of forward and backward above the inputs, bnkit's and torch's.

Bars: bnkit's never above torch's, and batch norm with an activation at least one tensor below
torch's layers one after the other, out of place. (With an addition too, the output and the two
gradients that are asked for are all that torch holds.) Each measurement is a process of its own.

The measured processes give what is freed back to the system at once (glibc's
MALLOC_MMAP_THRESHOLD_), so that what is resident is what somebody holds. With `--malloc system`
they do as glibc does by default: it keeps freed memory below 32 MiB, and the peak depends on the
order in which holes are filled.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from one_step import LAYOUTS, OPERATIONS
from result_rows import measured_on, write_rows

# Resident memory comes in pages, and libraries keep small things: this much is noise.
NOISE_MIB = 2.0
SHAPES = ("32x64x112x112", "32x64x56x56", "32x512x7x7")


GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}


def measured(
    peer: str, operation: str, layout: str, dtype: str, shape: str, malloc: str
) -> dict[str, Any]:
    program = Path(__file__).with_name("one_step.py")
    done = subprocess.run(
        [sys.executable, str(program), peer, operation, layout, dtype, shape],
        env=os.environ | (GIVE_BACK if malloc == "give-back" else {}),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def row_of(operation: str, layout: str, dtype: str, shape: str, malloc: str) -> dict[str, Any]:
    """Return one row: both, and whether the bars are met."""
    ours, torchs = (
        measured(peer, operation, layout, dtype, shape, malloc) for peer in ("bnkit", "torch")
    )
    tensor = ours["tensor_mib"]
    saved = torchs["peak_mib"] - ours["peak_mib"]
    required = tensor if operation == "bn-relu" else 0.0
    rounded = [
        {key: round(v, 2) if isinstance(v, float) else v for key, v in found.items()}
        for found in (ours, torchs)
    ]
    return {
        "shape": [int(size) for size in shape.split("x")],
        "dtype": dtype,
        "layout": layout,
        "operation": operation,
        "malloc": malloc,
        "tensor_mib": round(tensor, 2),
        "bnkit": rounded[0],
        "torch": rounded[1],
        "saved_mib": round(saved, 2),
        "saved_tensors": round(saved / tensor, 2),
        "required_tensors": required / tensor,
        "within bar": saved >= required - NOISE_MIB,
        **measured_on(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder for peak_memory.json")
    parser.add_argument("--shape", action="append", help=f"default {', '.join(SHAPES)}")
    parser.add_argument("--dtype", action="append", help="default float32, bfloat16")
    parser.add_argument("--malloc", choices=["give-back", "system"], default="give-back")
    options = parser.parse_args()
    rows = []
    print(
        f"{'shape':15}{'dtype':10}{'layout':15}{'operation':13}{'peak, in tensors':>22}"
        f"{'between':>16}{'after':>16}  bar",
        file=sys.stderr,
    )
    for shape in options.shape or SHAPES:
        for dtype in options.dtype or ("float32", "bfloat16"):
            for layout in LAYOUTS:
                for operation in OPERATIONS:
                    row = row_of(operation, layout, dtype, shape, options.malloc)
                    rows.append(row)
                    print(line_of(row, shape), file=sys.stderr)
    write_rows("peak_memory", rows, options.out)


def line_of(row: dict[str, Any], shape: str) -> str:
    """Return a row as text: bnkit's number by torch's, in tensors of x's size."""

    def both(key: str) -> str:
        return " / ".join(
            f"{row[peer][key] / row['tensor_mib']:.2f}" for peer in ("bnkit", "torch")
        )

    return (
        f"{shape:15}{row['dtype']:10}{row['layout']:15}{row['operation']:13}"
        f"{both('peak_mib'):>22}{both('between_mib'):>16}{both('after_mib'):>16}"
        f"  {'met' if row['within bar'] else 'not met'}"
    )


if __name__ == "__main__":
    main()
