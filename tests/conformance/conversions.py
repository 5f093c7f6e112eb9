"""Cases whose PyTorch source does not give the expected values when it is converted here, each with its reason.

The collection holds for each case of its suite ``torch`` the TorchScript module (``source.pt``) and the exported
program (``source.pt2``) that the model was made of, and a scorer that converts them:

    python DIR/score.py --source pt --csv pt.csv
    python DIR/score.py --source pt2 --csv pt2.csv
    python -m tests.conformance.conversions pt.csv pt2.csv      # holds the results against this list

All 721 exported programs whose target is an ML Program give the expected values, and of the 757 TorchScript modules
with that target and the 273 whose target is a neural network all but those listed.
"""

import csv
import sys
from pathlib import Path

_CONTRADICTS = (
    "The case declares flexible sizes, but the traced module computes with sizes of its example, so it is valid for "
    "some of the declared sizes only: torch.export says which, and the error repeats it."
)
_TYPELESS = (
    "The module was traced with truth values, which its file does not say, and the case declares int32: of integers "
    "the operator is the complement (-2 for 1), not the negation that was recorded."
)
_BY_MASKS = (
    "torch.export 2.13 cannot follow an index by three truth-value masks, whose results have sizes of their own: it "
    "reports symbols that no output holds."
)

MISSES: dict[str, str] = {
    "b7d72a158015": _TYPELESS,
    "9d81c179c8bb": _TYPELESS,
    "d153a0daf857": _CONTRADICTS,  # one size expanded to another
    "29ff3e405fc8": _CONTRADICTS,  # a stack of a fixed and a flexible size
    "85eda7db39e8": _CONTRADICTS,
    "3e235b053989": _CONTRADICTS,  # two elements assigned to an axis of flexible length
    "1247151581a0": _CONTRADICTS,
    "98e6db58e943": _CONTRADICTS,
    "b95b79148e68": _CONTRADICTS,  # one size expanded to that of another input
    "33ec4178a5d1": _BY_MASKS,
    "7444e06bb29c": _BY_MASKS,
    "42ee0217c6b8": "The step of a range is a float that the input holds; torch.export needs its sign.",
    "719ca268a943": "torch.export 2.13 takes the batch sizes of a packed sequence for floats, and has to know them.",
    "5c837106e12e": "Boxes without a limit to their number: the op states the largest number of results.",
}


def check(path: Path) -> list[str]:
    """What a result of the scorer and the list disagree on."""
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["precision"] != "nn" or "pt2" not in path.name]
    failed = {row["key"] for row in rows if row["status"] != "pass"}
    print(f"{path.name}: {len(rows) - len(failed)} of {len(rows)}")
    unlisted = [
        f"{path.name}: {row['key']} is not listed: {row['id']}" for row in rows if row["key"] in failed - {*MISSES}
    ]
    exported = "pt2" in path.name
    passed = {row["key"] for row in rows} - failed
    mended = [] if exported else [f"{path.name}: {key} is listed, but passes" for key in MISSES if key in passed]
    return unlisted + mended


if __name__ == "__main__":
    disagreements = [line for path in sys.argv[1:] for line in check(Path(path))]
    print("\n".join(disagreements))
    sys.exit(bool(disagreements))
