"""What was measured while training, as plain data: it lets a method refine a plan."""

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from npas.errors import InvalidSpecError, PlanError
from npas.plans import Group
from npas.spec import Spec

Cosine = Annotated[float, Field(ge=-1, le=1)]


def _check_square(
    layers: tuple[tuple[str, str], ...], cosine: tuple[tuple[float, ...], ...]
) -> None:
    size = len(layers)
    if [len(row) for row in cosine] != [size] * size:
        raise ValueError("cosine must be a square matrix, one row per layer")
    if tuple(zip(*cosine, strict=True)) != cosine:
        raise ValueError("cosine must be a symmetric matrix")


class Similarity(Spec):
    """How much the layers of one kernel class agree.

    Attributes:
        layers: (network, layer) of every row.
        cosine: symmetric matrix, row major, cosine of the layers' gradients cropped to their
            common leading part; 0 where a gradient was zero or not finite.
        energy: squared length of every layer's own gradient, 0 where it was not finite; empty
            where it was not measured.
    """

    layers: tuple[tuple[str, str], ...]
    cosine: tuple[tuple[Cosine, ...], ...]
    energy: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = ()

    @model_validator(mode="after")
    def _is_square(self) -> Self:
        _check_square(self.layers, self.cosine)
        if len(self.energy) not in (0, len(self.layers)):
            raise ValueError("energy must be one number for every layer, or left out")
        return self


EvidenceKind = Literal["gradient_agreement", "representation"]
"""What a method wants to be measured in a search stage."""


class Evidence(Spec):
    """How alike layers are.

    `gradient_agreement`, one matrix per kernel class. Source: "Learning to Compose SuperWeights",
    section 2.2. The paper's code measures one mini-batch and one network; here the gradients of
    `batches` mini-batches are summed, over all networks.

    `representation`, one matrix of the layers of every bank: what layers make of the templates
    that they share. Source: "Neural Parameter Allocation Search", section 3.2, on a fixed gauge.

    Attributes:
        batches: mini-batches that were looked at; 0 where none was needed.
    """

    kind: EvidenceKind = "gradient_agreement"
    batches: int = Field(ge=0)
    classes: tuple[Similarity, ...]

    @model_validator(mode="after")
    def _layers_once(self) -> Self:
        layers = [layer for similarity in self.classes for layer in similarity.layers]
        if len(set(layers)) < len(layers):
            raise ValueError("a layer stands in two rows")
        return self

    @model_validator(mode="after")
    def _gradients_are_of_batches(self) -> Self:
        if self.kind == "gradient_agreement" and not self.batches:
            raise ValueError("gradients are those of at least one batch")
        return self

    def to_json(self) -> str:
        """Return the evidence as JSON."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> "Evidence":
        """Read evidence.

        Raises:
            PlanError: the text is not evidence.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise PlanError(f"not evidence: {error.errors()[0]['msg']}") from error


class BankAgreement(Spec):
    """How much the layers that read one bank agree on where its coefficients should go.

    Attributes:
        group: of the plan.
        bank: index in the group.
        layers: (network, layer) of every row, the readers in the order of the group's slots.
        cosine: symmetric matrix, row major, cosine of the gradients that the layers have for a
            coefficient vector each; 0 where a gradient was zero or not finite.
    """

    group: str
    bank: int = Field(ge=0)
    layers: tuple[tuple[str, str], ...]
    cosine: tuple[tuple[Cosine, ...], ...]

    @model_validator(mode="after")
    def _is_square(self) -> Self:
        _check_square(self.layers, self.cosine)
        return self


class CoefficientAgreement(Spec):
    """Agreement of layers that share coefficients, measured in the midst of training.

    Source: "Learning to Compose SuperWeights", the released code's refinement. There a network's
    layers have one gradient for the vector they share, so only networks can be told apart; here
    every layer has its own.
    """

    kind: Literal["coefficient_agreement"] = "coefficient_agreement"
    batches: int = Field(ge=1)
    banks: tuple[BankAgreement, ...]

    @model_validator(mode="after")
    def _banks_once(self) -> Self:
        if len({(bank.group, bank.bank) for bank in self.banks}) < len(self.banks):
            raise ValueError("a bank stands there twice")
        return self


def check_evidence(evidence: object) -> None:
    """Check that this is what a search stage measures, or nothing.

    Raises:
        InvalidSpecError: it is anything else.
    """
    if isinstance(evidence, CoefficientAgreement):
        raise InvalidSpecError(
            "evidence is a CoefficientAgreement, which npas.planning.planner.refine takes in the "
            "midst of a training; give the Evidence that a search stage measured, or leave "
            "evidence out"
        )
    if evidence is not None and not isinstance(evidence, Evidence):
        raise InvalidSpecError(
            f"evidence is a {type(evidence).__name__}; give what a search stage measured, which "
            "npas.Evidence.from_json reads from its file"
        )


def check_evidence_for(
    evidence: Evidence,
    kind: EvidenceKind,
    *,
    layers: Iterable[tuple[str, str]],
    known: Iterable[tuple[str, str]],
) -> None:
    """Check that evidence is of the kind that a method asks for, and of the networks to plan.

    Args:
        evidence: that was given.
        kind: that the method asks for.
        layers: (network, layer) of all that may share.
        known: of all that the networks have.

    Raises:
        InvalidSpecError: it is of another kind.
        PlanError: it is of other networks.
    """
    if evidence.kind != kind:
        raise InvalidSpecError(
            f"evidence is of kind {evidence.kind}, this method plans with {kind}: measure it for "
            "this method, or leave evidence out"
        )
    measured = [layer for similarity in evidence.classes for layer in similarity.layers]
    there = set(known)
    strange = [layer for layer in measured if layer not in there]
    # Gradients are measured of every layer, representations of those alone that shared.
    lost = sorted(set(layers) - set(measured)) if kind == "gradient_agreement" else []
    if strange or lost:
        told = "is about" if strange else "says nothing about"
        has = "which they do not have" if strange else "which they have"
        raise PlanError(
            f"the evidence is not of the networks to plan: it {told} "
            f"{'/'.join((strange or lost)[0])}, {has}; measure it on them, or leave evidence out"
        )


def check_agreement(evidence: object, groups: Iterable[Group]) -> None:
    """Check that this was measured of coefficients that the groups of a plan share.

    Raises:
        InvalidSpecError: it is no CoefficientAgreement.
        PlanError: it is of another plan.
    """
    if not isinstance(evidence, CoefficientAgreement):
        raise InvalidSpecError(
            f"evidence is of type {type(evidence).__name__}; refine takes a CoefficientAgreement, "
            "which npas.sharing.measure.coefficient_agreement returns"
        )
    readers = {
        (group.name, index): tuple(
            slot.key for slot in group.slots if slot.rows[index] is not None
        )
        for group in groups
        for index in range(len(group.banks))
    }
    for bank in evidence.banks:
        if readers.get((bank.group, bank.bank)) != bank.layers:
            raise PlanError(
                f"the evidence is of another plan: here, bank {bank.bank} of group {bank.group} "
                "is not there or has other readers; measure it on a model under this plan"
            )
