"""Which version of the package this is."""

from importlib import metadata


def package_version() -> str:
    """Version of this package; without an installation there is none to tell."""
    try:
        return metadata.version("seq2seq_asr")
    except metadata.PackageNotFoundError:
        return "(not installed)"
