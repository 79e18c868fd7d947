"""What tests compose is what Hydra makes of the files as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from bench.study.sweep import composition
from bench.study.sweep.library import RUN, Primary
from tests.composed_once import composed_once


def test_a_question_is_asked_once_and_again_after_a_change_of_a_file(tmp_path: Path) -> None:
    asked: list[Sequence[str]] = []

    def compose(overrides: Sequence[str], _: Primary) -> Any:
        asked.append(overrides)
        return OmegaConf.create({"width": len(asked)})

    remembering = composed_once(compose)
    mine = RUN.beside(str(tmp_path))
    assert [remembering(["seed=1"], mine).width for _ in range(2)] == [1, 1]
    assert remembering(["seed=2"], mine).width == remembering(["seed=2"], mine).width == 2
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("width: 8\n")
    assert remembering(["seed=1"], mine).width == 3
    assert remembering(["seed=1"], RUN).width == 4


def test_an_answer_is_an_object_of_its_own() -> None:
    remembering = composed_once(lambda *_: OmegaConf.create({"width": 8}))
    remembering([], RUN).width = 9
    assert remembering([], RUN).width == 8


def test_what_is_refused_is_asked_again() -> None:
    answers = iter([ValueError("no"), OmegaConf.create({})])

    def compose(*_: Any) -> Any:
        if isinstance(answer := next(answers), Exception):
            raise answer
        return answer

    remembering = composed_once(compose)
    with pytest.raises(ValueError, match="no"):
        remembering([], RUN)
    assert remembering([], RUN) == {}


def test_the_suite_composes_through_it_and_loses_nothing() -> None:
    """A pickled composition keeps its references, and Hydra's flag that no key may be added."""
    hydras = vars(composition._all_of_hydra)["__wrapped__"](["seed=3"], RUN)
    for _ in range(2):
        remembered = composition._all_of_hydra(["seed=3"], RUN)
        assert OmegaConf.to_yaml(remembered) == OmegaConf.to_yaml(hydras)
        assert OmegaConf.is_struct(remembered) is OmegaConf.is_struct(hydras) is True
