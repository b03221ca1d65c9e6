"""The public data sets: what their archives are called, where they come from, what they may be used for.

Hashes are those that public loaders of the same files record (see ``Archive.hash_from``); where none is known the field is
None, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """One file of the official distribution.

    names: file names without suffix that the archive goes by, the official one first; an unpacked folder of such a name
        serves as well. url: direct download or None. bytes, sha256: of the official file, None where unknown.
    hash_from: the public source of the hash. inside: a glob by which a root that is
        itself the unpacked archive is known.
    """

    names: tuple[str, ...]
    url: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    hash_from: str | None = None
    inside: str | None = None

    @property
    def file_name(self) -> str:
        return f"{self.names[0]}.zip"


@dataclass(frozen=True)
class Entry:
    """A data set of the catalogue; ``count`` is the number of images in the official release, ``grouped_by`` what several images belong to, where they do."""

    name: str
    title: str
    modality: str
    archives: tuple[Archive, ...]
    count: int
    licence: str
    citation: str
    page: str
    how_to_get: str
    spacing_mm: tuple[float, float] | None = None
    grouped_by: str | None = None


CATALOGUE: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            name="kvasir-seg",
            title="Kvasir-SEG",
            modality="colonoscopy",
            archives=(
                Archive(
                    names=("kvasir-seg", "Kvasir-SEG"),
                    inside="masks/*.jpg",
                    url="https://datasets.simula.no/downloads/kvasir-seg.zip",
                    bytes=46_227_172,
                    sha256="03b30e21d584e04facf49397a2576738fd626815771afbbf788f74a7153478f7",
                    hash_from="torch_em, ncalab",
                ),
            ),
            count=1000,
            licence="research and education only; commercial use needs written permission",
            citation="Jha et al., Kvasir-SEG: a segmented polyp dataset, MultiMedia Modeling 2020, doi:10.1007/978-3-030-37734-2_37",
            page="https://datasets.simula.no/kvasir-seg/",
            how_to_get="make data DATASET=kvasir-seg downloads it",
        ),
        Entry(
            name="dsb2018",
            title="2018 Data Science Bowl, stage 1 training set (BBBC038)",
            modality="microscopy of nuclei",
            archives=(
                Archive(
                    names=("stage1_train", "BBBC038_stage1_train"),
                    inside="?????????????????*/masks/*.png",
                    url="https://data.broadinstitute.org/bbbc/BBBC038/stage1_train.zip",
                ),
            ),
            count=670,
            licence="CC0 1.0",
            citation="Caicedo et al., Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl, Nature Methods 2019, "
            "doi:10.1038/s41592-019-0612-7",
            page="https://bbbc.broadinstitute.org/BBBC038",
            how_to_get="make data DATASET=dsb2018 downloads it",
        ),
        Entry(
            name="isic2018",
            title="ISIC 2018 Task 1, training set",
            modality="dermoscopy",
            archives=(
                Archive(
                    names=("ISIC2018_Task1-2_Training_Input",),
                    url="https://isic-archive.s3.amazonaws.com/challenges/2018/ISIC2018_Task1-2_Training_Input.zip",
                    bytes=11_165_358_566,
                    sha256="80f98572347a2d7a376227fa9eb2e4f7459d317cb619865b8b9910c81446675f",
                    hash_from="torch_em",
                ),
                Archive(
                    names=("ISIC2018_Task1_Training_GroundTruth",),
                    url="https://isic-archive.s3.amazonaws.com/challenges/2018/ISIC2018_Task1_Training_GroundTruth.zip",
                    bytes=27_402_895,
                    sha256="99f8b2bb3c4d6af483362010715f7e7d5d122d9f6c02cac0e0d15bef77c7604c",
                    hash_from="torch_em",
                ),
            ),
            count=2594,
            licence="CC0 1.0",
            citation="Codella et al., Skin lesion analysis toward melanoma detection 2018, arXiv:1902.03368; "
            "Tschandl et al., The HAM10000 dataset, Scientific Data 2018, doi:10.1038/sdata.2018.161",
            page="https://challenge.isic-archive.com/data/#2018",
            how_to_get="make data DATASET=isic2018 downloads it",
        ),
        Entry(
            name="lgg",
            title="LGG MRI segmentation (TCGA lower-grade glioma)",
            modality="brain MRI, 3 sequences",  # pre-contrast, FLAIR and post-contrast as red, green and blue
            archives=(Archive(names=("lgg-mri-segmentation", "kaggle_3m"), inside="TCGA_*/TCGA_*_mask.tif"),),
            count=3929,
            licence="CC BY-NC-SA 4.0",
            citation="Buda et al., Association of genomic subtypes of lower-grade gliomas with shape features automatically extracted by a "
            "deep learning algorithm, Computers in Biology and Medicine 2019, doi:10.1016/j.compbiomed.2019.05.002",
            page="https://www.kaggle.com/datasets/mateuszbuda/lgg-mri-segmentation",
            how_to_get="log in at Kaggle, download mateuszbuda/lgg-mri-segmentation and keep it as lgg-mri-segmentation.zip",
            spacing_mm=None,  # the TIFF files carry no pixel spacing
            grouped_by="patients",
        ),
        Entry(
            name="cvc-clinicdb",
            title="CVC-ClinicDB",
            modality="colonoscopy",
            archives=(Archive(names=("CVC-ClinicDB", "CVC-612"), inside="Ground Truth/*"),),
            count=612,
            licence="none stated in its files; for research, with its paper cited",
            citation="Bernal et al., WM-DOVA maps for accurate polyp highlighting in colonoscopy: validation vs. saliency maps from physicians, "
            "Computerized Medical Imaging and Graphics 2015, doi:10.1016/j.compmedimag.2015.02.007",
            page="https://polyp.grand-challenge.org/CVCClinicDB/",
            how_to_get="download it from polyp.grand-challenge.org/CVCClinicDB, unpack the .rar and keep its folder as CVC-ClinicDB",
            grouped_by="videos",
        ),
    )
}

PHANTOM_NAMES = ("phantom-polyp", "phantom-nuclei", "phantom-lesion", "phantom-glioma")
# Several data sets as one, to train one network on all: each part keeps its own split.
UNIONS: dict[str, tuple[str, ...]] = {
    "universal": ("kvasir-seg", "dsb2018", "isic2018", "lgg", *PHANTOM_NAMES),  # not CVC-ClinicDB, which is there to try networks on images of another place
    "universal-phantoms": PHANTOM_NAMES,
}


def parts_of(name: str) -> tuple[str, ...]:
    """The data sets that ``name`` is made of: those of a union, else itself."""
    return UNIONS.get(name, (name,))
