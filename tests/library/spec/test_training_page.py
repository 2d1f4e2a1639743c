"""The page on training names every option, and its example runs."""

import re
from pathlib import Path
from typing import Any

from npas.spec import TrainingSpec

PAGE = (Path(__file__).resolve().parents[3] / "docs/training.md").read_text()


def test_every_option_is_in_the_table() -> None:
    rows = re.findall(r"^\| (`[^|]*`) \|", PAGE, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == TrainingSpec.model_fields.keys()


def test_example_runs() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["spec"].training.average.kind == "ema"
