"""How close a finished run is to its photo, and measured where `run.json` does not say it."""

from dataclasses import asdict

import torch

from geneman.artefacts import load_textured, load_view
from geneman.evaluation.metrics import reference_fidelity
from geneman.run_folder import RunFolder


def measure(run: RunFolder, device: torch.device) -> dict[str, float]:
    """Give psnr (dB), mask_iou and normal_deg of a run; nothing before it is textured."""
    if run.record.reference or run.stage_record("pixel_texture") is None:
        return run.record.reference
    view = load_view(run.result("prepare"), device)
    person = load_textured(run.result("pixel_texture"), device)
    return asdict(reference_fidelity(view, person))
