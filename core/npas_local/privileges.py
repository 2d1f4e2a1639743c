"""Who a server runs as: PostgreSQL refuses to run as root, so root must become someone else.

Inside a user namespace of its own, the server is user 1000; outside, and for every file it
writes, it stays who started it. Where the kernel refuses that, it becomes an unprivileged user.
"""

import ctypes
import os
import pwd
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from npas_local.processes import StartError

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWUSER = 0x10000000
_INSIDE = 1000


def enter_namespace() -> None:
    """Become user 1000 of a new user namespace; call it in a new process, before its program.

    Raises:
        OSError: the kernel does not allow it here.
    """
    user, group = os.geteuid(), os.getegid()
    if _LIBC.unshare(_CLONE_NEWUSER) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{_INSIDE} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{_INSIDE} {group} 1")


def _namespaces_work() -> bool:
    try:
        return subprocess.run(["true"], preexec_fn=enter_namespace, check=False).returncode == 0
    except (subprocess.SubprocessError, OSError):
        return False


def unprivileged(program: Path, *folders: Path) -> Callable[[], None] | None:
    """Return the function that a new process must call so that the program does not run as root.

    Args:
        program: what it will run.
        folders: what it will write into; they exist. They may be given to another user.

    Returns:
        None when we are not root: nothing needs to be done.

    Raises:
        StartError: there is no way; the message names the ways out.
    """
    if os.geteuid() != 0:
        return None
    if _namespaces_work():
        _give(folders, os.geteuid(), os.getegid())  # should they be `nobody`'s from before
        return enter_namespace
    return demoted(program, *folders)


def demoted(program: Path, *folders: Path) -> Callable[[], None]:
    """Return a function that turns root's process into one of `nobody`, who gets the folders.

    Raises:
        StartError: `nobody` cannot reach the program or a folder.
    """
    user = pwd.getpwnam("nobody")

    def become() -> None:
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)

    _give(folders, user.pw_uid, user.pw_gid)
    for flag, path in (("-x", program), *(("-w", folder) for folder in folders)):
        if subprocess.run(["test", flag, str(path)], preexec_fn=become, check=False).returncode:
            raise StartError(
                f"PostgreSQL refuses to run as root, user namespaces are not allowed here, and "
                f"user nobody cannot use {path}; start npas as an ordinary user, or choose a "
                f"folder that others may enter (NPAS_HOME), or set NPAS_DATABASE_URL"
            )
    return become


def _give(folders: Iterable[Path], user: int, group: int) -> None:
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            if path.lstat().st_uid != user:
                os.chown(path, user, group, follow_symlinks=False)
