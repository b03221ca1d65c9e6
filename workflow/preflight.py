"""Whether the networks and losses of planned trainings can be built and begin as configured, and networks of the user's own give logits, asked of a process of
its own before hours of work: planning itself needs no torch.

    python -m workflow.preflight < configurations.json
"""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from pathlib import Path

FILES = ("pretrained", "encoder_weights")  # of the encoder: looked for when the plan is made, or loaded by the training


def check(configurations: list[dict]) -> None:
    """Build each distinct network and loss of the configurations once, with random weights or those of a whole network, in another process.

    Raises:
        ValueError: an unknown option, encoder, device or value, a start that does not fit the network, a plugin that fails; one line that names the row and what
            is known.
    """
    if not configurations:
        return
    done = subprocess.run([sys.executable, "-m", "workflow.preflight"], input=json.dumps(configurations), capture_output=True, text=True)
    if done.returncode:
        raise ValueError(done.stdout.strip() or f"the networks cannot be built: {' '.join(done.stderr.split())[-500:]}")


def find_problem(configurations: list[dict]) -> str | None:
    """The first configuration that cannot be built, and why; None where all can."""
    import torch

    from ehanet.config import RunConfig, find_weights
    from ehanet.devices import check_device
    from ehanet.models import build_loss, build_model
    from ehanet.models.encoders import encoder_layout, zero_init
    from ehanet.models.pretrained import fill_weights, read_about
    from ehanet.plugins import load_plugin

    built = set()
    for values in configurations:
        config = RunConfig.from_dict(values)
        options = {key: value for key, value in config.build_options.items() if key not in FILES}
        if config.initial_weights and config.encoder and config.encoder_weights:  # the encoder's file says which layout its network has, which the start must fit
            options["encoder"] = encoder_layout(config.encoder, config.encoder_weights)
        key = json.dumps([config.plugin, config.method, options, config.loss_options, config.device, config.zero_init, config.initial_weights, config.teacher], sort_keys=True)
        if key in built:
            continue
        built.add(key)
        try:
            check_device(config.device)
            load_plugin(config.plugin)
            model = build_model(config.method, **options)
            build_loss(config.method, **config.loss_options)
            if config.zero_init:
                zero_init(getattr(model, "encoder", None))
            if config.initial_weights:
                fill_weights(model, find_weights(config.initial_weights))
            if config.teacher:
                read_about(find_weights(config.teacher))
            if config.plugin:
                with torch.no_grad():
                    logits = model.eval()(torch.rand(2, 3, config.size, config.size)).logits
                if not logits.isfinite().all():
                    raise ValueError("forward gives logits that are NaN or infinite, before any training")
        except Exception as error:  # a plugin's or an option's of any kind
            return f"{config.dataset}/{config.label}: {' '.join(str(error).split()) or type(error).__name__}{_line_of(config.plugin, error)}"
    return None


def _line_of(plugin: str | None, error: Exception) -> str:
    """" (file.py, line 12)", the last line of the plugin that an error passed through; else nothing."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if plugin and Path(frame.filename).name == Path(plugin).name]
    return f" ({plugin}, line {lines[-1]})" if lines else ""


if __name__ == "__main__":
    if problem := find_problem(json.load(sys.stdin)):
        print(problem)
        sys.exit(1)
