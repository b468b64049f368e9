"""The allow-list reader against pickles made to run code: refused by name, in one sentence, and nothing is run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from manopth import files
from tests.body.pickled_calls import Calls, one_sentence


@pytest.mark.parametrize("function", [os.system, eval, getattr, __import__, open, np.load, sp.load_npz, torch.load])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_is_named_and_never_executed(tmp_path: Path, function: object, protocol: int) -> None:
    mark = tmp_path / "mark"
    arguments = (f"touch {mark}",) if function in (os.system, eval) else (str(mark), "w")
    path = tmp_path / "tampered.pkl"
    path.write_bytes(pickle.dumps({"v": Calls(function, *arguments)}, protocol=protocol))
    with pytest.raises(ValueError, match=r"asks for [\w.]+, which no data file needs; nothing was") as error:
        files.load_pickle(path)
    assert function.__name__ in one_sentence(path, error)
    assert not mark.exists()


TRICKS = {
    "dotted name": b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93.",
    "other codec": b"c_codecs\nencode\n(Vabc\nVrot13\ntR.",
    "reconstructor": b"ccopy_reg\n_reconstructor\n(c__builtin__\nset\nc__builtin__\nobject\nNtR.",
    "not a class of scipy": b"cscipy.sparse.csc\nnp\n.",
    "extension registry": b"\x80\x02\x82\x01.",
    "persistent id": b"Pfile\n.",
    "out-of-band buffer": b"\x80\x05\x97.",
    "state of a class": b"cchumpy.ch\nCh\n(dV__setstate__\nc__builtin__\nset\nsb.",
}


@pytest.mark.parametrize("name", TRICKS)
def test_tricks_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "trick.pkl"
    path.write_bytes(TRICKS[name])
    with pytest.raises(ValueError, match=r"asks for|cannot be read") as error:
        files.load_pickle(path)
    one_sentence(path, error)


def test_a_pickle_changes_nothing_for_the_next_file(tmp_path: Path) -> None:
    path, good = tmp_path / "meddles.pkl", tmp_path / "good.pkl"
    path.write_bytes(b"c_codecs\nencode\n(N(dV__defaults__\n(Vrot13\ntstb0cnumpy\ndtype\n(N(dVextra\nI1\nstb0N.")
    good.write_bytes(pickle.dumps({"v": np.ones(3), "b": b"\xfe"}, protocol=2))
    files.load_pickle(path)
    assert files.load_pickle(good)["b"] == b"\xfe"
    assert not hasattr(files.PickledType, "extra")


class ForgedArray:
    """One array whose pickled type carries the flags that its file chooses."""

    def __init__(self, name: str, flags: int, data: object, shape: tuple[int, ...] = (2,)) -> None:
        kind = Calls(np.dtype, name, False, True)
        kind.call += ((3, "|", None, None, None, -1, -1, flags),)
        self.state = (1, shape, kind, False, data)

    def __reduce__(self) -> tuple:
        return np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), self.state


@pytest.mark.parametrize(
    "forged",
    [
        ForgedArray("O8", 0, b"A" * 16),  # bytes that numpy would follow as addresses
        ForgedArray("O8", 63, b"A" * 16),
        ForgedArray("S8", 63, [1, 2]),
        ForgedArray("f8", 63, [1, 2]),
        ForgedArray("f8,O", 0, b"A" * 32),
        ForgedArray("f8", 0, b"A" * 8),
        ForgedArray("f8", 0, b"", (2**40, 2**40)),
        ForgedArray("f8", 0, b"", (-1, 0)),
    ],
    ids=["addresses", "list flag", "text list", "number list", "fields", "short", "huge", "negative"],
)
def test_forged_arrays_are_refused(tmp_path: Path, forged: ForgedArray) -> None:
    path = tmp_path / "forged.pkl"
    path.write_bytes(pickle.dumps({"v": forged}, protocol=2))
    with pytest.raises(ValueError, match="cannot be read as a pickle") as error:
        files.load_pickle(path)
    one_sentence(path, error)


def test_flags_in_a_file_are_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "forged.pkl"
    path.write_bytes(pickle.dumps({"v": ForgedArray("f8", 1, np.array([1.5, 2.5]).tobytes())}, protocol=2))
    array = files.load_pickle(path)["v"]
    assert array.tolist() == [1.5, 2.5]
    assert array.dtype.flags == 0
