"""Files that change while followed or between two runs: every line is read once, or an error is raised."""

from __future__ import annotations

import errno
import gzip
import os
import random
import re
import time
from contextlib import closing
from pathlib import Path

import pytest
from file_store import Store, numbers, replayed, rows, settle
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from service.errors import SourceGoneError
from service.sources.manifest import file_format, natural_key


class TestRewrittenInPlace:
    """Rewriting by `cat new > file` and by editors that do so."""

    @pytest.mark.parametrize("suffix", ["", ".gz"])
    @pytest.mark.parametrize(
        ("before", "after"),
        [((0, 20), (15, 45)), ((0, 20), (20, 40)), ((0, 4000), (3500, 8000)), ((0, 4000), (10, 4010)),
         ((0, 90_000), (10, 90_010))],
    )  # fmt: skip
    def test_noticed(self, tmp_path, suffix, before, after):
        """A file rewritten with later lines, of equal or larger size, is an error while followed and at a restart."""
        pack = gzip.compress if suffix else bytes
        path, store = tmp_path / f"a.jsonl{suffix}", Store()
        path.write_bytes(pack(rows(*before)))
        source = store.opened(path)
        assert numbers(store.drained(source)) == list(range(*before))
        with path.open("wb") as file:  # the same inode
            file.write(pack(rows(*after)))
        with pytest.raises(SourceGoneError, match=r"was (rewritten|truncated|replaced)"):
            store.drained(source)
        with pytest.raises(SourceGoneError, match="on_source_gone"):
            store.opened(path)
        with pytest.raises(SourceGoneError):
            store.opened(path, growing=False)

    @given(
        at=st.integers(0, 199_999), size=st.integers(1, 50), more=st.integers(0, 300), live=st.booleans(),
        settled=st.booleans(),
    )  # fmt: skip
    @settings(max_examples=40, deadline=None)
    def test_any_edit(self, tmp_path_factory, at, size, more, live, settled):
        """A file with bytes changed anywhere, with or without further lines, is refused at a restart."""
        path, store = tmp_path_factory.mktemp("edit") / "a.jsonl", Store()
        content = rows(0, 4000)[:200_000].rpartition(b"\n")[0] + b"\n"
        path.write_bytes(content)
        if settled:
            settle(path)
        source = store.opened(path)
        store.drained(source)
        position = min(at, len(content) - size)
        edited = bytes(byte ^ 1 for byte in content[position : position + size])
        with path.open("r+b") as file:
            file.write(content[:position] + edited + content[position + size :] + rows(9000, 9000 + more))
        if live and not more:
            os.utime(path, (1, 1))
            with pytest.raises(SourceGoneError, match="rewritten"):
                store.drained(source)
        with pytest.raises(SourceGoneError, match=r"rewritten|replaced"):
            store.opened(path)

    def test_touched(self, tmp_path):
        """A file with a new modification time and unchanged bytes is the same file."""
        path, store = tmp_path / "a.jsonl", Store()
        path.write_bytes(rows(0, 500))
        source = store.opened(path)
        store.drained(source)
        settle(path)
        assert store.drained(source) == []
        os.utime(path)
        assert store.drained(source) == []
        assert store.drained(store.opened(path)) == []

    def test_an_edit_in_a_file_that_was_left(self, tmp_path):
        """An edit of equal size in a file already read is an error while followed, and at a restart."""
        store, first = Store(), tmp_path / "1.jsonl"
        first.write_bytes(rows(0, 2000))
        (tmp_path / "2.jsonl").write_bytes(rows(2000, 2010))
        source = store.opened(tmp_path / "*.jsonl")
        store.drained(source)
        data = bytearray(first.read_bytes())
        data[50_000] ^= 1
        first.write_bytes(data)
        with pytest.raises(SourceGoneError, match=r"1\.jsonl: was rewritten"):
            store.drained(source)
        with pytest.raises(SourceGoneError, match=r"1\.jsonl: was rewritten"):
            store.opened(tmp_path / "*.jsonl")
        cold = store.opened(tmp_path / "*.jsonl", cold=True)
        assert cold.earliest() == len(rows(0, 2000))

    def test_a_copy_put_back(self, tmp_path):
        """A restored copy with the same content and name is the same file."""
        store = Store()
        for name, start in (("1", 0), ("2", 300)):
            (tmp_path / f"{name}.jsonl").write_bytes(rows(start, start + 300))
        store.drained(store.opened(tmp_path / "*.jsonl"))
        for path in tmp_path.glob("*.jsonl"):
            data = path.read_bytes()
            path.unlink()
            (tmp_path / "other").write_bytes(b"takes the number of the file")
            path.write_bytes(data + (rows(600, 605) if path.name == "2.jsonl" else b""))
        source = store.opened(tmp_path / "*.jsonl")
        assert numbers(store.drained(source)) == list(range(600, 605))
        assert replayed(source) == list(range(605))


