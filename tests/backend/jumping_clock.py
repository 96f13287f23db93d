"""The server on a machine whose clock is set again and again: 400 days forward, 400 days back."""

import sys
import time

DAYS = 400 * 86_400.0

true_time = time.time


def jumping() -> float:
    return true_time() + (DAYS if int(2 * time.monotonic()) % 2 else -DAYS)


if __name__ == "__main__":
    time.time = jumping
    from backend.__main__ import main

    sys.exit(main())
