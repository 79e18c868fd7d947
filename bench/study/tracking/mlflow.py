"""``tracking=mlflow``: runs mirrored to an MLflow experiment."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from bench.keys import Text
from bench.study.tracking.contract import Tracker, Tracking
from bench.study.tracking.store import is_server, refuse_fleeting
from bench.system.wording import masked


@dataclass(frozen=True)
class MLflow(Tracking):
    """Every run mirrored to an MLflow experiment, in whose pages they are compared."""

    name: ClassVar[str] = "mlflow"
    place: ClassVar[int] = 1
    uri: Annotated[str, Field(min_length=1), AfterValidator(refuse_fleeting)]
    """Where runs are kept: ``sqlite:///mlflow.db``, or the address of a server."""
    experiment: Text
    """The MLflow experiment that runs are compared in."""

    def tracker(self) -> Tracker:
        from bench.study.tracking.mlflow_tracker import MLflowTracker

        return MLflowTracker(self.uri, self.experiment)

    def where(self, command: str) -> str:
        """Say where runs are compared: the command, and the server's address where that is by itself."""
        return masked(command + (f", at {self.uri}" if is_server(self.uri) else ""))

    def values(self) -> dict[str, Any]:
        """Its name and keys as plain values; an address of a server is without its password."""
        return super().values() | {key: masked(value) for key, value in asdict(self).items()}