class TestGlobs:
    """Several files as one stream."""

    def test_natural_order(self, tmp_path):
        """9 sorts before 10 in any folder, and the oldest file of a rotation first."""
        names = ["f-2.csv", "f-10.csv", "f-9.csv", "f-1.csv.gz", "m.csv", "m.csv.2", "m.csv.1", "m.csv.10.gz",
                 "n.jsonl", "n.jsonl-20260105", "n.jsonl-20251231.gz", "day-2/1.csv", "day-10/1.csv"]  # fmt: skip
        assert sorted(names, key=natural_key) == [
            "day-2/1.csv", "day-10/1.csv", "f-1.csv.gz", "f-2.csv", "f-9.csv", "f-10.csv",
            "m.csv.10.gz", "m.csv.2", "m.csv.1", "m.csv", "n.jsonl-20251231.gz", "n.jsonl-20260105", "n.jsonl",
        ]  # fmt: skip
        assert {file_format(name, "auto") for name in names} == {"csv", "jsonl"}
        for number in range(1, 13):
            (tmp_path / f"f-{number}.jsonl").write_bytes(rows(10 * number, 10 * number + 10))
        store = Store()
        assert numbers(store.drained(store.opened(tmp_path / "f-*.jsonl", growing=False))) == list(range(10, 130))

    def test_a_file_that_sorts_before_the_newest(self, tmp_path):
        """A new file that sorts earlier is read on arrival, before and after a restart, and replayed in order."""
        store = Store()
        (tmp_path / "5.jsonl").write_bytes(rows(0, 5))
        source = store.opened(tmp_path / "*.jsonl")
        assert numbers(store.drained(source)) == list(range(5))
        (tmp_path / "3.jsonl").write_bytes(rows(5, 9))
        assert numbers(store.drained(source)) == list(range(5, 9))
        (tmp_path / "4.jsonl").write_bytes(rows(9, 12))
        source = store.opened(tmp_path / "*.jsonl", growing=False)
        assert numbers(store.drained(source)) == [9, 10, 11]
        assert source.finished()
        assert replayed(source) == list(range(12))

    @pytest.mark.parametrize("suffix", ["", ".gz"])
    @pytest.mark.parametrize("name", ["jsonl", "csv"])
    def test_lines_that_an_older_file_gets_late(self, tmp_path, suffix, name):
        """Late lines of an older file are read after newer lines, with their file's header, and replayed there."""
        pack, store = gzip.compress if suffix else bytes, Store()
        header = b"h\n" if name == "csv" else b""
        one, two = (tmp_path / f"{n}.{name}{suffix}" for n in (1, 2))
        one.write_bytes(pack(header + rows(0, 3)))
        two.write_bytes(pack(header + rows(3, 6)))
        source = store.opened(tmp_path / f"*.{name}{suffix}")
        assert numbers(store.drained(source)) == list(range(6))
        for path, start in ((one, 6), (two, 7), (one, 8), (one, 9), (two, 10)):
            with path.open("ab") as file:
                file.write(pack(rows(start, start + 1)))
            records = source.read(10)
            assert records is not None
            assert numbers(list(records.values)) == [start]
            assert (records.headers or [()])[0] == ((("csv-header", b"h"),) if header else ())
            store.commit(source)
        with one.open("ab") as file:
            file.write(pack(rows(11, 15)))
        source = store.opened(tmp_path / f"*.{name}{suffix}", growing=False)
        assert numbers(store.drained(source, 2)) == [11, 12, 13, 14]
        assert replayed(store.opened(tmp_path / f"*.{name}{suffix}")) == list(range(15))

    @given(data=st.data())
    @settings(max_examples=60, deadline=None, phases=(Phase.generate,))
    def test_any_writing(self, tmp_path_factory, data):
        """For any writes, renames and restarts, each line of a glob is read once, and a replay yields equal lines."""
        folder, store = tmp_path_factory.mktemp("glob"), Store()
        source = store.opened(folder / "*.jsonl*", grace=100.0)
        written, read, names = 0, list[int](), ["1.jsonl", "2.jsonl", "10.jsonl"]
        for _ in range(data.draw(st.integers(1, 25))):
            what = data.draw(st.sampled_from(["write", "write", "write", "restart", "rename", "merge", "read one"]))
            if what == "write":
                count = data.draw(st.integers(1, 3))
                with (folder / data.draw(st.sampled_from(names))).open("ab") as file:
                    file.write(rows(written, written + count))
                written += count
            elif what == "restart":
                source.close()
                source = store.opened(folder / "*.jsonl*", grace=100.0)
            elif what == "rename" and (there := sorted(folder.iterdir())):
                old = data.draw(st.sampled_from(there))
                old.rename(folder / f"{old.name.split('.')[0]}.jsonl.{len(names) + written}")
                names.append(old.name)
            elif what == "merge":
                source.release(source.position)
            elif what == "read one":
                records = source.read(1)
                if records is not None:
                    read += numbers(list(records.values))
                    store.commit(source, records.next_position)
                continue
            if data.draw(st.booleans()):
                read += numbers(store.drained(source, 2))
        source.close()
        source = store.opened(folder / "*.jsonl*", growing=False, required=False)
        start = source.earliest()
        read += numbers(store.drained(source))
        assert sorted(read) == list(range(written))
        again = store.opened(folder / "*.jsonl*", growing=False, required=False)
        assert again.finished()
        assert replayed(again, start) == read[len(read) - len(replayed(again, start)) :]

    def test_half_a_line_is_waited_for(self, tmp_path):
        """A followed file with an incomplete last line is left only after a grace period."""
        store = Store()
        (tmp_path / "1.jsonl").write_bytes(rows(0, 2)[:-5])
        source = store.opened(tmp_path / "*.jsonl", grace=0.3)
        assert numbers(store.drained(source)) == [0]
        (tmp_path / "2.jsonl").write_bytes(rows(2, 3))
        assert store.drained(source) == []
        with (tmp_path / "1.jsonl").open("ab") as file:
            file.write(rows(0, 2)[-5:])
        assert numbers(store.drained(source)) == [1, 2]
        with (tmp_path / "2.jsonl").open("ab") as file:
            file.write(rows(3, 4)[:-1])
        assert store.drained(source) == []
        (tmp_path / "3.jsonl").write_bytes(rows(4, 5))
        assert store.drained(source) == []
        time.sleep(0.4)
        assert numbers(store.drained(source)) == [3, 4]
        with (tmp_path / "2.jsonl").open("ab") as file:
            file.write(b" \n" + rows(5, 6))
        records = source.read(10)
        assert records is not None
        assert (numbers(records.values[1:]), records.problems) == ([5], {0: "truncated"})
        store.commit(source)
        again = store.opened(tmp_path / "*.jsonl")
        assert [problem for one in again.replay(0, again.position, 9) for problem in one.problems.values()] == [
            "truncated"
        ]

    def test_a_name_that_is_no_file(self, tmp_path):
        """Folders, and files deleted before they are opened, are skipped."""
        (tmp_path / "1.jsonl").mkdir()
        store = Store()
        source = store.opened(tmp_path / "*.jsonl")
        (tmp_path / "2.jsonl").write_bytes(rows(0, 1))
        source.lag()  # the source has found the file
        (tmp_path / "2.jsonl").unlink()
        assert store.drained(source) == []
        (tmp_path / "3.jsonl").write_bytes(rows(1, 2))
        assert numbers(store.drained(source)) == [1]


