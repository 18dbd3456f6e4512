"""This very package as a wheel, from whatever it is installed as: no build tool, no network.

Format: https://packaging.python.org/en/latest/specifications/binary-distribution-format/
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from dm_isaac_g1.core.paths import shipped

DISTRIBUTION = "dm-isaac-g1"
PACKAGE = "dm_isaac_g1"
#: Zip cannot hold times before 1980; the same content gives the same bytes.
EPOCH = (1980, 1, 1, 0, 0, 0)


def package_files() -> Iterator[tuple[str, bytes]]:
    """(path in the wheel, content) of the package, sorted; with the profiles and themes that came with it."""
    root = Path(__file__).resolve().parents[1]
    found = {f"{PACKAGE}/{path.relative_to(root)}": path for path in root.rglob("*") if _wanted(path)}
    for kind in ("profiles", "themes"):
        folder = shipped(kind)
        for path in folder.rglob("*") if folder.is_dir() else ():
            if _wanted(path):
                found[f"{PACKAGE}/_shipped/{kind}/{path.relative_to(folder)}"] = path
    for name in sorted(found):
        yield name, found[name].read_bytes()


def _wanted(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"


def digest() -> str:
    """Of the package's Python files: two copies with the same digest do the same."""
    total = hashlib.sha256()
    for name, content in package_files():
        if name.endswith(".py"):
            total.update(f"{name}\n{hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()[:16]


def build() -> tuple[str, bytes]:
    """The wheel's file name and its bytes."""
    installed = metadata.distribution(DISTRIBUTION)
    info = f"{PACKAGE}-{installed.version}.dist-info"
    about = {
        "METADATA": installed.read_text("METADATA") or "",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: dm-g1\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "entry_points.txt": installed.read_text("entry_points.txt") or "",
    }
    files = [*package_files(), *((f"{info}/{name}", text.encode()) for name, text in about.items())]
    record = "".join(f"{name},{_hash(content)},{len(content)}\n" for name, content in files)
    files.append((f"{info}/RECORD", f"{record}{info}/RECORD,,\n".encode()))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(zipfile.ZipInfo(name, EPOCH), content, zipfile.ZIP_DEFLATED)
    return f"{PACKAGE}-{installed.version}-py3-none-any.whl", out.getvalue()


def _hash(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
