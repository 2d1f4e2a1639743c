"""Which claim a pool process holds, told to the one that takes its place if it is killed."""

import mmap

_BYTES = 256
_WRITTEN = 1


class HeldClaim:
    """A claim in memory that all processes forked from this one share."""

    def __init__(self) -> None:
        """Hold none; make it before the pool is forked."""
        self._shared = mmap.mmap(-1, _BYTES)

    def note(self, job_id: str, claim_number: int) -> None:
        """Hold a claim: whoever is killed from now on leaves it behind."""
        text = f"{job_id} {claim_number}".encode()
        self._shared[1 : 1 + len(text) + 1] = text + b"\0"
        self._shared[0] = _WRITTEN  # last: what is cut off halfway is not read

    def clear(self) -> None:
        """Hold none."""
        self._shared[0] = 0

    def read(self) -> tuple[str, int] | None:
        """Return the job and the number of the claim that is held; None: none is."""
        if self._shared[0] != _WRITTEN:
            return None
        job_id, number = self._shared[1:].split(b"\0")[0].decode().split()
        return job_id, int(number)