class TestRotation:
    """Renaming by logrotate."""

    @pytest.mark.parametrize("pattern", ["m.jsonl*", "m*.jsonl"])
    @pytest.mark.parametrize("down", [False, True])
    def test_renamed(self, tmp_path, pattern, down):
        """After m is renamed to m.1, the new m is read and m.1 is not read again, wherever a restart falls."""
        store, path = Store(), tmp_path / "m.jsonl"
        path.write_bytes(rows(0, 20))
        source = store.opened(tmp_path / pattern)
        assert numbers(store.drained(source)) == list(range(20))
        found = list(range(20))
        for turn in range(1, 4):
            if down:
                source.close()
            for number in range(turn - 1, 0, -1):
                (tmp_path / f"m.jsonl.{number}").rename(tmp_path / f"m.jsonl.{number + 1}")
            path.rename(tmp_path / "m.jsonl.1")
            path.write_bytes(rows(20 * turn, 20 * turn + 20))
            if down:
                source = store.opened(tmp_path / pattern)
            found += numbers(store.drained(source))
        assert found == list(range(80))
        source = store.opened(tmp_path / pattern)
        assert store.drained(source) == []
        assert replayed(source) == found

    def test_written_after_the_rename(self, tmp_path):
        """Lines written to a renamed file are read, even if the glob no longer matches the name."""
        for pattern in ("m.jsonl*", "m*.jsonl"):
            store, path = Store(), tmp_path / "m.jsonl"
            path.write_bytes(rows(0, 3))
            source = store.opened(tmp_path / pattern, grace=0.5)
            store.drained(source)
            with path.open("ab") as file:
                path.rename(tmp_path / "m.jsonl.1")
                path.write_bytes(rows(4, 6))
                found = numbers(store.drained(source))
                file.write(rows(3, 4))
            found += numbers(store.drained(source))
            time.sleep(0.6)
            found += numbers(store.drained(source))
            assert sorted(found) == [3, 4, 5]
            for one in tmp_path.iterdir():
                one.unlink()

    def test_a_number_that_is_given_again(self, tmp_path):
        """A new file with the inode of a deleted one is a new file."""
        store, found = Store(), []
        source = store.opened(tmp_path / "*.jsonl")
        for turn in range(20):
            (tmp_path / f"{turn}.jsonl").write_bytes(rows(turn, turn + 1))
            found += numbers(store.drained(source))
            (tmp_path / f"{turn - 1}.jsonl").unlink(missing_ok=True)
        assert found == list(range(20))


