"""What a profile says of its studies, compared with what there is before anything runs: a misspelt label would be found after hours of training."""

from __future__ import annotations

from ehanet.data.dataset import list_datasets
from ehanet.profiles import is_phantom
from ehanet.steps import check_parameters, known_parameters
from workflow import kinds

COUNTS = ("images", "images_across", "methods")  # the study "inside" takes the number of its methods, "robustness" their labels


def study_parameters(study: str, given: dict, own: dict, labels: dict[str, bool], known_labels: list[str]) -> dict | None:
    """The parameters that a study's notebook has, with the profile's own values for some.

    Args:
        given: what every study is given where its notebook has it. own: what the profile says of this one.
        labels: of the data set's rows -> whether the network is the user's own; those join the ``methods`` that are chosen.
        known_labels: those that the profile may name: a row that an override leaves out, or that cannot be trained here, is passed over.

    Returns:
        None where no row of those that the profile chooses is there to study: an empty choice would mean all of them.

    Raises:
        ValueError: a parameter that the notebook does not have, or a value that its step would refuse; one line.
    """
    known = known_parameters(kinds.notebook_of(study))
    try:
        if set(own) & set(given):
            raise ValueError(f"{', '.join(sorted(set(own) & set(given)))} cannot be set here")
        parameters = {name: value for name, value in given.items() if name in known} | own
        check_parameters(kinds.notebook_of(study), parameters)
        _check_values(own, known_labels)
    except ValueError as error:
        raise ValueError(f"studies: {study}: {error}") from None
    if (chosen := own.get("methods")) and isinstance(chosen, list):
        parameters["methods"] = [label for label in dict.fromkeys([*chosen, *(label for label, users in labels.items() if users)]) if label in labels]
        if not parameters["methods"]:
            return None
    return parameters


def _check_values(own: dict, known_labels: list[str]) -> None:
    for name in COUNTS:
        if isinstance(own.get(name), int) and own[name] < 1:
            raise ValueError(f"{name}: must be at least 1, got {own[name]}")
    if isinstance(chosen := own.get("methods"), list):
        _check_names("methods", chosen, known_labels)
    if corruptions := own.get("corruptions"):
        from ehanet.data.corruptions import CORRUPTIONS  # its imports are slow; few profiles name any

        _check_names("corruptions", corruptions, CORRUPTIONS)
    if is_phantom(across := own.get("across", "")):
        _check_names("across", [across], [*filter(is_phantom, list_datasets())])


def _check_names(parameter: str, names: list, known) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{parameter}: {name!r} is unknown; known: {', '.join(known)}")
