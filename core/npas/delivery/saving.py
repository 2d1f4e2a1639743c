"""How the networks of a job become a file: as they are, or rounded for a budget in bytes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from npas.delivery import checkpoint
from npas.delivery.coded.coder import Coder
from npas.delivery.coded.file import Content
from npas.delivery.coded.fitting import LEAST_SHARE, Fitted
from npas.plans import FilePlan
from npas.sharing.model import SharedModel

_MORE = 4
"""Bytes that are left beside those that a file was too large by."""


class Saving:
    """Of one file, which is written twice: to be graded, and with its grade.

    Attributes:
        fitted: what the network was rounded to; None where it is kept as it is.
    """

    def __init__(self, asked: FilePlan | None, squares: Mapping[str, float]) -> None:
        """Write nothing yet.

        Args:
            asked: of a budget in bytes; None: there is none.
            squares: mean squared gradients of the parameters; empty where they are not known.
        """
        self.fitted: Fitted | None = None
        self._asked, self._squares = asked, squares
        self._reserve = 0

    def first(self, model: SharedModel, path: Path, extra: Mapping[str, Any]) -> None:
        """Write the file that is graded.

        Args:
            model: with the weights that were trained.
            path: of the file.
            extra: what is to lie beside them, with something of the same length in the place of
                what is not known yet.

        Raises:
            CheckpointError: the network does not fit its budget.
        """
        tensors, note = model.state_dict(), checkpoint.note_of(model.plan, extra)
        if self._asked is None or self._is_plain(model, extra):
            checkpoint.save(model, path, extra=extra)
            return
        coder = Coder(model.plan, self._asked.bytes)
        self.fitted = coder.fitted(tensors, note, reserve=self._reserve, squares=self._squares)
        self.fitted.write(path)

    def again(self, model: SharedModel, path: Path, extra: Mapping[str, Any]) -> bool:
        """Write the file that is delivered.

        Args:
            model: that was read from the first.
            path: of the file.
            extra: what lies beside its weights.

        Returns:
            False where it would be larger than its budget: then begin again, it is rounded more.
        """
        if self.fitted is None:
            note = checkpoint.note_of(model.plan, extra)
            size = checkpoint.plain_bytes(model.state_dict(), note)
            if self._asked is not None and size > self._asked.bytes:
                self._reserve += size - self._asked.bytes + _MORE
                return False
            checkpoint.save(model, path, extra=extra)
            return True
        assert self._asked is not None
        note = {**checkpoint.note_of(model.plan, extra), "format": self.fitted.note["format"]}
        content = Content.of(model.state_dict(), self.fitted.grid)
        over = content.num_bytes(note) - self._asked.bytes
        if over > 0:
            self._reserve += over + _MORE
            return False
        content.write(note, path)
        return True

    def report(self, path: Path, accuracy: float | None) -> dict[str, Any]:
        """Return the report's part about the file; nothing without a budget in bytes.

        Args:
            path: of the file.
            accuracy: before it was rounded; None where it was not.
        """
        if self._asked is None:
            return {}
        size, found = path.stat().st_size, self.fitted
        why = ""
        if size < LEAST_SHARE * self._asked.bytes:
            why = found.why_less if found else "all weights fit as they are, in float32"
        streams = {"about": len(found.content.parts(found.note)["about"])} if found else {}
        streams |= (
            {name: len(part) for name, part in found.content.streams.items()} if found else {}
        )
        return {
            "coding": {
                "budget_bytes": self._asked.bytes,
                "expected_bits": self._asked.bits,
                "bits": _bits(found) if found else 32.0,
                "stream_bytes": streams,
                "steps": dict(found.grid.steps) if found else {},
                "accuracy_before_rounding": accuracy,
                "why_less": why,
            }
        }

    def _is_plain(self, model: SharedModel, extra: Mapping[str, Any]) -> bool:
        """Tell whether nothing has to be rounded, and nothing was in the training."""
        assert self._asked is not None
        note = checkpoint.note_of(model.plan, extra)
        size = checkpoint.plain_bytes(model.state_dict(), note) + self._reserve
        return self._asked.step == 0 and size <= self._asked.bytes


def _bits(found: Fitted) -> float:
    weights = max(1, found.content.table.num_weights)
    return round(8 * len(found.content.streams.get("codes", b"")) / weights, 4)
