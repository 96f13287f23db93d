"""How far a geometry network is to be believed, beside what silhouette and pose say."""

from dataclasses import asdict

from torch import Tensor

from geneman.curation.synthetic.people import People
from geneman.priors.bundled.geometry_network import GeometryNetwork
from geneman.priors.bundled.geometry_prior import GeometryPrior, Trust
from geneman.priors.bundled.inflation import Inflation


def measure_trust(network: GeometryNetwork, people: People, count: int) -> Trust:
    """Find the shares of network and inflation that come closest to people never trained on.

    The share w of least squared error of w a + (1 - w) b has a closed form; it is kept within
    [0, 1].

    Args:
        network: On the CPU.
        people: Held out; at the size of the network's training.
        count: Samples to measure.
    """
    prior, inflation = GeometryPrior(network, look=people.size), Inflation()
    gain: dict[str, float] = {}
    reach: dict[str, float] = {}
    for index in range(count):
        sample = people.sample(index)
        guess = inflation.surfaces(sample.colour, sample.cover, sample.landmarks, sample.framing)
        found = prior.ask(sample.colour, sample.cover, sample.landmarks)[0]
        maps = (found.normal, found.depth, found.hidden_normal, found.hidden_depth)
        own = _quantities(*(_plane(image) for image in maps))
        other = _quantities(guess.normal, guess.depth, guess.hidden.normal, guess.hidden.depth)
        truth = _quantities(sample.normal, sample.depth, sample.hidden_normal, sample.hidden_depth)
        for name in truth:
            a, b, t = (quantity[name][sample.inside] for quantity in (own, other, truth))
            if name == "depth":
                a, b, t = (x - x.median() for x in (a, b, t))
            gain[name] = gain.get(name, 0.0) + float(((t - b) * (a - b)).mean())
            reach[name] = reach.get(name, 0.0) + float((a - b).square().mean())
    shares = {name: min(max(gain[name] / max(reach[name], 1e-12), 0.0), 1.0) for name in gain}
    return Trust(**{name: round(shares[name], 3) for name in asdict(Trust())})


def _plane(image: Tensor) -> Tensor:
    """Give an image H W or H W C."""
    return image[0].movedim(0, -1).squeeze(-1)


def _quantities(
    normal: Tensor, depth: Tensor, hidden_normal: Tensor, hidden_depth: Tensor
) -> dict[str, Tensor]:
    """Name what is trusted by itself."""
    return {
        "normal": normal,
        "depth": (depth + hidden_depth) / 2,
        "thickness": hidden_depth - depth,
        "hidden_normal": hidden_normal,
    }
