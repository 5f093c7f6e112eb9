"""The unpacking of fetched packages: only plain files, only inside the folder."""

import io
import tarfile
import zipfile

import pytest

from tools.real_models import unpack


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside", "a\\..\\outside", "C:/outside"])
def test_unpack_refuses_an_entry_outside_its_folder(tmp_path, name):
    """A wheel whose entry climbs out of the folder is refused before anything of that entry is written."""
    archive = tmp_path / "evil.whl"
    with zipfile.ZipFile(archive, "w") as wheel:
        wheel.writestr(name, b"x")
    with pytest.raises(RuntimeError, match="outside its folder"):
        unpack(archive, tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["evil.whl"]


def test_unpack_refuses_a_link(tmp_path):
    """A link could redirect a later entry; no package that is used here has one."""
    archive = tmp_path / "evil.tgz"
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/"
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(link)
    with pytest.raises(RuntimeError, match="not a plain file"):
        unpack(archive, tmp_path / "folder")


def test_unpack_writes_every_file_of_a_tgz(tmp_path):
    """What went in comes out, byte for byte, with its folders."""
    archive = tmp_path / "good.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        entry = tarfile.TarInfo("package/a/b.bin")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"\0\1\2"))
    unpack(archive, tmp_path / "folder")
    assert (tmp_path / "folder" / "package" / "a" / "b.bin").read_bytes() == b"\0\1\2"
