"""Archives that mean harm are refused by name, and nothing is written anywhere."""

import struct
import zipfile
from dataclasses import replace

import pytest
from npas.data import ImportLimits
from npas.data._importing.archive import ZipFiles
from npas.data._importing.notes import Notes, UnreadableError
from npas.errors import DataError

LIMITS = ImportLimits(max_files=50, max_file_bytes=1 << 20)


def opened(path, limits=LIMITS):
    return ZipFiles(path, Notes(source=path.name), limits)


def with_entry(path, name, content=b"x", *, mode=0o100644, packing=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "a") as archive:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        entry.compress_type = packing
        archive.writestr(entry, content)
    return path


NAMES = {
    "a way out": ("../evil.png", "leads out of the source"),
    "a way out in the midst": ("a/../../evil.png", "leads out of the source"),
    "backslashes": ("a\\..\\..\\evil.png", "leads out of the source"),
    "absolute": ("/etc/evil.png", "is absolute"),
    "a drive": ("C:\\evil.png", "is absolute"),
    "a share": ("\\\\host\\evil.png", "is absolute"),
    "control": ("a/\x07evil.png", "control characters"),
    "long": ("a" * 1_001, "longer than 1000"),
    "deep": ("a/" * 40 + "evil.png", "deeper than 32"),
    "case": ("CAT/000.PNG", "differ only in the case"),
}


@pytest.mark.parametrize("case", NAMES)
def test_names_that_lead_elsewhere_are_refused(case, good, archive, imported, tmp_path):
    name, message = NAMES[case]
    path = with_entry(archive(good()), name)
    with pytest.raises(DataError, match=rf"mine\.zip: .*{message}"):
        imported(path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["mine.zip"]


@pytest.mark.parametrize(
    ("mode", "message"),
    [(0o120777, "a link"), (0o020666, "a device"), (0o060660, "a device"), (0o010666, "a device")],
)
def test_links_and_devices_are_refused(mode, message, archive, good):
    with pytest.raises(DataError, match=f"a/x.png is {message}"):
        opened(with_entry(archive(good()), "a/x.png", b"/etc/passwd", mode=mode))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_name_twice_is_refused(archive, good):
    with pytest.raises(DataError, match=r"holds cat/000\.png more than once"):
        opened(with_entry(archive(good()), "cat/000.png"))


def test_unusual_packing_and_passwords_are_refused(archive, good, tmp_path):
    path = with_entry(archive(good()), "cat/x.png", packing=zipfile.ZIP_LZMA)
    with pytest.raises(DataError, match=r"cat/x\.png is packed in an unusual way"):
        opened(path)
    content = bytearray(archive(good()).read_bytes())
    place = content.index(b"PK\1\2")
    content[place + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"cat/000\.png is encrypted"):
        opened(tmp_path / "locked.zip")


def test_bombs_are_refused_by_what_they_say(archive, good):
    path = with_entry(archive(good()), "cat/bomb.png", bytes(4 << 20))
    with pytest.raises(DataError, match=r"cat/bomb\.png is a zip bomb: .* unpack to 4\.0 MiB"):
        opened(path)
    small = replace(LIMITS, max_unpacked_bytes=1_000)
    with pytest.raises(DataError, match=r"unpacks to .*; at most 1000 bytes"):
        opened(archive(good()), small)
    with pytest.raises(DataError, match="holds 24 entries; at most 23"):
        opened(archive(good()), replace(LIMITS, max_files=23))


def test_entries_that_lie_over_each_other_are_refused(archive, tmp_path):
    """As in the bombs of David Fifield: many entries, one content."""
    path = archive({"cat/0.png": bytes(range(256)) * 40})
    content = path.read_bytes()
    start = content.index(b"PK\1\2")
    end = content.index(b"PK\5\6")
    entry = content[start:end]
    entries = b"".join(
        entry.replace(b"cat/0.png", f"cat/{digit}.png".encode()) for digit in range(9)
    )
    tail = bytearray(content[end:])
    struct.pack_into("<HHII", tail, 8, 9, 9, len(entries), start)
    (tmp_path / "over.zip").write_bytes(content[:start] + entries + tail)
    with pytest.raises(DataError, match="entries lie over each other"):
        opened(tmp_path / "over.zip")


@pytest.mark.parametrize("told", [10, 5_000, 900_000_000])
def test_lies_about_sizes_are_found_when_read(told, archive, tmp_path):
    """The archive says less, or more, than what is there."""
    content = bytearray(archive({"cat/0.png": bytes(range(256)) * 8}).read_bytes())
    for mark, offset in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
        struct.pack_into("<I", content, content.index(mark) + offset, told)
    (tmp_path / "lie.zip").write_bytes(content)
    limits = replace(LIMITS, max_ratio=10**9)
    with opened(tmp_path / "lie.zip", limits) as files, pytest.raises(UnreadableError):
        files.read(("cat", "0.png"))


def test_damaged_archives_are_refused(archive, good, tmp_path):
    content = archive(good()).read_bytes()
    for bad in (b"", b"no zip", content[:-30], content[: len(content) // 2]):
        (tmp_path / "bad.zip").write_bytes(bad)
        with pytest.raises(DataError, match=r"bad\.zip: is not a readable zip archive"):
            opened(tmp_path / "bad.zip")


def test_damaged_entry_is_skipped_by_name(archive, good, imported):
    path = archive(good(100))
    content = bytearray(path.read_bytes())
    content[content.index(b"cat/007.png") + 40] ^= 255
    path.write_bytes(content)
    report = imported(path)
    assert [each.name for each in report.skipped] == ["cat/007.png"]
    assert "damaged" in report.skipped[0].reason
    assert report.counts[0].train + report.counts[0].validation + report.counts[0].test == 99


def test_archive_within_an_archive_is_left_closed(archive, good, imported):
    inner = archive(good(), "inner.zip").read_bytes()
    report = imported(archive(good() | {"cat/inner.zip": inner, "x.tar.gz": b"x"}))
    assert report.ignored == ("cat/inner.zip", "x.tar.gz")
    assert "archives inside are not opened: cat/inner.zip, x.tar.gz" in report.warnings
    assert report.facts["num_train"] == 20
