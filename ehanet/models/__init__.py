"""One file a network, one registry. Importing this package registers every method of the comparison."""

from ehanet.models import ehanet as _ehanet  # noqa: F401  (registers itself)
from ehanet.models.ehanet import EHANet
from ehanet.models.output import SegmentationOutput, check_images
from ehanet.models.registry import build_loss, build_model, list_models, register

__all__ = ["EHANet", "SegmentationOutput", "build_loss", "build_model", "check_images", "list_models", "register"]
