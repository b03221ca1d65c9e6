"""One file a network, one registry. Importing this package registers every method, in the order of the tables."""

from ehanet.models import ehanet as _ehanet  # noqa: F401  (each registers itself)
from ehanet.models import unet as _unet  # noqa: F401
from ehanet.models import resunet as _resunet  # noqa: F401
from ehanet.models import resunetpp as _resunetpp  # noqa: F401
from ehanet.models import pranet as _pranet  # noqa: F401
from ehanet.models import cfanet as _cfanet  # noqa: F401
from ehanet.models import canet as _canet  # noqa: F401
from ehanet.models import hiformer as _hiformer  # noqa: F401
from ehanet.models import lanet as _lanet  # noqa: F401
from ehanet.models import controls as _controls  # noqa: F401
from ehanet.models.ehanet import EHANet
from ehanet.models.output import SegmentationOutput, check_images
from ehanet.models.registry import build_loss, build_model, list_models, register

__all__ = ["EHANet", "SegmentationOutput", "build_loss", "build_model", "check_images", "list_models", "register"]
