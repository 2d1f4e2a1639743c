"""join(): a network more for a file's bank, from Python; a job does the same with `start`."""

from pathlib import Path

from npas.planning import inputs
from npas.planning.inputs import Budget, Planned
from npas.planning.joining import joined
from npas.plans import Plan
from npas.sharing.joining import freeze_all_but, with_joined
from npas.sharing.model import SharedModel, check_shared


def join(
    model: SharedModel,
    architecture: Planned,
    *,
    budget: Budget,
    dataset: str | None = None,
    data_folder: Path | str | None = None,
    frozen: bool = True,
    seed: int = 0,
) -> SharedModel:
    """Return a model with networks more, which read the templates that are there.

    Train it as any other. While the old networks are frozen, only the new ones are active and
    only what is theirs is trained, so that the old ones' outputs stay what they are, bit for bit.

    Args:
        model: from `npas.share` or `npas.load`; it is left as it is.
        architecture: of the new networks, as for `npas.plan`; a lone one is called "main".
        budget: trainable parameters that they may add, or {"fraction": 0.1} of their dense size.
        dataset: sets sizes that the architecture leaves open.
        data_folder: where an "npz:NAME" dataset lies; None: the default folder.
        frozen: whether all else stays as it is.
        seed: of what is random.

    Raises:
        InvalidSpecError: the model is not a shared network, a value is not allowed, or a network
            has the name of one that is there.
        InfeasibleBudgetError: the least that they add is more than the budget.

    Example:
        >>> import npas
        >>> plan = npas.plan("resnet-14", budget=60_000)
        >>> net = npas.share(npas.build("resnet-14"), plan)
        >>> small = npas.spec.NetworkSpec(
        ...     name="small", architecture=npas.spec.ArchitectureSpec(name="resnet-8")
        ... )
        >>> more = npas.join(net, [small], budget={"fraction": 0.2})
        >>> more.plan.ledger.total - net.plan.ledger.total <= 0.2 * 78_330
        True
    """
    check_shared(model)
    problem = inputs.problem(
        architecture,
        budget=budget,
        method=model.plan.method,
        dataset=dataset,
        data_folder=data_folder,
        unshared=(),
        share_embeddings=False,
        options={},
    )
    plan: Plan = joined(model.plan, problem)
    found = with_joined(model, plan, seed=seed)
    found.train(model.training)
    if frozen:
        new = tuple(network.name for network in problem.networks)
        freeze_all_but(found, new)
        found.active = new
    return found
