"""Datasets by name: whole in memory as uint8, fingerprinted, the same every time.

Example:
    >>> import npas.data
    >>> digits = npas.data.load("digits")
    >>> digits.x_train.shape, digits.num_classes
    (torch.Size([1437, 1, 8, 8]), 10)
"""

import importlib
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from npas import registry
from npas.data._arrays import Arrays, Facts
from npas.data._npz import read_npz, read_npz_facts
from npas.data._source import Source
from npas.errors import DataError, InvalidSpecError, UnknownNameError
from npas.spec import DatasetSpec, ImageOptions, validation

if TYPE_CHECKING:
    from npas.data._dataset import Dataset as Dataset
    from npas.data._dataset import Inputs as Inputs
    from npas.data._importing.importer import import_dataset as import_dataset
    from npas.data._importing.limits import ImportLimits as ImportLimits
    from npas.data._importing.report import ImportReport as ImportReport
    from npas.data._sampled import sampled as sampled

_OWNERS = {
    "Dataset": "npas.data._dataset",
    "ImportLimits": "npas.data._importing.limits",
    "ImportReport": "npas.data._importing.report",
    "Inputs": "npas.data._dataset",
    "import_dataset": "npas.data._importing.importer",
    "sampled": "npas.data._sampled",
}
"""Names that are resolved on first use: catalogues and imports do without torch."""

__all__ = [
    "Dataset",
    "Facts",
    "ImageOptions",
    "ImportLimits",
    "ImportReport",
    "Inputs",
    "catalogue",
    "default_folder",
    "facts",
    "fetch",
    "import_dataset",
    "load",
    "require",
    "sampled",
]


_ARGUMENTS = {"images": "NAME", "npz": "NAME", "uploaded": "ID"}
"""What stands after the colon of some, in a list of all."""


def __getattr__(name: str) -> Any:
    """Import a public name from the module that owns it."""
    if name not in _OWNERS:
        raise AttributeError(f"module 'npas.data' has no attribute {name!r}")
    return getattr(importlib.import_module(_OWNERS[name]), name)


def default_folder() -> Path:
    """Return the environment's NPAS_DATA_FOLDER, else ~/.local/share/npas/data."""
    given = os.environ.get("NPAS_DATA_FOLDER")
    return Path(given) if given else Path.home() / ".local" / "share" / "npas" / "data"


def _folder(given: Path | str | None) -> Path:
    """Return the data folder to look into."""
    return Path(given) if given else default_folder()


def load(spec: DatasetSpec | str | Path, folder: Path | str | None = None) -> "Dataset":
    """Read a dataset into memory. Nothing is ever downloaded here; that is `fetch`.

    Args:
        spec: a name ("digits", "npz:NAME", ...), a name with limits and options, or the Path of
            an .npz file, of Parquet, or of a folder or zip of images.
        folder: data folder; None: the default one.

    Raises:
        InvalidSpecError: not a name that a dataset can have, or a limit out of range.
        UnknownNameError: no such dataset.
        DataError: it is not in the folder (the message says how to get it), or it is damaged.
    """
    from npas.data._dataset import dataset

    if isinstance(spec, Path):
        kind, whole = _read(spec)
        classes = whole.facts.num_classes
        name = f"{kind}:{spec.stem}"
        return dataset(name, whole, num_classes=classes, crop_padding=0, flip=False)
    spec = _as_spec(spec)
    name, source, argument = _source_of(spec)
    whole = _checked(name, source, argument, _folder(folder))
    return dataset(
        name,
        _first(whole, spec),
        num_classes=whole.facts.num_classes,
        crop_padding=source.crop_padding,
        flip=source.flip,
    )


def _read(path: Path) -> tuple[str, Arrays]:
    """Read what a path leads to; return the name of its kind, too."""
    from npas.data._importing.importer import read_images
    from npas.data.images import format_of

    if path.suffix == ".npz":
        return "npz", read_npz(path)
    imported = read_images(path, format=format_of(path))
    return "images", replace(imported.arrays(), origin=imported.report.model_dump(mode="json"))


def facts(spec: DatasetSpec | str | Path, folder: Path | str | None = None) -> Facts:
    """Return the facts that a plan needs, without reading images and without needing them here.

    Args:
        spec: as for `load`.
        folder: data folder; None: the default one. Only "npz:NAME" looks into it.

    Raises:
        UnknownNameError: no such dataset.
        DataError: the .npz file is missing or not what it must be.
    """
    if isinstance(spec, Path):
        return read_npz_facts(spec) if spec.suffix == ".npz" else _read(spec)[1].facts
    spec = _as_spec(spec)
    _, source, argument = _source_of(spec)
    whole = source.facts(_folder(folder), argument)
    return replace(
        whole,
        num_train=min(whole.num_train, spec.train_images or whole.num_train),
        num_test=min(whole.num_test, spec.test_images or whole.num_test),
    )


