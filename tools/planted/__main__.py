"""Inspects and mends every planted failure at full size, and prints a table."""

from __future__ import annotations

import sys
import warnings

import torch

import gristmill as ct
from tools.planted.cases import FULL, PLANTED, SMALL

HEADS = ("failure", "model", "guilty", "before, dB", "after, dB", "float32 ops", "rewritten", "runs", "seconds")


def main() -> None:
    size = SMALL if "--small" in sys.argv else FULL
    print(f"| {' | '.join(HEADS)} |\n| --- | --- | --- |{' --: |' * (len(HEADS) - 3)}", flush=True)
    for case in PLANTED:
        torch.manual_seed(0)
        module, arguments = case.build(size)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exported = torch.export.export(module.eval(), arguments)
        half = ct.convert(exported, minimum_deployment_target=case.target, verify=False)
        data = {item.name: value.numpy() for item, value in zip(half.inputs, arguments, strict=True)}
        culprit = ct.precision.inspect(half, data).culprit
        found = ct.precision.search(exported, data, minimum_deployment_target=case.target, verify=False)
        cost = found.best.cost
        cells = (
            case.name,
            case.model,
            culprit.op.partition(" ")[0] if culprit is not None else "none",
            f"{found.before.value:.1f}",
            f"{found.best.value:.1f}",
            f"{cost.float32_ops} of {cost.ops} ({cost.share:.1%})",
            str(sum(map(len, found.best.rewrites.values()))),
            str(found.runs),
            f"{found.seconds:.1f}",
        )
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
