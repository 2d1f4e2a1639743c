"""join(): a network more for a file's bank, from Python; a job does the same with `start`."""

from npas.planning import inputs
from npas.planning.inputs import Budget, Planned
from npas.planning.joining import joined
from npas.plans import Plan
from npas.sharing.joining import with_joined
from npas.sharing.model import SharedModel, check_shared
from npas.spec import NetworkSpec


def join(
    model: SharedModel,
    architecture: Planned,
    *,
    budget: Budget,
    frozen: bool = True,
    seed: int = 0,
) -> SharedModel:
    """Return a model with networks more, which read the templates that are there.

    Train it as any other, coefficients without decay. While the old networks are frozen, only the
    new ones are active and only what is theirs is trained, so that the old ones' outputs stay what
    they are, bit for bit.

    A budget in bytes that the model was planned for, and how its file was coded, do not hold for
    the result: `npas.save` writes it as it is, unless `bytes=` says otherwise.

    Args:
        model: from `npas.share` or `npas.load`; it is left as it is.
        architecture: of the new networks, as for `npas.plan`; a lone one is called "main". Sizes
            that it leaves open are those of the networks that are there.
        budget: trainable parameters that they may add, or {"fraction": 0.1} of their dense size.
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
        >>> small = npas.NetworkSpec(name="small", architecture={"name": "resnet-8"})
        >>> more = npas.join(net, [small], budget={"fraction": 0.2})
        >>> more.plan.ledger.total - net.plan.ledger.total <= 0.2 * 78_330
        True
    """
    check_shared(model)
    problem = inputs.problem(
        [_sized(network, model.plan) for network in inputs.networks(architecture)],
        budget=budget,
        method=model.plan.method,
        dataset=None,
        data_folder=None,
        unshared=(),
        share_embeddings=False,
        options={},
    )
    found = with_joined(model, joined(model.plan, problem), seed=seed, frozen=frozen)
    return found.train(model.training)


def _sized(network: NetworkSpec, plan: Plan) -> NetworkSpec:
    """Return a network with the sizes of those of a plan, where it leaves them open."""
    given, known = network.architecture, plan.networks[0].architecture
    sizes = {
        field: getattr(known, field)
        for field in ("num_classes", "input_channels", "input_size")
        if getattr(given, field) is None
    }
    return network.model_copy(update={"architecture": given.model_copy(update=sizes)})
