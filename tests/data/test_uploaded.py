"""Datasets that a service holds for its users, as the library reads them."""

from pathlib import Path

import npas.data
import pytest
from npas.data import uploaded
from npas.errors import DataError

ID = "ds_" + "0" * 32


@pytest.mark.parametrize("is_told", [True, False])
def test_a_dataset_is_read_by_its_id(
    folder: Path, monkeypatch: pytest.MonkeyPatch, is_told: bool, tmp_path: Path
) -> None:
    place = tmp_path / ("elsewhere" if is_told else "uploaded")
    place.mkdir()
    (folder / "mine.npz").rename(place / f"{ID}.npz")
    if is_told:
        monkeypatch.setenv(uploaded.FOLDER, str(place))

    facts = npas.data.require(f"uploaded:{ID}", folder)
    dataset = npas.data.load(f"uploaded:{ID}", folder)

    assert facts.num_train == len(dataset.x_train) == 30
    assert dataset.name == f"uploaded:{ID}"
    assert ID not in str(npas.data.catalogue(folder))  # the service lists them


@pytest.mark.parametrize("name", [ID, "", "../mine", "mine", f"{ID}/../mine"])
def test_other_names_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(uploaded.FOLDER, str(folder))

    with pytest.raises(DataError, match="POST /v1/datasets"):
        uploaded.SOURCE.read(folder, name)
    assert not uploaded.SOURCE.present(folder, name)
