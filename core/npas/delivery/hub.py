"""A shared network in a repository of the Hugging Face hub: our own file, and a card about it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from npas import registry
from npas.delivery.checkpoint import load, save
from npas.delivery.own import Into
from npas.plans import Plan
from npas.sharing.model import SharedModel, check_shared

MODEL_FILE, CARD_FILE = "model.safetensors", "README.md"
"""The files of a repository."""

_EXTRA = "hub"


class NpasModel:
    """A shared network with the three verbs of the hub.

    Attributes:
        net: the network, from `npas.share` or `npas.load`.
        report: of the job that trained it, or whatever else the card is to tell; may be empty.

    Example:
        >>> import npas, tempfile
        >>> plan = npas.plan("resnet-8", budget=40_000)
        >>> net = npas.share(npas.build("resnet-8"), plan)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     npas.NpasModel(net).save_pretrained(folder)
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

    def __call__(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        """Return what the network gives."""
        found: Tensor | dict[str, Tensor] = self.net(x)
        return found

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the model file and the card into a folder, which is made.

        Raises:
            OSError: the folder cannot be written.
            PlanError: the network is no longer what its plan says.
        """
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        save(self.net, place / MODEL_FILE)
        (place / CARD_FILE).write_text(card(self.net, self.report))

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        revision: str | None = None,
        into: Into | None = None,
    ) -> Self:
        """Read a network from a folder or, where there is none of that name, from the hub.

        Args:
            name: of a folder, or OWNER/NAME of a repository; that is the only case in which
                anything is downloaded.
            revision: of the repository: a branch, a tag or a commit.
            into: a module to put the weights into, as for `npas.load`: of the user's own.

        Raises:
            CheckpointError: the file there is none of ours.
            FileNotFoundError: the folder has no such file.
            MissingPackageError: it is no folder, and huggingface_hub is not installed.
        """
        place = Path(name)
        if not place.is_dir() and (isinstance(name, os.PathLike) or name.count("/") != 1):
            raise FileNotFoundError(f"{name} is no folder, and not OWNER/NAME of a repository")
        if not place.is_dir():
            hub = registry.imported("huggingface_hub", extra=_EXTRA)
            found = hub.hf_hub_download(str(name), MODEL_FILE, revision=revision)
            return cls(load(found, into=into))
        return cls(load(place / MODEL_FILE, into=into))

    def push_to_hub(
        self, repository: str, *, private: bool = False, token: str | None = None
    ) -> str:
        """Make a repository, if there is none, and upload the model file and the card.

        Args:
            repository: OWNER/NAME.
            private: whether a new one is hidden.
            token: of the hub; None: the one that is logged in.

        Returns:
            The address of the commit.

        Raises:
            MissingPackageError: huggingface_hub is not installed.
        """
        hub = registry.imported("huggingface_hub", extra=_EXTRA)
        api = hub.HfApi(token=token)
        api.create_repo(repository, private=private, exist_ok=True)
        with hub.utils.SoftTemporaryDirectory() as folder:
            self.save_pretrained(folder)
            found = api.upload_folder(repo_id=repository, folder_path=folder)
        return str(found)


def card(net: SharedModel, report: Mapping[str, Any]) -> str:
    """Return the model card: what the network is, how good, how small, and how to read it.

    Args:
        net: the network.
        report: what is known of it; what is not there is left out.
    """
    plan = net.plan
    names = ", ".join(each.architecture.name for each in plan.networks)
    ledger = plan.ledger
    head = "---\nlibrary_name: npas\ntags:\n- parameter-sharing\n- npas\n---\n"
    lines = [
        f"# {names} in {ledger.total:,} parameters",
        "",
        f"A network whose layers share parameters: {ledger.total:,} of the {ledger.dense:,} that "
        f"it would have without sharing ({ledger.total / ledger.dense:.1%}), by the method "
        f"`{plan.method}`. The budget was {ledger.budget:,}.",
        "",
        *_table("What is known of it", _facts(report)),
        *_table("Plan", _plan_facts(plan)),
        "## How to read it",
        "",
        "```python",
        "import npas",
        "",
        'net = npas.NpasModel.from_pretrained("OWNER/NAME").net  # or a folder',
        f'net = npas.load("{MODEL_FILE}")  # the file alone',
        f'plain = npas.load("{MODEL_FILE}", materialise=True)  # without npas in forward',
        "```",
        "",
    ]
    return head + "\n".join(lines)


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


_TOLD = ("dataset", "accuracy", "baselines", "training", "epochs", "seed", "duration_seconds")
"""Parts of a report that a card tells, where they are."""


def _facts(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [fact for name in _TOLD if name in report for fact in _flat(name, report[name])]


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
