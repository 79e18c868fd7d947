"""What several rooms ask of the system is there once, and holds for each of them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import pytest

from bench.engine.rank import RunFailed
from bench.engine.transport import shared
from bench.record.folder import RunFolder
from bench.study.launcher import node
from bench.study.launcher.task import Task
from bench.system import process
from bench.system.file import WriteError, replacing
from bench.system.variables import variables
from tests.tiny import config


def test_variables_are_put_back_also_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "before")
    monkeypatch.delenv("ADDED", raising=False)
    with suppress(KeyError), variables({"KEPT": "now", "ADDED": "now"}):
        assert (os.environ["KEPT"], os.environ.pop("ADDED")) == ("now", "now")
        raise KeyError
    assert os.environ["KEPT"] == "before"
    assert "ADDED" not in os.environ
    with variables({"ADDED": "now"}):
        assert os.environ["ADDED"] == "now"
    assert "ADDED" not in os.environ


def begin(path: Path, error: Exception) -> None:
    """Write a part of a file, and then fail."""
    with replacing(path) as file:
        file.write(b"new")
        raise error


def test_a_file_that_is_written_in_part_is_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "there" / "file"
    with replacing(path) as file:
        file.write(b"old")
    with pytest.raises(WriteError, match=f"^{path} cannot be written: No space left$"):
        begin(path, OSError(28, "No space left"))
    with pytest.raises(RuntimeError, match=r"^torch's own$"):
        begin(path, RuntimeError("torch's own"))
    assert path.read_bytes() == b"old"
    assert [*path.parent.iterdir()] == [path]


def test_a_machine_whose_start_has_no_name_shares_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Mock(rank=3)
    world.device.type = "cpu"
    assert process.boot()
    assert process.boot() in process.machine()
    assert shared.host(world).name.startswith(process.boot())
    assert shared.host(world).free > 0
    monkeypatch.setattr(shared, "boot", lambda: "")
    assert shared.host(world) == (f"{os.uname().nodename} 3", 0)


def test_a_job_has_its_ranks_start_from_a_server_with_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server begins to import before the job looks at its data; the oracle needs none."""
    order = Mock()
    order.check.return_value = None
    order.execute.side_effect = RunFailed("as asked for")
    for name in ("warm_up", "check", "execute"):
        monkeypatch.setattr(node, name, getattr(order, name))
    monkeypatch.setattr(node, "_nodes", lambda *_: node.Nodes(1, 0, 2, "", "7"))
    for engine in ("distributed", "reference"):
        run = config(engine=engine)
        task = Task(run, None, Mock(), RunFolder(tmp_path), False, 1, 1)
        assert node.on_node(task) == "as asked for"
    names = [call[0] for call in order.mock_calls]
    assert names == ["warm_up", "check", "execute", "check", "execute"]
    (modules,) = order.warm_up.call_args.args
    assert "bench.engine.method.decoupled" in modules
