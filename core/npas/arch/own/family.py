"""The family of modules that users give: known by their tensors, built by nobody but the user."""

from typing import NoReturn

from npas.arch.layers import RoleOf
from npas.errors import InvalidSpecError
from npas.spec import OWN, ArchitectureSpec, Spec


class OwnFamily:
    """own, with `module`; in no catalogue, as no request can name one."""

    title = "Module of the user's own"
    example = OWN
    sizes = (2, 1, 4)
    Options: type[Spec] = Spec

    def names(self) -> list[str]:
        """Return none: there is nothing to choose from."""
        return []

    def matches(self, name: str) -> bool:
        """Return whether it is the name of all modules that are given."""
        return name == OWN

    def default_size(self, name: str) -> int:  # noqa: ARG002 - a module has no size
        """Return what no one asks for: a module reads what it reads."""
        return self.sizes[2]

    def fits(self, name: str, size: int) -> bool:  # noqa: ARG002 - as above
        """Return True: there is no size that could be wrong."""
        return True

    def build(self, spec: ArchitectureSpec) -> NoReturn:
        """Refuse; the code is the user's.

        Raises:
            InvalidSpecError: always.
        """
        kind = spec.module.kind if spec.module else "a module"
        raise InvalidSpecError(
            f"{kind} cannot be built from data: make it yourself and give it, as in "
            "npas.share(MyNet(), plan) and npas.load(path, into=MyNet())",
            field="/architecture/name",
        )

    def narrower(self, spec: ArchitectureSpec, factor: float) -> ArchitectureSpec | None:  # noqa: ARG002
        """Return None: how wide it is only its code says."""
        return None

    def role_of(self, spec: ArchitectureSpec) -> RoleOf | None:  # noqa: ARG002 - the spec has roles
        """Return None: the roles are in the spec."""
        return None


OWN_FAMILY = OwnFamily()
