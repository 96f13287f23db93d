# SPDX-License-Identifier: Apache-2.0
"""Where a server listens, as people write it and as sockets take it; for both ends."""

import contextlib
import ipaddress

SOCKETS = 3
"""A server listens on so many ports in a row."""


def parted(address: str) -> tuple[str, int]:
    """Give host and first port of an address as in 'render7:5600' or '[2001:db8::7]:5600'.

    Raises:
        ValueError: It is none, or leaves no room for the other ports.
    """
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    first = int(port) if port.isascii() and port.isdigit() else 0
    if not host or not 0 < first <= 2**16 - SOCKETS:
        raise ValueError(address)
    return host, first


def is_ipv6(host: str) -> bool:
    """Say whether a host is an IPv6 address, which a socket must be told."""
    return ":" in host


def endpoint(host: str, port: int | None = None) -> str:
    """Give an address as ZeroMQ takes it; without a port, for a socket that seeks one."""
    where = f"tcp://[{host}]" if is_ipv6(host) else f"tcp://{host}"
    return where if port is None else f"{where}:{port}"


def reachable(host: str) -> str:
    """Give the address by which a server that listens on all of them is reached from here."""
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_unspecified:
            return "::1" if is_ipv6(host) else "127.0.0.1"
    return host
