"""Data sets: catalogue, import, cache of decoded images, splits. Phantoms, augmentation and edge labels are modules beside."""

from ehanet.data.dataset import Dataset, list_datasets, load_dataset

__all__ = ["Dataset", "list_datasets", "load_dataset"]
