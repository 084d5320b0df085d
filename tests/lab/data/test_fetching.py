"""Downloads from a server on this machine: what goes right, and everything that can go wrong."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

import pytest

from bnkit.errors import DataError
from bnkit.lab.data import fetching
from bnkit.lab.data.fetch_progress import SilentFetch
from bnkit.lab.data.stored_sets import STORED_SETS, Download, OfficialFile, StoredSet
from helpers.file_server import DEAD, Answer, FileServer, serving
from helpers.stored_files import cifar_batches, idx_bytes, mnist_arrays, python_batch, tar_gz

CONTENTS = {name: idx_bytes(array) for name, array in mnist_arrays().items()}
FIRST = "/mnist/train-images-idx3-ubyte.gz"


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as running:
        for name, content in CONTENTS.items():
            running.answers[f"/mnist/{name}.gz"] = Answer(gzip.compress(content))
        yield running


@pytest.fixture
def use(monkeypatch, server: FileServer):
    """Return a function that makes MNIST's mirrors those given; `{}` stands for the server."""

    def using(*mirrors: str) -> None:
        official = tuple(OfficialFile(name, md5(content)) for name, content in CONTENTS.items())
        downloads = tuple(
            Download(
                f"{name}.gz",
                tuple(f"{mirror.format(server.address)}/{name}.gz" for mirror in mirrors),
            )
            for name in CONTENTS
        )
        stored = StoredSet("mnist", "", "", "four files", official, downloads)
        monkeypatch.setitem(fetching.STORED_SETS, "mnist", stored)

    using("{}/mnist")
    return using


