"""Boards by name, and how large a file their flash has room for.

The table is boards.json beside this module. A file of the same form that `NPAS_BOARDS` names adds
to it, or says otherwise of a board in it.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, TypeAdapter, ValidationError

from npas.spec.checked import Spec

BOARDS = "NPAS_BOARDS"
"""Environment variable: path of a file of boards."""


class Board(Spec):
    """What a board has.

    Attributes:
        flash_bytes: of the whole flash.
        program_bytes: of it, that the program and what runs the network take; a guess in the
            table, to be put right by who knows the program.
    """

    flash_bytes: int = Field(ge=1)
    program_bytes: int = Field(0, ge=0)

    @property
    def file_bytes(self) -> int:
        """What is left for the file of a network."""
        return max(0, self.flash_bytes - self.program_bytes)


_BOARDS: TypeAdapter[dict[str, Board]] = TypeAdapter(dict[str, Board])


def boards() -> Mapping[str, Board]:
    """Return all boards, by name.

    Raises:
        ValueError: the file that `NPAS_BOARDS` names is missing, or is not a table of boards.
    """
    known = _read(Path(__file__).parent / "boards.json")
    given = os.environ.get(BOARDS)
    if not given:
        return known
    try:
        return known | _read(Path(given))
    except (OSError, ValidationError) as error:
        form = json.dumps({"my-board": {"flash_bytes": 262144, "program_bytes": 65536}})
        raise ValueError(f"{BOARDS} names {given}, which is no table such as {form}") from error


def _read(path: Path) -> dict[str, Board]:
    found = _BOARDS.validate_json(path.read_bytes())
    return {_canonical(name): board for name, board in found.items()}


def file_bytes(name: str) -> int:
    """Return the bytes that a board has for a file.

    Raises:
        ValueError: there is no such board; the message lists those that are known.
    """
    known = boards()
    key = _canonical(name)
    if key not in known:
        raise ValueError(
            f"unknown device {name!r}: known are {', '.join(sorted(known))}; a file that "
            f"{BOARDS} names adds others"
        )
    return known[key].file_bytes


def _canonical(name: str) -> str:
    return name.lower().replace("_", "-")
