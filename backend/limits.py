# SPDX-License-Identifier: Apache-2.0
"""What one client may use, and how fast it may ask."""

import time
from dataclasses import dataclass, field


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
