"""How close a finished run is to its photo, and where `run.json` keeps that."""

from dataclasses import asdict

import torch

from geneman.artefacts import load_textured, load_view
from geneman.evaluation.metrics import reference_fidelity
from geneman.run_folder import RunFolder


def measure(run: RunFolder, device: torch.device) -> dict[str, float]:
    """Give psnr (dB), mask_iou and normal_deg of a textured run, measured once.

    An unfinished run gives nothing.
    """
    record = run.record
    textured = run.stage_record("pixel_texture") is not None
    if textured and not record.reference:
        view = load_view(run.result("prepare"), device)
        person = load_textured(run.result("pixel_texture"), device)
        record.reference = asdict(reference_fidelity(view, person))
        run.save()
    return record.reference
