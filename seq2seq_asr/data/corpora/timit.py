"""TIMIT (Garofolo et al. 1993): phones, folded from 61 to 39 (Lee and Hon 1989), as the words of the transcript."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Final

from seq2seq_asr.data.corpora.common import Entry, find_root, write_splits
from seq2seq_asr.data.lines import fault, read_lines
from seq2seq_asr.errors import ManifestError

_KEPT = "aa ae ah aw ay b ch d dh dx eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh t th uh uw v w y z"
_FOLDED = {
    "aa": "ao",
    "ah": "ax ax-h",
    "er": "axr",
    "hh": "hv",
    "ih": "ix",
    "l": "el",
    "m": "em",
    "n": "en nx",
    "ng": "eng",
    "sh": "zh",
    "uw": "ux",
    "sil": "bcl dcl gcl pcl tcl kcl epi pau h#",
}
FOLDING: Final[dict[str, str | None]] = (
    {phone: phone for phone in _KEPT.split()}
    | {phone: target for target, phones in _FOLDED.items() for phone in phones.split()}
    | {"q": None}
)
"""Each of the 61 phones with the one of 39 that stands for it; the glottal stop is dropped."""
CORE_TEST: Final = frozenset(
    "mdab0 mwbt0 felc0 mtas1 mwew0 fpas0 mjmp0 mlnt0 fpkt0 mlll0 mtls0 fjlm0 "
    "mbpm0 mklt0 fnlp0 mcmj0 mjdh0 fmgd0 mgrt0 mnjm0 fdhc0 mjln0 mpam0 fmld0".split()
)
"""The 24 speakers of the core test set, two men and a woman of each dialect."""
DEVELOPMENT: Final = frozenset(
    "faks0 fdac1 fjem0 mgwt0 mjar0 mmdb1 mmdm2 mpdf0 fcmh0 fkms0 mbdg0 mbwm0 mcsh0 fadg0 fdms0 fedw0 mgjf0 "
    "mglb0 mrtk0 mtaa0 mtdt0 mthc0 mwjg0 fnmr0 frew0 fsem0 mbns0 mmjr0 mdls0 mdlf0 mdvc0 mers0 fmah0 fdrw0 "
    "mrcs0 mrjm4 fcal1 mmwh0 fjsj0 majc0 mjsw0 mreb0 fgjd0 fjmg0 mroa0 mteb0 mjfc0 mrjr0 fmml0 mrws1".split()
)
"""The 50 speakers of the test part that the literature tunes on (Halberstadt 1998)."""


def prepare(raw: Path, out: Path) -> dict[str, Path]:
    """Write the manifests of train (462 speakers), dev (50) and core test (24), without the SA sentences.

    Args:
        raw: ``TIMIT``, or the folder that holds it; names in upper or lower case, recordings NIST sphere or WAV.
        out: Folder for the manifests.

    Returns:
        Manifest by split.
    """
    root = find_root(raw, ["TIMIT", "timit", "data", "TIMIT/TIMIT", "timit/timit"], "TRAIN", "train")
    train, test = _part(root, "train"), _part(root, "test")
    return write_splits(
        out, {"train": _entries(train, None), "dev": _entries(test, DEVELOPMENT), "test": _entries(test, CORE_TEST)}
    )


def fold(phones: list[str]) -> list[str]:
    """Fold phones from 61 to 39; silences that follow each other become one.

    Raises:
        KeyError: A name that is none of the 61.
    """
    folded = [target for phone in phones if (target := FOLDING[phone]) is not None]
    return [phone for phone, run in groupby(folded) for phone in ([phone] if phone == "sil" else run)]


def _part(root: Path, name: str) -> Path:
    return root / name if (root / name).exists() else root / name.upper()


def _entries(part: Path, speakers: frozenset[str] | None) -> Iterator[Entry]:
    for folder in sorted(part.glob("*/*")):
        if not folder.is_dir() or (speakers is not None and folder.name.lower() not in speakers):
            continue
        files = {path.name.lower(): path for path in folder.iterdir()}
        for name in sorted(name for name in files if name.endswith(".phn") and not name.startswith("sa")):
            stem = name.removesuffix(".phn")
            audio = files.get(f"{stem}.wav")
            if audio is None:
                raise ManifestError(f"{files[name]}:1: no recording {stem}.wav beside it")
            speaker = folder.name.lower()
            yield Entry(f"{speaker}_{stem}", " ".join(_phones(files[name])), audio, speaker, "en")


def _phones(path: Path) -> list[str]:
    phones = []
    for number, line in read_lines(path):
        columns = line.split()
        if len(columns) != 3 or columns[2] not in FOLDING:
            raise fault(path, number, f"expected <start> <end> <phone>, found {line!r}")
        phones.append(columns[2])
    return fold(phones)
