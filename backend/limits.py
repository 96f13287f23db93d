# SPDX-License-Identifier: Apache-2.0
"""What one client may use, and how fast it may ask."""

import time
from collections import Counter
from dataclasses import dataclass, field

from backend.refusals import RefusedError
from blender_addon.protocol import Kind


@dataclass(frozen=True)
class Limits:
    """What one client may use."""

    open_jobs: int = 100
    jobs: int = 1000
    disk_bytes: int = 50 * 10**9
    message_bytes: int = 512 * 2**20
    """Of all arrays of one message, unpacked."""
    requests_per_second: float = 200.0
    """And as many times a second it may begin to follow anew."""
    burst: float = 400.0
    listeners: int = 64
    """Connections that hear events; one more puts out the one that was quiet for longest."""
    under_way: int = 32
    """Requests that wait for the disk; of all clients together `SHARES` times as many."""
    under_way_bytes: int = 512 * 2**20
    """Of what came with them; a first one may be larger."""


SHARES = 2
"""So many clients that take all they may, and the server takes nothing more that needs its disk."""


@dataclass
class Allowance:
    """How fast a client may ask: a bucket that fills at a steady rate."""

    limits: Limits
    left: float
    since: float = field(default_factory=time.monotonic)

    def take(self) -> bool:
        """Take one request out of the bucket, if there is one."""
        now = time.monotonic()
        refill = (now - self.since) * self.limits.requests_per_second
        self.left, self.since = min(self.left + refill, self.limits.burst), now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class UnderWay:
    """What waits for the disk: so much of each client, and so much of all together."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._requests: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def __len__(self) -> int:
        """Count the requests of all clients."""
        return self._requests.total()

    def add(self, owner: str, nbytes: int, *, requests: int = 1) -> None:
        """Note a request and the bytes that came with it, or that it is over (negative)."""
        for counter, change in ((self._requests, requests), (self._bytes, nbytes)):
            counter[owner] += change
            if not counter[owner]:
                del counter[owner]

    def must_have_room(self, owner: str) -> None:
        """Refuse a request for which there is no room.

        Raises:
            RefusedError: This client, or all together, have as much under way as they may.
        """
        for counter, limit, what in (
            (self._requests, self._limits.under_way, "requests"),
            (self._bytes, self._limits.under_way_bytes, "bytes"),
        ):
            if counter[owner] >= limit or counter.total() >= SHARES * limit:
                raise RefusedError(
                    Kind.LIMIT,
                    f"{limit} {what} of a client may wait for the server's disk, of all {SHARES} "
                    "times as many",
                    value="one more",
                    remedy="send it again in a moment",
                )
