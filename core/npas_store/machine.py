"""What this machine has, as far as this process may use it."""

import os
import socket
import time
from pathlib import Path

_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_KILLS = Path("/proc/vmstat")
_PROCESSOR, _STATUS, _STAT = (
    *(Path("/proc/cpuinfo"), Path("/proc/self/status")),
    Path("/proc/self/stat"),
)


def num_cores() -> int:
    """Return how many processor cores this process may run on."""
    return len(os.sched_getaffinity(0))


def memory_bytes() -> int:
    """Return the memory of the machine, or of the container, whichever is less."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for limit in _LIMITS:
        try:
            found.append(int(limit.read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return min(found)


def num_kills_for_memory() -> int:
    """Return how many processes the kernel has killed because memory ran out; 0 if it says not."""
    try:
        lines = _KILLS.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def named(device: str, threads: int) -> str:
    """Return what measurements call this machine: trainings on it are equally fast.

    Args:
        device: what its maker calls it; "cpu" for the processor.
        threads: of the processor, that a training uses.
    """
    what = _processor() if device == "cpu" else device
    return f"{socket.gethostname()}, {what}, threads: {threads}"


def _processor() -> str:
    return _said(_PROCESSOR, "model name") or os.uname().machine


def peak_memory_bytes() -> int | None:
    """Return the most memory that this process held at a time; None if the kernel says not."""
    found = _said(_STATUS, "VmHWM").split()
    return 1024 * int(found[0]) if found else None


def _said(file: Path, key: str) -> str:
    """Return what a file of the kernel says behind a key and a colon; "" if nothing."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return ""
    named_lines = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in named_lines if name.strip() == key), "")


def process_seconds() -> float:
    """Return the seconds since this process was started."""
    ticks = int(_STAT.read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
