"""What memory there is, and what is refused because it needs more."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from bench.keys import ConfigError

GROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def there_is() -> int:
    """Bytes of this machine's memory, or as many as its container or its shell allows to this process."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_of_groups()]
    allowed = resource.getrlimit(resource.RLIMIT_AS)[0]
    return min(limits if allowed == resource.RLIM_INFINITY else [*limits, allowed])


def require(keys: Mapping[str, object], needed: int, what: str) -> None:
    """Refuse what cannot fit, before it is allocated.

    Args:
        keys: the keys that the size follows from, with their values; the one with the largest number is told.
        needed: the least number of bytes.
        what: what needs them.

    Raises:
        ConfigError: there is less.
    """
    most = there_is()
    if needed > most:
        key = max(keys, key=lambda name: _largest(keys[name]))
        raise ConfigError(
            f"{key}={keys[key]!r}: {what} would need {in_words(needed)} of memory or more, and there are "
            f"{in_words(most)}; allowed is what fits"
        )


def _largest(value: object) -> int:
    numbers = value if isinstance(value, list) else [value]
    return max(number if isinstance(number, int) else 0 for number in numbers)


def in_words(size: int) -> str:
    """Write a size in the largest unit of which there is one."""
    power = min(max(0, size.bit_length() - 1) // 10, len(UNITS) - 1)
    return f"{min(size, 2**80) / 2 ** (10 * power):,.4g} {UNITS[power]}"


def _of_groups() -> Iterator[int]:
    """Yield the limits, in bytes, of this process's control groups: each lies within those above it (cgroups(7))."""
    with suppress(OSError):
        for line in MEMBERSHIP.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or "memory" in controllers.split(","):
                group, name = (GROUPS / "memory", "memory.limit_in_bytes") if controllers else (GROUPS, "memory.max")
                for folder in (group / path.strip("/"), *Path(path.strip("/")).parents):
                    # A group that is not seen from in here says nothing, nor does one whose limit is "max".
                    with suppress(OSError, ValueError):
                        yield int((group / folder / name).read_text())
