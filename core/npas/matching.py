"""Networks and the dataset they are trained on: sizes that are left open, sizes that clash."""

from npas import arch
from npas.data import Dataset, Inputs
from npas.errors import InvalidSpecError
from npas.spec import JobSpec, NetworkSpec


def resolve(spec: JobSpec, dataset: Dataset) -> tuple[NetworkSpec, ...]:
    """Give each network the dataset's sizes where its own are left open."""
    sizes = (dataset.num_classes, dataset.input_channels, dataset.input_size)
    return tuple(
        network.model_copy(
            update={"architecture": arch.resolve(network.architecture, sizes=sizes)}
        )
        for network in spec.members()
    )


def common_inputs(networks: tuple[NetworkSpec, ...], dataset: Dataset) -> Inputs:
    """Return what all networks of a job read: they see the same batch.

    Raises:
        InvalidSpecError: they do not read the same, or not what the dataset can give.
    """
    specs = [network.architecture for network in networks]
    sizes = {(s.input_channels, s.input_size) for s in specs}
    if len(sizes) > 1:
        raise InvalidSpecError(
            f"the networks read images of different (channels, size): {sorted(map(str, sizes))}; "
            "give all the same input_channels and input_size",
            field="/networks",
        )
    channels, size = specs[0].input_channels, specs[0].input_size
    for spec in specs:
        if spec.num_classes != dataset.num_classes:
            raise InvalidSpecError(
                f"{spec.name} has {spec.num_classes} classes, {dataset.name} has "
                f"{dataset.num_classes}; leave num_classes out",
                field="/architecture/num_classes",
            )
    if channels != dataset.input_channels:
        raise InvalidSpecError(
            f"{specs[0].name} reads {channels} channels, {dataset.name} has "
            f"{dataset.input_channels}; leave input_channels out",
            field="/architecture/input_channels",
        )
    return dataset.inputs(input_size=size)
