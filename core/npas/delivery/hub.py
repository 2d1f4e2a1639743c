"""A shared network in a repository of the Hugging Face hub: our own file, and a card about it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

from torch import Tensor

from npas import registry
from npas.delivery.checkpoint import load, save
from npas.delivery.coded.file import FORMAT, CodedFile, is_coded
from npas.delivery.own import Into
from npas.plans import Plan
from npas.sharing.model import SharedModel, check_shared

MODEL_FILE = "model.safetensors"
"""Of a repository; beside it are README.md, the card, and config.json, the report."""

_TAGS = ["npas", "parameter-sharing"]


def _hub() -> Any:
    return registry.imported("huggingface_hub", extra="hub")


class _Missing:
    """Stands for the mixin where its package is not installed, and says so when it is used."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Take what the mixin is told of a class."""

    def __new__(cls, *_args: Any, **_options: Any) -> Self:
        """Raise MissingPackageError."""
        _hub()
        raise AssertionError("it is installed, and was not when npas was imported")

    @classmethod
    def from_pretrained(cls, *_args: Any, **_options: Any) -> Self:
        """Raise MissingPackageError."""
        return cls.__new__(cls)


_Mixin: Any = _hub().ModelHubMixin if registry.is_installed("huggingface_hub") else _Missing


