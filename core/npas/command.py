"""`npas PROGRAM`: the programs of npas by name, those of the service too where it is installed.

They are entry points of the group "npas.programs". An entry point's extra is what to install for
it: the wheel holds all programs, and not all that they need.
"""

import sys
from importlib.metadata import EntryPoint, entry_points

USAGE = "usage: npas PROGRAM [ARGUMENT ...]"


def main() -> int:
    """Run the program that the first argument names, or say what it does; list all without one.

    Returns:
        the exit status.
    """
    programs = {entry.name: entry for entry in entry_points(group="npas.programs")}
    name, *arguments = sys.argv[1:] or [""]
    if name not in programs:
        is_question = name in ("", "-h", "--help")
        unknown = "" if is_question else f"npas: there is no program {name!r}\n"
        (sys.stdout if is_question else sys.stderr).write(unknown + _listed(programs))
        return 0 if is_question else 2
    try:
        program = programs[name].load()
    except ModuleNotFoundError as error:
        extras = ",".join(programs[name].extras)
        sys.stderr.write(
            f"npas: {error.name} is not installed, and {name} needs it: "
            f"pip install 'npas[{extras}]'\n"
        )
        return 1
    if {"-h", "--help"} & set(arguments):
        sys.stdout.write(f"{sys.modules[programs[name].module].__doc__}\n")
        return 0
    sys.argv = [f"npas {name}", *arguments]
    return int(program())


def _listed(programs: dict[str, EntryPoint]) -> str:
    """Return the usage and the modules of all programs, whose docstrings say what they do."""
    lines = [f"  {name:8} as python -m {_module(programs[name])}" for name in sorted(programs)]
    return "\n".join([USAGE, "", *lines, ""])


def _module(entry: EntryPoint) -> str:
    return entry.module.removesuffix(".__main__")