def files(folder: Path) -> list[str]:
    """Return every file and folder below, hidden ones too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


WHOLE = sorted(["mnist", *(f"mnist/{name}.gz" for name in CONTENTS)])


class Heard(SilentFetch):
    def __init__(self):
        self.lines = []

    def started(self, name, address):
        self.lines.append(f"started {name}")

    def failed(self, reason):
        self.lines.append(f"failed {reason}")

    def finished(self, name, size):
        self.lines.append(f"finished {name}")


def test_files_are_put_in_place(tmp_path, use):
    heard = Heard()
    copy = fetching.fetch("mnist", tmp_path / "new", heard)
    assert copy.place == tmp_path / "new" / "mnist"
    assert files(tmp_path / "new") == WHOLE
    assert heard.lines[:2] == [
        "started train-images-idx3-ubyte.gz",
        "finished train-images-idx3-ubyte.gz",
    ]
    assert (
        gzip.decompress((copy.place / "t10k-labels-idx1-ubyte.gz").read_bytes())
        == (CONTENTS["t10k-labels-idx1-ubyte"])
    )


def test_what_is_there_is_not_downloaded_again(tmp_path, use, server):
    first = fetching.fetch("mnist", tmp_path)
    server.requested.clear()
    assert fetching.fetch("mnist", tmp_path) == first
    (first.place / FIRST[7:]).unlink()
    fetching.fetch("mnist", tmp_path)
    assert server.requested == [FIRST], "only what is missing"


def test_content_counts_and_not_how_it_was_compressed(tmp_path, use, server):
    images = CONTENTS["train-images-idx3-ubyte"]
    server.answers[FIRST] = Answer(gzip.compress(images, 1, mtime=0))
    fetching.fetch("mnist", tmp_path)
    assert files(tmp_path) == WHOLE


@pytest.mark.parametrize("dead", [DEAD, "{}/moved"])
def test_the_next_mirror_is_tried(tmp_path, use, dead):
    use(dead, "{}/mnist")
    heard = Heard()
    fetching.fetch("mnist", tmp_path, heard)
    assert files(tmp_path) == WHOLE
    assert any(line.startswith("failed http://127.0.0.1") for line in heard.lines)


GOOD = gzip.compress(CONTENTS["train-images-idx3-ubyte"])
OTHER = gzip.compress(CONTENTS["t10k-images-idx3-ubyte"])
MD5_TEXT = (
    f"md5 of train-images-idx3-ubyte is {md5(CONTENTS['t10k-images-idx3-ubyte'])}, "
    f"of the official {md5(CONTENTS['train-images-idx3-ubyte'])}"
)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(b"no", 404), r"answered 404"),
        (Answer(b"no", 503), r"answered 503"),
        (Answer(GOOD[:5000], length=len(GOOD)), r"cannot be reached, or broke off|broke off \("),
        (Answer(GOOD[:5000]), r"gave a file that is cut off"),
        (Answer(OTHER), f"gave other content: {MD5_TEXT}"),
        (Answer(b"<html>log in</html>"), r"gave a file that is a web page"),
        (Answer(b""), r"gave a file that is empty"),
        (Answer(GOOD[:-4] + b"1234"), r"gave a file that is damaged"),
    ],
)  # fmt: skip
def test_what_is_not_the_official_content_is_never_put_in_place(
    tmp_path, use, server, answer, message
):
    server.answers[FIRST] = answer
    with pytest.raises(DataError, match=message) as caught:
        fetching.fetch("mnist", tmp_path)
    assert f"{server.address}{FIRST}" in str(caught.value)
    assert "bnkit study run digits" in str(caught.value)
    assert files(tmp_path) == [], "nothing is left"


def test_all_mirrors_are_named_when_none_gives_the_content(tmp_path, use):
    use(DEAD, "{}/moved")
    with pytest.raises(DataError, match=r"127.0.0.1:9/.* cannot be reached.*; .*answered 404"):
        fetching.fetch("mnist", tmp_path)


class Interrupting(Heard):
    """Is told to end in the middle of the second file."""

    total = 0

    def bar(self):
        return self if len(self.lines) > 2 else False

    def update(self, count):
        raise KeyboardInterrupt


def test_an_interrupted_call_leaves_whole_files_only_and_the_next_goes_on(tmp_path, use, server):
    with pytest.raises(KeyboardInterrupt):
        fetching.fetch("mnist", tmp_path, Interrupting())
    assert files(tmp_path) == ["mnist", f"mnist/{FIRST[7:]}"]
    server.requested.clear()
    fetching.fetch("mnist", tmp_path)
    assert files(tmp_path) == WHOLE
    assert FIRST not in server.requested


def test_what_a_killed_call_left_is_removed_once_it_is_old(tmp_path, use):
    (tmp_path / "mnist").mkdir()
    old, new = (tmp_path / "mnist" / f".{pid}-{FIRST[7:]}" for pid in (1, 2))
    old.touch()
    new.touch()
    os.utime(old, (0, 0))
    fetching.fetch("mnist", tmp_path)
    assert not old.exists()
    assert new.exists(), "another call may be writing it"


def test_a_folder_that_cannot_be_written_is_named(tmp_path, use):
    (tmp_path / "mnist").touch()
    with pytest.raises(DataError, match=r"cannot write to .*mnist .*--data-dir"):
        fetching.fetch("mnist", tmp_path)


BATCHES = cifar_batches(*(file.name for file in STORED_SETS["cifar-10"].files), count=3)
PYTHON = {f"cifar-10-batches-py/{name}": python_batch(*batch) for name, batch in BATCHES.items()}


@pytest.fixture
def cifar(monkeypatch, server: FileServer):
    official = tuple(
        OfficialFile(Path(name).name, md5(content), "cifar-10-python.tar.gz")
        for name, content in PYTHON.items()
    )
    address = f"{server.address}/cifar-10-python.tar.gz"
    download = Download("cifar-10-python.tar.gz", (address,))
    stored = StoredSet("cifar-10", "", "", "an archive", official, (download,))
    monkeypatch.setitem(fetching.STORED_SETS, "cifar-10", stored)
    return server.answers


def test_an_archive_is_held_against_the_checksums_of_its_members(tmp_path, cifar):
    cifar["/cifar-10-python.tar.gz"] = Answer(tar_gz(PYTHON))
    copy = fetching.fetch("cifar-10", tmp_path)
    assert copy.place == tmp_path / "cifar-10" / "cifar-10-python.tar.gz"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tar_gz(PYTHON | {"cifar-10-batches-py/data_batch_3": b"x"}), "md5 of data_batch_3 is"),
        (tar_gz({"readme": b"x"}), "has no member data_batch_1, data_batch_2"),
        (tar_gz(PYTHON)[:-99], "is cut off"),
    ],
)
def test_an_archive_with_other_members_is_refused(tmp_path, cifar, content, message):
    cifar["/cifar-10-python.tar.gz"] = Answer(content)
    with pytest.raises(DataError, match=message):
        fetching.fetch("cifar-10", tmp_path)
    assert files(tmp_path) == []


def test_what_nobody_may_download_says_where_to_get_it(tmp_path):
    with pytest.raises(DataError, match=r"get it yourself: hindi_hw_digits.tar.gz .*Put into"):
        fetching.fetch("hindi-digits", tmp_path)
    assert fetching.fetch("wine", tmp_path) is None
    with pytest.raises(DataError, match=r"no data set 'mnits'.*Did you mean 'mnist'"):
        fetching.fetch("mnits", tmp_path)


def test_every_download_has_a_checksum_and_two_mirrors():
    for stored in STORED_SETS.values():
        for download in stored.downloads:
            assert len(download.mirrors) >= 2
            assert all(mirror.startswith("https://") for mirror in download.mirrors)
            named = {file.member_of or f"{file.name}.gz" for file in stored.files}
            assert download.name in named
        assert bool(stored.downloads) != bool(stored.by_hand)