def test_many_files_cost_no_more(tmp_path):
    """A commit writes only the changed entries, however many files were read."""
    for number in range(3000):
        (tmp_path / f"{number}.jsonl").write_bytes(rows(number, number + 1))
    settle(*tmp_path.iterdir())
    store = Store()
    with closing(store.opened(tmp_path / "*.jsonl")) as source:
        values: list[bytes] = []
        while (records := source.read(10)) is not None:
            values += records.values
            store.commit(source, records.next_position)
        assert numbers(values) == list(range(3000))
        assert store.most <= 3
        order = list(range(3000, 3010))
        random.Random(0).shuffle(order)
        for n in order:
            with (tmp_path / "2999.jsonl").open("ab") as file:
                file.write(rows(n, n + 1))
            records = source.read(10)
            assert records is not None
            store.commit(source, records.next_position)
        assert store.most <= 3
    again = store.opened(tmp_path / "*.jsonl", growing=False)
    assert again.read(10) is None


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES])
def test_a_call_that_lacks_descriptors_says_nothing_about_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A start that cannot open a file for want of descriptors or memory is repeated; other errors mean the file."""
    path = tmp_path / "a.csv"
    path.write_text("series,timestamp,value\n" + "".join(f"a,{60_000 * step},1\n" for step in range(30)))
    store = Store()
    store.drained(store.opened(path, growing=False))

    def fails(*_: object, **__: object) -> object:
        raise OSError(number, os.strerror(number))

    os.utime(path, (1, 1))  # so that its content is compared
    monkeypatch.setattr(Path, "open", fails)
    with pytest.raises(SourceGoneError if number == errno.EACCES else OSError, match=re.escape(os.strerror(number))):
        store.opened(path, growing=False)
