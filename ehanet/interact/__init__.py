"""What the walkthrough notebooks show and move: pictures (pure functions) and the widgets over them.

The names below load what they need when first used.
"""

from importlib import import_module

_HOMES = {
    "Example": "ehanet.interact.examples",
    "examples_of": "ehanet.interact.examples",
    "load_examples": "ehanet.interact.examples",
    "sample_files": "ehanet.interact.examples",
    "demo_model": "ehanet.interact.demo",
    "finished_runs": "ehanet.interact.demo",
    "gallery": "ehanet.interact.canvas",
    "contours": "ehanet.interact.predictions",
    "outputs_picture": "ehanet.interact.predictions",
    "corruption_picture": "ehanet.interact.predictions",
    "augmented_edges": "ehanet.interact.traps",
    "edges_picture": "ehanet.interact.traps",
    "split_leak": "ehanet.interact.traps",
    "efa_picture": "ehanet.interact.features",
    "iem_picture": "ehanet.interact.features",
    "ahfa_picture": "ehanet.interact.features",
    "module_shapes": "ehanet.interact.features",
    "switched_off": "ehanet.interact.switches",
    "switch_table": "ehanet.interact.switches",
    "losses_picture": "ehanet.interact.losses",
    "missed_share_picture": "ehanet.interact.losses",
    "constant_map_picture": "ehanet.interact.losses",
    "train_live": "ehanet.interact.live",
    "progress_picture": "ehanet.interact.live",
    "move_mask": "ehanet.interact.masks",
    "same_dice": "ehanet.interact.masks",
    "score_table": "ehanet.interact.masks",
    "shift_table": "ehanet.interact.masks",
    "masks_picture": "ehanet.interact.masks",
    "explore": "ehanet.interact.panels",
    "corrupt_and_predict": "ehanet.interact.panels",
    "switch_modules": "ehanet.interact.panels",
    "look_inside": "ehanet.interact.panels",
    "weigh_losses": "ehanet.interact.panels",
    "drag_mask": "ehanet.interact.panels",
    "upload": "ehanet.interact.uploads",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'ehanet.interact' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
