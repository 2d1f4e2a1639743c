"""What the members said, put to file: thresholds are chosen on images held out, told on others.

These files lie in the work folder and are not committed; a record is made without them.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from npas.ensembles.predictions import Predictions


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Kept:
    """Of one cell.

    Attributes:
        held_out: of images of the training set that nothing was trained on.
        test: of the test set.
        macs: multiply-adds of each member for one image.
    """

    held_out: Predictions
    test: Predictions
    macs: dict[str, int]

    def write(self, path: Path) -> None:
        """Put it to one .npz file: a reader sees all of it or none."""
        arrays = {}
        for part, said in (("held_out", self.held_out), ("test", self.test)):
            arrays[f"{part}_labels"] = said.labels.numpy()
            arrays |= {f"{part}/{name}": log_p.numpy() for name, log_p in said.log_p.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.part")
        with unfinished.open("wb") as file:
            np.savez(file, allow_pickle=False, macs=np.array(json.dumps(self.macs)), **arrays)
        unfinished.replace(path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote."""
        with np.load(path, allow_pickle=False) as file:
            macs: dict[str, int] = json.loads(str(file["macs"]))
            held_out, test = (
                Predictions(
                    log_p={name: torch.from_numpy(file[f"{part}/{name}"]) for name in macs},
                    labels=torch.from_numpy(file[f"{part}_labels"]),
                )
                for part in ("held_out", "test")
            )
        return cls(held_out=held_out, test=test, macs=macs)
