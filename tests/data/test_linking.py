"""A file in two datasets: linked where that can be, copied whole where it cannot, and never from outside."""

from __future__ import annotations

import errno
import os

import pytest

from dm_isaac_g1.data.linking import place_file
from dm_isaac_g1.data.problems import IntegrityError, SchemaError


@pytest.fixture
def source(tmp_path):
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.mp4"
    path.write_bytes(b"frames" * 1000)
    return path


def no_links(monkeypatch, number=errno.EXDEV):
    def link(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)


def test_on_the_same_disk_no_byte_is_written_again(source, tmp_path):
    target = tmp_path / "out" / "deep" / "b.mp4"
    assert place_file(source, target, inside=source.parent) == "linked"
    assert target.samefile(source) and source.stat().st_nlink == 2


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_where_links_cannot_be_the_bytes_are_copied(source, tmp_path, monkeypatch, number):
    no_links(monkeypatch, number)
    target = tmp_path / "b.mp4"
    assert place_file(source, target, inside=source.parent) in ("reflinked", "copied")
    assert target.read_bytes() == source.read_bytes() and not target.samefile(source)


def test_another_error_than_no_links_is_not_hidden(source, tmp_path, monkeypatch):
    no_links(monkeypatch, errno.ENOSPC)
    with pytest.raises(OSError) as caught:
        place_file(source, tmp_path / "b.mp4", inside=source.parent)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "b.mp4"))


def test_a_kill_while_copying_leaves_nothing_under_the_name(source, tmp_path, monkeypatch):
    no_links(monkeypatch)
    monkeypatch.setattr("dm_isaac_g1.data.linking._reflink", lambda *_: False)

    def killed(read, write, size):
        write.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.copyfileobj", killed)
    with pytest.raises(KeyboardInterrupt):
        place_file(source, tmp_path / "out" / "b.mp4", inside=source.parent)
    assert os.listdir(tmp_path / "out") == []


def test_placing_again_replaces_and_leaves_nothing_beside(source, tmp_path):
    target = tmp_path / "out" / "b.mp4"
    target.parent.mkdir()
    target.write_bytes(b"of an earlier try")
    for _ in range(3):
        assert place_file(source, target, inside=source.parent) == "linked"
    assert target.samefile(source) and os.listdir(target.parent) == ["b.mp4"]


def test_a_link_inside_is_followed_to_its_file(source, tmp_path):
    link = source.parent / "link.mp4"
    link.symlink_to("a.mp4")
    place_file(link, tmp_path / "b.mp4", inside=source.parent)
    assert not (tmp_path / "b.mp4").is_symlink() and (tmp_path / "b.mp4").samefile(source)


def test_a_link_that_leads_out_is_refused(source, tmp_path):
    (tmp_path / "secret").write_text("secret")
    link = source.parent / "link.mp4"
    link.symlink_to(tmp_path / "secret")
    with pytest.raises(SchemaError, match="leads out"):
        place_file(link, tmp_path / "b.mp4", inside=source.parent)
    assert not (tmp_path / "b.mp4").exists()


def test_what_is_no_file_is_refused(source, tmp_path):
    for path in (source.parent / "nothing", source.parent):
        with pytest.raises(IntegrityError):
            place_file(path, tmp_path / "b.mp4", inside=source.parent)
