"""How sparingly networks are run: attention in slices, decoding in tiles, weights out of the way.

A tier costs time, never quality beyond rounding; smaller renders, which do, are `geneman.memory`'s.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from geneman.priors.compiling import Ask, Compiling


@dataclass(frozen=True)
class Tier:
    """What is done without on a device of a given size."""

    gigabytes: int
    """Of the smallest device that it is meant for."""
    slicing: bool = False
    """Attention one head's slice after another."""
    tiling: bool = False
    """Pictures are decoded in tiles that overlap."""
    offload: bool = False
    """A network leaves the device after every call, not only when it is asked no more."""
    exact: bool = True
    """Networks that are meant to run in single precision do."""
    render_share: float = 1.0
    """Largest renders, as a share of the recipe's."""

    @property
    def roomy(self) -> bool:
        """Whether networks stay where they are, whole: compiled ones would else be in the way.

        A network that comes and goes is compiled again for the place it is in, and attention in
        slices is a loop that the compiler unrolls.
        """
        return not (self.slicing or self.offload)

    def __str__(self) -> str:
        """Say in words what the tier does."""
        parts = [
            *(["attention in slices"] if self.slicing else []),
            *(["decoding in tiles"] if self.tiling else []),
            *(["networks in main memory between calls"] if self.offload else []),
            *([] if self.exact else ["all networks in half precision"]),
            *([f"renders at {self.render_share:.0%}"] if self.render_share < 1 else []),
        ]
        return ", ".join(parts) or "everything at full size"


TIERS = (
    Tier(24),
    Tier(16, slicing=True, tiling=True, render_share=0.6),
    Tier(12, slicing=True, tiling=True, offload=True, render_share=0.6),
    Tier(8, slicing=True, tiling=True, offload=True, exact=False, render_share=0.4),
)
"""From the largest devices down."""


IDLE_CALLS = 64
"""A network that so many calls of others have passed by goes home when another needs room: within
a stage, those that judge are asked at every step."""


@dataclass
class Economy:
    """Where networks live and how sparingly they are run; one for all networks of a job."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    tier: Tier = TIERS[0]
    networks: list[nn.Module] = field(default_factory=list)
    residents: set[int] = field(default_factory=set)
    asked: dict[int, int] = field(default_factory=dict)
    """When each network was last asked, in calls; those on the device alone are listed."""
    calls: int = 0
    compiling: Compiling | None = None
    """Of the networks that every step asks, in roomy tiers; nothing: they run as they are."""
    often: set[int] = field(default_factory=set)
    """Those networks."""

    @property
    def half(self) -> torch.dtype:
        """Give the precision of networks that stand it: half on CUDA; CPUs are exact."""
        return torch.float16 if self.device.type == "cuda" else torch.float32

    def adopt(
        self,
        network: nn.Module,
        dtype: torch.dtype | None = None,
        *,
        resident: bool = False,
        often: bool = False,
    ) -> nn.Module:
        """Take a network in: frozen, in its precision, laid out for convolutions, in its place.

        Args:
            network: Trained.
            dtype: Of its weights; `half` if not said.
            resident: Never leaves the device: gradients pass through it after the call.
            often: Asked at every step, by its forward pass alone: worth compiling.
        """
        network.requires_grad_(False).eval()
        # torch's own `to`: diffusers' would warn of layers that none of these networks has.
        nn.Module.to(network, dtype=dtype or self.half)
        nn.Module.to(network, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if resident:
            self.residents.add(id(network))
        if often:
            self.often.add(id(network))
        self.networks.append(network)
        self._settle(network)
        return network

    def dismiss(self, network: nn.Module) -> None:
        """Forget a network: nobody will ask it."""
        self.networks.remove(network)
        self.often.discard(id(network))
        self.residents.discard(id(network))

    def use(self, tier: Tier) -> None:
        """Run all networks by another tier from now on, and give back what is free."""
        self.tier = tier
        for network in self.networks:
            self._settle(network)
        free(self.device)

    @contextlib.contextmanager
    def at_work(self, network: nn.Module) -> Iterator[Ask]:
        """Have a network on the device for the length of a block, and as long as it is asked.

        Gives what to call: the network, or its compiled forward pass.
        """
        self.calls += 1
        if id(network) not in self.asked and id(network) not in self.residents:
            self._make_room()
            network.to(self.device)
        self.asked[id(network)] = self.calls
        try:
            yield self._asker(network)
        finally:
            if self.tier.offload:
                self._send_home(network)

    def _asker(self, network: nn.Module) -> Ask:
        if self.compiling is None or not self.tier.roomy or id(network) not in self.often:
            return network
        return self.compiling.asker(network)

    def _make_room(self) -> None:
        """Send those home that a stage which is over has asked, or that were asked only once."""
        for network in self.networks:
            if self.calls - self.asked.get(id(network), self.calls) > IDLE_CALLS:
                self._send_home(network)

    def _send_home(self, network: nn.Module) -> None:
        if id(network) not in self.residents:
            network.to("cpu")
            self.asked.pop(id(network), None)

    def _settle(self, network: nn.Module) -> None:
        self._send_home(network)
        if not self.tier.exact:
            nn.Module.to(network, dtype=self.half)
        if id(network) in self.residents:
            network.to(self.device)
        net: Any = network  # diffusers' switches, which not every network has
        if hasattr(net, "set_attention_slice"):
            net.set_attention_slice("auto" if self.tier.slicing else None)
        if hasattr(net, "enable_tiling"):
            (net.enable_tiling if self.tier.tiling else net.disable_tiling)()


def free(device: torch.device) -> None:
    """Give memory back that nobody holds any more."""
    import gc

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
