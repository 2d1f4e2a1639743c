"""What an import leaves out, and what it has to say of the rest."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from npas.errors import DataError

SKIPPED_SHARE = 100
"""One file in so many may be unreadable."""

_SHOWN_NAMES = 5
_LONGEST_NAME = 120


class UnreadableError(Exception):
    """One image cannot be read; the message says why, in a few words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """A file that is left out, and why."""

    name: str
    reason: str


@dataclass(kw_only=True, slots=True)
class Notes:
    """What is gathered for the report on the way.

    Attributes:
        source: name of the file or folder, for messages.
        skipped: images that cannot be read.
        ignored: files that are no images.
        warnings: sentences.
    """

    source: str
    skipped: list[Skipped] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def skip(self, name: str, reason: str) -> None:
        """Leave an image out."""
        self.skipped.append(Skipped(name=shown(name), reason=reason))

    def check_skipped(self, total: int) -> None:
        """Refuse a source of which too much cannot be read.

        Args:
            total: images that there are, unreadable ones too.

        Raises:
            DataError: more than 1 % are skipped.
        """
        if len(self.skipped) * SKIPPED_SHARE <= total:
            return
        some = "; ".join(f"{each.name}: {each.reason}" for each in self.skipped[:_SHOWN_NAMES])
        raise self.refusal(
            f"{len(self.skipped)} of {total} images cannot be read, more than 1 %: {some}"
            f"{'; ...' if len(self.skipped) > _SHOWN_NAMES else ''}; mend or remove them"
        )

    def refusal(self, problem: str) -> DataError:
        """Return the error that says what is wrong with the source."""
        return DataError(f"{self.source}: {problem}", field="/dataset")


def shown(name: str) -> str:
    """Return a name that a stranger gave as it may be shown: printable, and not long."""
    clean = "".join(letter if letter.isprintable() else "?" for letter in name)
    return clean if len(clean) <= _LONGEST_NAME else f"{clean[:_LONGEST_NAME]}..."


def some_of(names: Iterable[str]) -> str:
    """Return the first few names, and how many there are beside them."""
    listed = list(names)
    more = len(listed) - _SHOWN_NAMES
    some = ", ".join(shown(name) for name in listed[:_SHOWN_NAMES])
    return f"{some} and {more} more" if more > 0 else some
