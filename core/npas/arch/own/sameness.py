"""Whether a module is the one that a plan or a file is for: the first layer that differs."""

from collections.abc import Collection, Mapping

from torch import nn

from npas.arch.own.settings import settings
from npas.arch.own.tensors import Held, held
from npas.spec import ModuleSpec, ModuleTensor


def difference(
    module: nn.Module,
    spec: ModuleSpec,
    *,
    generated: Collection[str] = (),
    is_read: bool = False,
) -> str:
    """Return in words the first layer in which a module differs from a spec; "" if in none.

    Weights may be anyone's, in any precision. A parameter that was trained where the spec is from
    may be frozen here, but not the other way round, as nothing would count it.

    Args:
        module: that was given.
        spec: of the module that it should be.
        generated: names of layers that banks make, which it therefore has not.
        is_read: whether a file will say what is frozen.
    """
    found = {each.name: each for each in held(module)}
    wanted = {each.name: each for each in spec.tensors if each.name not in generated}
    for name, tensor in wanted.items():
        wrong = _of_tensor(found.get(name), tensor, is_read=is_read)
        if wrong:
            return wrong
    for name, each in found.items():
        if name not in wanted:
            return f"it has a {_word(each.kind)} {name} of {_shape(each)} too many"
    return _of_settings(module, spec)


def _of_tensor(found: Held | None, wanted: ModuleTensor, *, is_read: bool) -> str:
    name = wanted.name
    if found is None:
        return f"it has no {_word(wanted.kind)} {name}, which is {wanted.shape} there"
    if tuple(found.tensor.shape) != wanted.shape:
        return f"{name} is {_shape(found)}, not {wanted.shape}"
    if (found.kind == "buffer") != (wanted.kind == "buffer"):
        return f"{name} is a {_word(found.kind)}, not a {_word(wanted.kind)}"
    if ("float" in wanted.dtype) != found.tensor.is_floating_point():
        return f"{name} is {found.tensor.dtype}, not {wanted.dtype}"
    if set(found.names[1:]) != set(wanted.ties):
        ties = [sorted(each) or ["nothing"] for each in (found.names[1:], wanted.ties)]
        return f"{name} is one with {', '.join(ties[0])}, not with {', '.join(ties[1])}"
    if not is_read and (found.kind, wanted.kind) == ("trained", "frozen"):
        return f"{name} is trained, and was frozen when the plan was made; plan it anew, or freeze"
    return ""


def _word(kind: str) -> str:
    return "buffer" if kind == "buffer" else "parameter"


def _shape(each: Held) -> str:
    return str(tuple(each.tensor.shape))


def _of_settings(module: nn.Module, spec: ModuleSpec) -> str:
    given = settings(module)
    for (path, digest), wanted in zip(given, spec.settings, strict=False):
        if digest != wanted:
            inner = module.get_submodule(path)
            return f"{path or 'the whole'}, a {inner!r}".splitlines()[0][:200] + ", is another"
    if len(given) != len(spec.settings):
        return f"it has {len(given)} modules inside, not {len(spec.settings)}"
    return ""


def frozen(spec: ModuleSpec) -> Mapping[str, bool]:
    """Return for each parameter whether it is frozen, by its first name."""
    return {each.name: each.kind == "frozen" for each in spec.tensors if each.kind != "buffer"}