def require(spec: DatasetSpec | str, folder: Path | str | None = None) -> Facts:
    """Return the facts of a dataset that is there to be read, without reading its images.

    Args:
        spec: as for `load`.
        folder: data folder; None: the default one. Other datasets in it are not looked at.

    Raises:
        UnknownNameError: no such dataset.
        DataError: it is not in the folder (the message says how to get it), or it is damaged.
    """
    spec = _as_spec(spec)
    known = facts(spec, folder)
    name, source, argument = _source(spec.name)
    if not source.present(_folder(folder), argument):
        raise _absent(name, source)
    return known


def _as_spec(spec: DatasetSpec | str) -> DatasetSpec:
    try:
        return DatasetSpec.model_validate(spec)
    except ValidationError as error:
        found = validation.first_of(error, spec, within="/dataset")
        raise InvalidSpecError(f"not a dataset: {found}", field=found.pointer) from error


def fetch(name: str, folder: Path | str | None = None) -> None:
    """Download a dataset into the data folder, from where its authors or torchvision keep it.

    Args:
        name: such as "cifar10".
        folder: data folder, made if missing; None: the default one.

    Raises:
        UnknownNameError: no such dataset.
        DataError: this one is not here and cannot be downloaded; the message says what to do
            instead.
    """
    full_name, source, argument = _source(name)
    folder = _folder(folder)
    if source.fetch is None:
        if source.present(folder, argument):
            return
        raise DataError(f"{full_name} cannot be downloaded: {source.how}", field="/dataset")
    folder.mkdir(parents=True, exist_ok=True)
    source.fetch(folder)


def catalogue(folder: Path | str | None = None) -> list[dict[str, Any]]:
    """List every dataset that a job can name.

    Args:
        folder: data folder; None: the default one.

    Returns:
        one JSON-able dict each: name, title, facts (None for an unusable file), available, how
        (what to do to have it; for an unusable file, what is wrong with it).
    """
    folder = _folder(folder)
    known = registry.names("npas.data")
    rows = []
    for module in known:
        source: Source = registry.load("npas.data", module, kind="dataset").SOURCE
        for argument in source.listed(folder) if source.listed else [""]:
            if argument.replace("-", "_") in known:
                continue  # NAME.npz of a dataset with a name of its own is that dataset
            rows.append(_row(_full_name(module, argument), source, argument, folder))
    return rows


def _row(name: str, source: Source, argument: str, folder: Path) -> dict[str, Any]:
    row = {"name": name, "title": source.title, "available": source.present(folder, argument)}
    try:
        return row | {"facts": asdict(source.facts(folder, argument)), "how": source.how}
    except DataError as error:
        return row | {"facts": None, "how": error.message, "available": False}


def _full_name(module: str, argument: str) -> str:
    return module.replace("_", "-") + (f":{argument}" if argument else "")


def _source_of(spec: DatasetSpec) -> tuple[str, Source, str]:
    """Return the full name, the source as the options say, and the argument."""
    name, source, argument = _source(spec.name)
    asked = {field: getattr(spec, field) for field in ImageOptions.model_fields}
    options = ImageOptions.model_validate(asked)
    if source.with_options is not None:
        return name, source.with_options(options), argument
    for field in options.model_dump(exclude_defaults=True):
        raise InvalidSpecError(
            f"{field} is for images that are imported; {name} is as it is: leave it out",
            field=f"/dataset/{field}",
        )
    return name, source, argument


def _source(name: str) -> tuple[str, Source, str]:
    """Split "npz:NAME"; return the full name, the source and the argument."""
    kind, _, argument = name.partition(":")
    if registry.canonical(kind) not in registry.names("npas.data"):
        raise _unknown(name)
    module = registry.load("npas.data", kind, kind="dataset", field="/dataset")
    source: Source = module.SOURCE
    if argument and source.listed is None:
        raise DataError(f"dataset {kind} takes nothing after a colon: {name!r}", field="/dataset")
    return _full_name(kind.replace("-", "_"), argument), source, argument


def _unknown(name: str) -> UnknownNameError:
    """Return the error about a name: the datasets there are, and the way to one's own."""
    known = [_full_name(each, _ARGUMENTS.get(each, "")) for each in registry.names("npas.data")]
    advice = (
        "images of your own are npz:NAME, a file NAME.npz in the data folder, or images:NAME, a "
        "folder, zip or Parquet"
    )
    near = registry.nearest(name, known)
    return UnknownNameError("dataset", name, known, near, advice=advice, field="/dataset")


def _checked(name: str, source: Source, argument: str, folder: Path) -> Arrays:
    if argument or source.present(folder, argument):
        arrays = source.read(folder, argument)
        promised = source.facts(folder, argument)
        if arrays.facts != promised:
            raise DataError(
                f"{name} in the data folder is not the whole dataset: it has {arrays.facts}, not "
                f"{promised}; name your own arrays npz:NAME",
                field="/dataset",
            )
        return arrays
    raise _absent(name, source)


def _absent(name: str, source: Source) -> DataError:
    return DataError(f"dataset {name} is not in the data folder; {source.how}", field="/dataset")


def _first(arrays: Arrays, spec: DatasetSpec) -> Arrays:
    return replace(
        arrays,
        x_train=arrays.x_train[: spec.train_images],
        y_train=arrays.y_train[: spec.train_images],
        x_test=arrays.x_test[: spec.test_images],
        y_test=arrays.y_test[: spec.test_images],
    )
