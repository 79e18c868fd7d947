"""What every way to agree is: of gradients before an update, or of weights after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from bench.choice import Choice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Averaging(Choice):
    """How the replicas of a stage agree: by the mean of their gradients, unless :meth:`mixing` says otherwise."""

    group: ClassVar[str] = "averaging"

    def mixing(self, replicas: int) -> NDArray[np.float64] | None:  # noqa: ARG002
        """Return the weights [replicas, replicas] by which weights are mixed after an update: symmetric, rows of sum 1.

        None where the gradients are averaged instead.
        """
        return None

    def among(self, replicas: int) -> NDArray[np.float64] | None:
        """Return the :meth:`mixing` of so many replicas; None also where one has nobody to agree with."""
        return self.mixing(replicas) if replicas > 1 else None

    def mixes(self, replicas: int) -> bool:
        """Whether so many replicas mix their weights."""
        return self.among(replicas) is not None

    def outside(self, run: Any) -> str | None:
        return "leaves every replica weights of its own" if self.mixes(run.replicas) else None

    def try_out(self, run: Any) -> None:
        import numpy as np

        matrix = self.among(run.replicas)
        if matrix is None:
            return
        shape = (run.replicas, run.replicas)
        if matrix.shape != shape or not (np.allclose(matrix, matrix.T) and np.allclose(matrix.sum(axis=1), 1)):
            raise ValueError(f"the mixing must be symmetric {shape} with rows of sum 1, not {matrix.tolist()}")


def spectral_gap(matrix: NDArray[np.float64]) -> float:
    """Return 1 - max(abs(lambda_2), abs(lambda_S)) of a symmetric doubly stochastic matrix [S, S].

    A round of mixing shrinks the replicas' distance from their mean at least by the factor 1 - gap (Lian et al. 2017):
    1 is exact averaging in one round, 0 never agrees.
    """
    import numpy as np

    others = np.linalg.eigvalsh(matrix)[:-1]
    return 1 - float(np.max(np.abs(others), initial=0))
