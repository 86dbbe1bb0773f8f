"""A checkpoint is the old one or the new one, whole, and never a pickle."""

import pickle
from functools import partial

import pytest
import torch

from refluence.errors import InputError, RunError
from refluence.run import checkpoint

STATE = {"images": torch.arange(6.0).view(2, 3), "step": torch.tensor(4), "visits": torch.tensor([1, 2])}
HEADER = {"seconds": 1.5, "ess": 0.25, "peak": 7}


def test_what_was_saved_is_loaded(tmp_path):
    assert checkpoint.load(tmp_path) is None
    checkpoint.save(tmp_path, STATE, HEADER)
    tensors, header = checkpoint.load(tmp_path)
    assert header == HEADER
    assert tensors.keys() == STATE.keys()
    for name, tensor in STATE.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


def test_what_was_loaded_does_not_hang_on_the_file(tmp_path):
    checkpoint.save(tmp_path, STATE, HEADER)
    tensors, _ = checkpoint.load(tmp_path)
    with (tmp_path / checkpoint.NAME).open("r+b") as file:  # Windows replaces no file that is mapped
        file.write(b"\0" * (tmp_path / checkpoint.NAME).stat().st_size)
    assert all(torch.equal(tensors[name], tensor) for name, tensor in STATE.items())


def test_a_write_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, STATE, HEADER)
    before = (tmp_path / checkpoint.NAME).read_bytes()

    def half(failure, tensors, path, metadata):
        path.write_bytes(b"half a checkpo")
        raise failure

    for failure, raised in ((OSError(28, "No space left on device"), RunError), (KeyboardInterrupt(), KeyboardInterrupt)):
        monkeypatch.setattr("safetensors.torch.save_file", partial(half, failure))
        with pytest.raises(raised) as caught:
            checkpoint.save(tmp_path, {"step": torch.tensor(5)}, HEADER)
        assert raised is KeyboardInterrupt or "No space left" in str(caught.value)
        assert (tmp_path / checkpoint.NAME).read_bytes() == before
        assert [p.name for p in (tmp_path / checkpoint.NAME).parent.iterdir()] == ["state.safetensors"]


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


@pytest.mark.parametrize("content", ["pickle", "torch", "empty", "cut", "header"])
def test_anything_else_is_refused_and_not_run(tmp_path, content):
    path = tmp_path / checkpoint.NAME
    checkpoint.save(tmp_path, STATE, HEADER)
    if content == "pickle":
        path.write_bytes(pickle.dumps(Bomb()))
    elif content == "torch":
        torch.save(STATE, path)
    elif content == "empty":
        path.write_bytes(b"")
    elif content == "cut":
        path.write_bytes(path.read_bytes()[:-8])
    else:
        from safetensors.torch import save_file

        save_file(STATE, path)
    with pytest.raises(InputError, match=r"state\.safetensors is not a checkpoint of this version.*delete it"):
        checkpoint.load(tmp_path)
