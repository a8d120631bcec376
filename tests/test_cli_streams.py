"""Standard output as it can be: of another encoding, or closed by whoever read it."""

import io
import subprocess
import sys

import pytest
from test_data_zoo import folder_of

from minigrad.cli import main


@pytest.mark.parametrize(
    "words",
    [
        "bench --list",
        "summary lenet",
        "train lenet --data {data} --epochs 1 --out {run} --quiet",
    ],
)
def test_a_reader_that_leaves_is_not_complained_about(tmp_path, words):
    words = words.format(data=folder_of(tmp_path), run=tmp_path / "run")
    command = [sys.executable, "-m", "minigrad", *words.split()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.fixture
def written(monkeypatch):
    """The bytes that a command writes to a standard output of this encoding."""

    def run(encoding, *words):
        raw = io.BytesIO()
        with monkeypatch.context() as patch:
            stream = io.TextIOWrapper(raw, encoding=encoding)
            patch.setattr(sys, "stdout", stream)
            assert main(list(words)) == 0
            assert stream.errors == "strict"
            stream.flush()
        return raw.getvalue()

    return run


@pytest.mark.parametrize(("encoding", "times"), [("ascii", "x"), ("cp437", "x"), ("cp1252", "×"), ("utf-8", "×")])
def test_signs_that_an_encoding_does_not_have_are_written_otherwise(written, encoding, times):
    told = written(encoding, "summary", "lenet").decode(encoding)
    assert f"LeNet, input 1{times}1{times}28{times}28" in told
    assert "?" not in told


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_page_is_utf_8_as_it_says(written, encoding):
    assert "1×6×28×28" in written(encoding, "summary", "lenet", "--format", "html").decode("utf-8")