class NpasModel(_Mixin, library_name="npas", tags=_TAGS):  # type: ignore[misc, call-arg]  # optional
    """A shared network with the three verbs of the hub, those of its own mixin.

    Attributes:
        net: the network, from `npas.share` or `npas.load`.
        report: of the job that trained it, or whatever else the card is to tell; may be empty.

    Example:
        >>> import npas, tempfile
        >>> plan = npas.plan("resnet-8", budget=40_000)
        >>> net = npas.share(npas.build("resnet-8"), plan)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = npas.NpasModel(net).save_pretrained(folder)
        ...     again = npas.NpasModel.from_pretrained(folder)
        >>> again.net.plan == plan
        True
    """

    def __init__(self, net: SharedModel, *, report: Mapping[str, Any] | None = None) -> None:
        """Wrap a network; it is not copied.

        Args:
            net: the network.
            report: JSON, as a job's report.json has it; None: what the network says of itself.

        Raises:
            InvalidSpecError: this is no shared network.
        """
        check_shared(net)
        self.net = net
        self.report = dict(net.extra if report is None else report)
        self._of_file: list[tuple[str, str]] = []

    def __call__(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        """Return what the network gives."""
        found: Tensor | dict[str, Tensor] = self.net(x)
        return found

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        into: Into | None = None,
        **options: Any,
    ) -> Self:
        """Read a network from a folder or, where there is none of that name, from the hub.

        Args:
            pretrained_model_name_or_path: of a folder, or OWNER/NAME of a repository; that is the
                only case in which anything is downloaded.
            into: a module to put the weights into, as for `npas.load`: of the user's own.
            **options: of the mixin, such as revision and token.

        Raises:
            CheckpointError: the file there is none of ours.
            FileNotFoundError: there is no such folder, or it has no such file.
        """
        name = pretrained_model_name_or_path
        if not Path(name).is_dir() and (isinstance(name, os.PathLike) or name.count("/") != 1):
            raise FileNotFoundError(f"{name} is no folder, and not OWNER/NAME of a repository")
        return cast(Self, super().from_pretrained(str(name), into=into, **options))

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        into: Into | None,
        report: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Self:
        """Read the model file; what the mixin found in config.json is the report."""
        path = Path(model_id) / MODEL_FILE
        if not Path(model_id).is_dir():
            path = _hub().hf_hub_download(model_id, MODEL_FILE, **options)
        return cls(load(path, into=into), report=report)

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write the model file; the mixin writes the rest."""
        path = save_directory / MODEL_FILE
        save(self.net, path)
        self._of_file = _file_facts(path, self.net)

    def generate_model_card(self, *args: Any, **options: Any) -> Any:
        """Return the card, a `ModelCard`; of a file that was not written it says nothing."""
        del args, options
        about = self._hub_mixin_info.model_card_data.to_yaml()
        return _hub().ModelCard(f"---\n{about}\n---\n{card(self.net, self.report, self._of_file)}")


def card(
    net: SharedModel, report: Mapping[str, Any], of_file: Sequence[tuple[str, str]] = ()
) -> str:
    """Return the model card: what the network is, how good, how small, and how to read it.

    Args:
        net: the network.
        report: what is known of it; what is not there is left out.
        of_file: names and values, in words.
    """
    plan = net.plan
    specs = [each.architecture for each in plan.networks]
    names = ", ".join(each.module.kind if each.module else each.name for each in specs)
    own = any(each.module for each in specs)
    ledger = plan.ledger
    budget = f"{ledger.budget:,}" if plan.file is None else f"{plan.file.bytes:,} bytes of file"
    lines = [
        f"# {names} in {ledger.total:,} parameters",
        "",
        f"A network whose layers share parameters: {ledger.total:,} of the {ledger.dense:,} that "
        f"it would have without sharing ({ledger.total / ledger.dense:.1%}), by the method "
        f"`{plan.method}`. The budget was {budget}.",
        "",
        *_table("What is known of it", _facts(report)),
        *_table("File", of_file),
        *_table("Plan", _plan_facts(plan)),
        "## How to read it",
        "",
        "```python",
        "import npas",
        "",
        *_calls(", into=MODULE" if own else ""),
        "```",
        "",
        *(
            ["`MODULE` is a fresh module of the class above, from its own code.", ""]
            if own
            else []
        ),
    ]
    return "\n".join(lines)


def _calls(into: str) -> list[str]:
    return [
        f'net = npas.NpasModel.from_pretrained("OWNER/NAME"{into}).net  # or a folder',
        f'net = npas.load("{MODEL_FILE}"{into})  # the file alone',
        f'plain = npas.load("{MODEL_FILE}"{into}, materialise=True)  # without npas in forward',
    ]


def _file_facts(path: Path, net: SharedModel) -> list[tuple[str, str]]:
    """Return what a card tells of a file that a network was written to."""
    facts = [("bytes", f"{path.stat().st_size:,}")]
    if net.plan.file is not None:
        facts.append(("budget in bytes", f"{net.plan.file.bytes:,}"))
    if not is_coded(path):
        return [*facts, ("coding", "none: weights as they are")]
    file = CodedFile.read(path)
    bits = 8 * len(file.streams.get("codes", b"")) / max(1, file.table.num_weights)
    facts.append(("coding", f"{FORMAT}, {bits:.2f} bits for each weight; needs `npas[bytes]`"))
    if file.grid().facts() != net.origin.coded:
        told = "when this file was written: what is known is of the weights before"
        facts.append(("rounded", told))
    return facts


def _plan_facts(plan: Plan) -> list[tuple[str, str]]:
    ledger = plan.ledger
    facts = [
        ("templates", f"{ledger.templates:,}"),
        ("coefficients", f"{ledger.coefficients:,}"),
        ("of its own", f"{ledger.private:,}"),
    ]
    for group in plan.groups:
        banks = " + ".join(f"{bank.templates} x {bank.size:,}" for bank in group.banks)
        told = f"{len(group.slots)} layers read {banks} scalars, recipe `{group.recipe}`"
        facts.append((f"group {group.name}", told))
    return facts


_TOLD = ("dataset", "accuracy", "epochs_done", "start", "distillation", "seed", "seconds")
"""Parts of a report that a card tells, where they are."""


def _facts(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = [fact for name in _TOLD if name in report for fact in _flat(name, report[name])]
    coding = report.get("coding")
    before = coding.get("accuracy_before_rounding") if isinstance(coding, Mapping) else None
    return [*found, *_flat("accuracy before rounding", before)]


def _flat(name: str, value: Any) -> list[tuple[str, str]]:
    """Return a value as rows, those of objects one by one."""
    if isinstance(value, Mapping):
        return [fact for key, each in value.items() for fact in _flat(f"{name}, {key}", each)]
    if value is None:
        return []
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [(name, ", ".join(map(str, value)))] if len(value) < 20 else []
    told = f"{value:.4g}" if isinstance(value, float) else str(value)
    return [(name, told.replace("|", "/").replace("\n", " "))]


def _table(title: str, facts: Sequence[tuple[str, str]]) -> list[str]:
    if not facts:
        return []
    rows = [f"| {name.replace('_', ' ')} | {value} |" for name, value in facts]
    return [f"## {title}", "", "| | |", "|---|---|", *rows, ""]
