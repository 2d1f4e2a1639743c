"""What a run delivers beside its network: one file each, found by its ARTIFACT object."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from npas import registry
from npas.folding.similarity import History
from npas.plans import Plan
from npas.train import Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """All that is known of a finished run: what artifacts are made of.

    Attributes:
        plan: of the delivered network.
        rows: the epochs, those of the search stage first; may be none.
        report: plain JSON, see `npas.delivery.deliver`.
        history: how alike the layers of its groups were, epoch by epoch; None if not recorded.
        plans: all plans of the run by version, see `npas.jobs.revisions`; none if not recorded.
    """

    plan: Plan
    rows: tuple[Row, ...]
    report: Mapping[str, Any]
    history: History | None = None
    plans: Mapping[int, Plan] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """One file that a run delivers, as the constant ARTIFACT of its module.

    Attributes:
        file: its name; the service tells its media type by the suffix.
        text: what is in it, None where there is nothing to tell and no file is delivered; the
            same account gives the same text.
    """

    file: str
    text: Callable[[Account], str | None]


def texts(account: Account) -> dict[str, str]:
    """Return the text of every artifact that has something to tell, by the name of its file."""
    kinds = (
        registry.load("npas.artifacts", name, kind="artifact").ARTIFACT
        for name in registry.names("npas.artifacts")
    )
    found = {kind.file: kind.text(account) for kind in kinds}
    return {file: text for file, text in found.items() if text is not None}
