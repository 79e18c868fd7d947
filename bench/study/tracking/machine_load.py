"""What the machine does meanwhile, under the names of MLflow's own system metrics."""

from __future__ import annotations

from typing import Any

PREFIX = "system/"


class MachineLoad:
    """Looks at this machine's processor and memory and, where the libraries for it are installed, at its GPUs.

    It is looked at by MLflow's own monitors, so that MLflow shows the numbers as it shows its own. A processor's load
    is that since the last look of the same thread.
    """

    def __init__(self) -> None:
        self._monitors: list[Any] | None = None

    def look(self) -> dict[str, float]:
        """The numbers of now, by name; none the first time, when there is no time that they could be of."""
        is_first = self._monitors is None
        monitors = self._monitors = _monitors() if self._monitors is None else self._monitors
        found: dict[str, float] = {}
        for monitor in monitors:
            monitor.collect_metrics()
            found |= {f"{PREFIX}{name}": float(value) for name, value in monitor.aggregate_metrics().items()}
            monitor.clear_metrics()
        return {} if is_first else found


def _monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor

    found: list[Any] = []
    kinds: tuple[Any, ...] = (CPUMonitor, GPUMonitor, ROCMMonitor)
    for kind in kinds:
        try:
            found.append(kind())
        except Exception:  # whatever its library may raise, there is nothing that it could look at
            continue
    return found
