"""`npas.declare`: a module and an example become a graph that a request can carry."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from npas.arch.graph import constants, merging, shapes, starts
from npas.arch.graph.building import build
from npas.arch.graph.ownership import Owners
from npas.arch.graph.recording import Recorded
from npas.arch.graph.settings import UnfitSettingError
from npas.arch.graph.tracing import Tracer, followed
from npas.arch.own.refusal import sharing_part
from npas.errors import InvalidSpecError, NpasError, UndeclarableError
from npas.spec import DECLARED_GRAPH, ArchitectureSpec
from npas.spec.graph import MAX_CONSTANTS, MAX_KINDS, MAX_NODES, Constant, Graph

_BATCHES = (2, 3)
_OTHER_BATCH = 4
_RANDOM = ("dropout", "stochastic_depth")


def declare(module: nn.Module, example: Tensor | tuple[Tensor, ...]) -> ArchitectureSpec:
    """Return a module as data: what `npas.plan`, and a request to the service, can carry.

    The module is run on a few batches and each call of torch's is taken down. What cannot be said
    in a graph is refused with its place. Before it is returned, the graph is built again with the
    module's weights, and its answers must be equal bit for bit.

    Args:
        module: on the CPU, in float32; its weights are left as they are. An answer may also be an
            object with `logits`.
        example: images (B, channels, S, S), as it reads them; or a tuple of that one tensor.

    Returns:
        A spec of the name "declared-graph", the sizes of the example in it. Names of parameters
        are those of the module, so that state dicts may be exchanged; parameters that the answer
        does not depend on are left out.

    Raises:
        UndeclarableError: it computes something that a graph cannot say; the message has the
            module's path and the line of source.
        InvalidSpecError: the example is not one image batch.

    Example:
        >>> import npas, torch
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(),
        ...                           torch.nn.Flatten(), torch.nn.Linear(8 * 36, 10))
        >>> npas.declare(net, torch.randn(1, 3, 8, 8)).num_classes
        10
    """
    images = _images(example)
    if not isinstance(module, nn.Module):
        raise InvalidSpecError(f"a {type(module).__name__} is no module: give an nn.Module")
    _check_module(module)
    with _left_as_it_is(module):
        nodes = _seen(module, images)
        graph = _graph(module, nodes)
        spec = _spec(graph, images, _answer(module.eval(), images))
        _compare(module, spec, images)
    return spec


def _images(example: Any) -> Tensor:
    """Return the images of an example."""
    given = example[0] if isinstance(example, tuple | list) and len(example) == 1 else example
    if not isinstance(given, Tensor) or given.dim() != 4 or given.dtype != torch.float32:
        raise InvalidSpecError(
            "give one float32 tensor of images (B, channels, S, S) as an example: that is what "
            f"datasets have; this is {_described(example)}"
        )
    if given.shape[2] != given.shape[3] or len(given) < 1 or not 4 <= given.shape[2] <= 1024:
        raise InvalidSpecError(
            f"images are square, of 4 to 1024 pixels, at least one; given: {_described(given)}"
        )
    return given.detach().cpu()


def _check_module(module: nn.Module) -> None:
    """Refuse a module that has no weights of its own, or has them elsewhere than on the CPU."""
    shares = sharing_part(module)
    if shares is not None:
        raise UndeclarableError(
            "it shares by a plan already, and a graph is of a network that does not: declare the "
            "module before it is shared, or one from materialise()",
            path=shares,
        )
    for name, tensor in module.state_dict().items():
        if isinstance(tensor, Tensor) and tensor.device.type != "cpu":
            advice = "numbers, on the CPU" if tensor.is_meta else "module.cpu()"
            raise UndeclarableError(f"{name} is on the device {tensor.device}: give {advice}")


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a {value.dtype} tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple | list):
        return "a list of " + (" and ".join(map(_described, value)) or "nothing")
    return f"a {type(value).__name__}"


@contextmanager
def _left_as_it_is(module: nn.Module) -> Iterator[None]:
    """Give a module its buffers and modes back, and torch its random state, after the block."""
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    modes = [(each, each.training) for each in module.modules()]
    is_fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it computes otherwise in evaluation
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(is_fast)
        with torch.no_grad():  # of a module that was refused as well: it ran in training, too
            for buffer, before in buffers:
                buffer.copy_(before)
        for each, was_training in modes:
            each.training = was_training


def _batch(images: Tensor, size: int) -> Tensor:
    """Return so many images like those of the example, no two alike."""
    generator = torch.Generator().manual_seed(size)
    scale, mean = images.std(correction=0).clamp(min=0.1), images.mean()
    return torch.randn((size, *images.shape[1:]), generator=generator) * scale + mean


def _answer(module: nn.Module, images: Tensor) -> Tensor:
    mode = "training" if module.training else "evaluation"
    try:
        made = module(images)
    except (NpasError, UnfitSettingError):
        raise
    except Exception as error:  # the module is the user's: it may raise anything
        raise UndeclarableError(
            f"forward does not run in {mode} on {_described(images)} ({type(error).__name__}: "
            f"{error}); it has to run on images like those of the example, however many: "
            "where it says how many, as in x.reshape(2, -1), let it say x.shape[0]"
        ) from error
    logits = made if isinstance(made, Tensor) else getattr(made, "logits", None)
    if not isinstance(logits, Tensor):
        raise UndeclarableError(
            f"forward gives a {type(made).__name__} in {mode}; a graph gives one tensor, "
            "(B, num_classes), or an object with `logits`"
        )
    if logits.dim() != 2 or logits.shape[0] != images.shape[0]:
        raise UndeclarableError(
            f"forward gives {tuple(logits.shape)} for images {tuple(images.shape)}; a graph gives "
            "(B, num_classes)"
        )
    return logits


def _seen(module: nn.Module, images: Tensor) -> list[Recorded]:
    """Return what a module computes, whatever the batch, in training and in evaluation."""
    owners = Owners(module)
    few, more = (_run(module.train(), owners, _batch(images, size)) for size in _BATCHES)
    evaluating = _run(module.eval(), owners, _batch(images, _BATCHES[0]))
    merging.check_training(few, evaluating)
    return _with_unread_buffers(owners, merging.over_batches(few, more, _BATCHES))


def _with_unread_buffers(owners: Owners, nodes: Sequence[Recorded]) -> list[Recorded]:
    """Put buffers of state dicts that no node reads before all others.

    What is computed from them alone is a constant, which stands where it is read.
    """
    known = {node.name for node in nodes}
    kept = owners.model.state_dict().keys()
    unread = [
        Recorded(op="buffer", name=name, tensor=buffer.detach().clone())
        for name, buffer in owners.model.named_buffers()
        if name in kept and name not in known and name.rpartition(".")[0] not in known
    ]
    moved = [
        replace(node, reads=tuple(each and each + len(unread) for each in node.reads))
        for node in nodes
    ]
    return [*unread, *moved]


def _run(module: nn.Module, owners: Owners, images: Tensor) -> list[Recorded]:
    tracer = Tracer(owners, images)
    with followed(tracer):
        answer = _answer(module, images)
    try:
        return merging.alive(tracer.nodes, tracer.read(answer))
    except UnfitSettingError as error:
        raise UndeclarableError(str(error)) from None


def _graph(module: nn.Module, nodes: Sequence[Recorded]) -> Graph:
    """Return the graph of nodes."""
    kept: dict[Constant, int] = {}
    settings = []
    for node in nodes:
        own = dict(node.settings)
        if node.tensor is not None:
            own |= _kept(module, node, kept)
        settings.append(own)
    kinds, numbers = merging.shared_kinds(nodes, settings)
    for what, count, most in (
        ("nodes", len(nodes), MAX_NODES),
        ("kinds of nodes", len(kinds), MAX_KINDS),
        ("constants", len(kept), MAX_CONSTANTS),
    ):
        if count > most:
            raise UndeclarableError(f"{count:,} {what}; a graph has at most {most:,}")
    seen: set[str] = set()
    described = []
    for index, (node, number) in enumerate(zip(nodes, numbers, strict=True)):
        entry: dict[str, Any] = {"kind": number}
        is_usual = node.reads == (
            () if node.op in ("parameter", "buffer", "constant", "full") else (index,)
        )
        if not is_usual:
            entry["inputs"] = node.reads
        if node.name is not None:
            entry["name"] = node.name
            if node.name not in seen:
                entry |= starts.said(module, node)
            seen.add(node.name)
        described.append(entry)
    return Graph(kinds=kinds, nodes=described, constants=tuple(kept))  # type: ignore[arg-type]  # read by pydantic


def _kept(module: nn.Module, node: Recorded, kept: dict[Constant, int]) -> dict[str, Any]:
    """Return the settings of a constant, after it was put among those that are kept."""
    assert node.tensor is not None
    try:
        found = constants.written(node.tensor)
    except UnfitSettingError as error:
        raise UndeclarableError(str(error), path=node.path, line=node.line) from None
    settings: dict[str, Any] = {"constant": kept.setdefault(found, len(kept))}
    if node.name is not None and node.name not in module.state_dict():
        settings["persistent"] = False
    return settings


def _spec(graph: Graph, images: Tensor, answer: Tensor) -> ArchitectureSpec:
    if answer.shape[1] < 2:
        raise UndeclarableError(f"forward gives {answer.shape[1]} number an image; at least 2")
    return ArchitectureSpec(
        name=DECLARED_GRAPH,
        num_classes=answer.shape[1],
        input_channels=images.shape[1],
        input_size=images.shape[2],
        graph=graph,
    )


def _compare(module: nn.Module, spec: ArchitectureSpec, images: Tensor) -> None:
    """Build a graph again and compare its answers with the module's."""
    graph = spec.graph
    assert graph is not None
    assert spec.num_classes is not None
    sides = (images.shape[1], images.shape[2], images.shape[3])
    try:
        shapes.check(graph, sides, spec.num_classes)
        with torch.device("meta"):
            again = build(graph)
    except InvalidSpecError as error:
        raise UndeclarableError(f"its graph cannot be built: {error}") from error
    names = again.state_dict().keys()
    state = {name: each for name, each in module.state_dict().items() if name in names}
    again.load_state_dict(state, assign=True)
    for batch in (images[:1], _batch(images, _OTHER_BATCH)):
        wanted, found = (_answer(each.eval(), batch) for each in (module, again))
        if not torch.equal(wanted, found):
            far = float((wanted - found).abs().max())
            raise UndeclarableError(
                f"its graph gives other answers to {len(batch)} images, by up to {far:.3g}: it "
                "computes in a way that was not seen, such as writing into views of tensors"
            )
    _compare_training(module, again, graph, images)


def _compare_training(module: nn.Module, again: nn.Module, graph: Graph, images: Tensor) -> None:
    """Compare while training, where nothing is drawn at random."""
    for kind in graph.kinds:
        chances = (kind.settings.get(name) for name in ("dropout", "dropout_p"))
        if kind.op.startswith(_RANDOM) or any(chances):
            return
    batch = _batch(images, _BATCHES[0])
    if not torch.equal(_answer(module.train(), batch), _answer(again.train(), batch)):
        raise UndeclarableError("its graph gives other answers while training")
