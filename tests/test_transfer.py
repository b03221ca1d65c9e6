"""What a run takes over from trained networks: which track it is then of, and what a teacher adds to its loss."""

import math

import pytest
import torch

from ehanet.checkpoints import load_best
from ehanet.config import RunConfig
from ehanet.data import load_dataset
from ehanet.files import file_sha256
from ehanet.hub import describe_run
from ehanet.models import EHANet, build_model
from ehanet.models.output import SegmentationOutput
from ehanet.models.pretrained import save_weights
from ehanet.reporting.results import RANDOM, TRAINED, beginning
from ehanet.training import Trainer, fit
from ehanet.transfer import Teacher, Transfer, check_same_split

SIZE = 32


@pytest.fixture(scope="module")
def data():
    return load_dataset("phantom-polyp", size=SIZE)


def write(path, encoder, data="kvasir-seg", side=None):
    """An EHANet's file that says how its encoder began, and which data set it saw, in a split of its own."""
    torch.manual_seed(5)
    model = EHANet(encoder="mobilenetv1_100")
    model.input_size = side
    model.about = {"recipe": {"Encoder": encoder}, "data": [{"name": data, "title": data, "counts": "300 train", "split": "0" * 16}]}
    save_weights(model, path)
    return path


def configured(**changes):
    return RunConfig(**{"dataset": "phantom-polyp", "size": SIZE, "epochs": 1, "epoch_images": 16, "batch_size": 8, "learning_rate": 1e-3, "encoder": "mobilenetv1_100",
                        "precision": "float32", "device": "cpu", **changes})


class Constant(torch.nn.Module):
    """Logits that are the mean of the image; remembers the size it was shown."""

    input_size = 64

    def forward(self, images):
        self.seen = images.shape[2:]
        return SegmentationOutput(images.mean(dim=1, keepdim=True), [])


def test_a_teacher_sees_its_own_size_and_answers_in_the_students():
    teacher = Teacher(Constant(), torch.device("cpu"), torch.float32)
    images = torch.full((2, 3, SIZE, SIZE), 0.25)
    assert torch.allclose(teacher(images), torch.full((2, 1, SIZE, SIZE), 1 / (1 + math.exp(-0.25)))) and teacher.model.seen == (64, 64)
    teacher.model.input_size = None
    assert teacher(images).shape == (2, 1, SIZE, SIZE) and teacher.model.seen == (SIZE, SIZE)


def test_a_teachers_loss_is_the_cross_entropy_with_its_probabilities():
    teacher = Teacher(Constant(), torch.device("cpu"), torch.float32)
    taught, found = 1 / (1 + math.exp(-0.5)), 1 / (1 + math.exp(2))
    logits = torch.full((1, 1, SIZE, SIZE), -2.0, requires_grad=True)
    loss = teacher.loss(logits, torch.full((1, 3, SIZE, SIZE), 0.5))
    assert loss.item() == pytest.approx(-(taught * math.log(found) + (1 - taught) * math.log(1 - found)), rel=1e-5)
    loss.backward()
    assert torch.allclose(logits.grad * SIZE * SIZE, torch.full_like(logits, found - taught), atol=1e-6)


def test_transformers_at_zero_are_of_the_track_of_random_weights(data, tmp_path):
    trainer = Trainer(configured(encoder="mobilevit_xxs", zero_init=True), data, tmp_path)
    scales = [block.conv_proj.bn.weight for block in trainer.encoder.modules() if hasattr(block, "conv_proj")]
    assert len(scales) == 3 and not any(scale.any() for scale in scales)
    told = trainer.transfer.describe_encoder(trainer.frozen)
    assert told == "random, transformers at zero, trained" and beginning(told) == RANDOM
    assert not Trainer(configured(encoder="mobilevit_xxs", zero_init=True, freeze_encoder="pretrained"), data, tmp_path / "other").frozen
    for name, value in {"initial_weights": "a.safetensors", "encoder_weights": "a.safetensors", "pretrained": True}.items():
        with pytest.raises(ValueError, match=f"zero_init: {name} says how the encoder begins; leave one of the two out"):
            configured(zero_init=True, **{name: value})
    with pytest.raises(ValueError, match="pretrained and encoder_weights exclude each other; set encoder_weights=null to take timm's weights"):
        configured(pretrained=True, encoder_weights="a.safetensors")


def test_a_run_learns_from_its_teacher_beside_the_masks(data, tmp_path):
    file = write(tmp_path / "teacher.safetensors", "imagenet.safetensors, fine-tuned", side=48)
    taught, alone = (Trainer(configured(**changes), data, tmp_path / name) for name, changes in (("a", {"teacher": str(file)}), ("b", {})))
    assert taught.teacher.model.input_size == 48 and alone.teacher is None
    before = {name: value.clone() for name, value in taught.teacher.model.state_dict().items()}
    batch = alone.batch(data.splits["train"][:8], torch.Generator().manual_seed(0))
    taught.model.train(), alone.model.train()
    extra = taught.teacher.loss(alone.model(batch[0]).logits, batch[0]).item()
    alone.model.load_state_dict(taught.model.state_dict())  # forgets the statistics of that look
    losses = [trainer.step(batch).item() for trainer in (taught, alone)]
    assert extra > 0.1 and losses[0] - losses[1] == pytest.approx(extra, rel=1e-4)
    weights = [torch.cat([parameter.flatten() for parameter in trainer.model.parameters()]) for trainer in (taught, alone)]
    assert not torch.equal(*weights)
    assert all(torch.equal(value, before[name]) for name, value in taught.teacher.model.state_dict().items()), "a teacher learns nothing, its batch statistics neither"


def test_the_record_and_the_card_name_the_teacher(data, tmp_path):
    file = write(tmp_path / "teacher.safetensors", "imagenet.safetensors, fine-tuned")
    record = fit(configured(teacher=str(file)), tmp_path / "run", progress=False)
    assert record["teacher_sha256"] == file_sha256(file) and record["initial_weights_sha256"] is None
    assert record["encoder"] == "teacher teacher.safetensors, random, trained" and beginning(record["encoder"]) == TRAINED
    card = describe_run(record, [])
    assert card["recipe"]["Learned from"] == "the masks and the probabilities of teacher.safetensors"
    assert [one["name"] for one in card["data"]] == ["phantom-polyp", "kvasir-seg"], "the teacher's images are in what it taught"
    assert not any("teacher" in name for name in load_best(tmp_path / "run")["model"]), "a checkpoint is the student alone"


@pytest.mark.parametrize("setting, encoder, told, track", [
    ("initial_weights", "random, trained", "random, whole network from a.safetensors, fine-tuned", RANDOM),
    ("initial_weights", "random, whole network from b.safetensors, fine-tuned", "random, whole network from a.safetensors, fine-tuned", RANDOM),
    ("initial_weights", "imagenet.safetensors, fine-tuned", "whole network from a.safetensors, fine-tuned", TRAINED),
    ("teacher", "random, trained", "random, trained, random teacher a.safetensors", RANDOM),
    ("teacher", "imagenet.safetensors, fine-tuned", "teacher a.safetensors, random, trained", TRAINED),
])
def test_a_run_is_of_the_track_of_what_it_takes_over(data, tmp_path, setting, encoder, told, track):
    config = configured(**{setting: str(write(tmp_path / "a.safetensors", encoder))})
    text = Transfer(config, EHANet(encoder="mobilenetv1_100"), data.manifest).describe_encoder(frozen=False)
    assert text == told and beginning(text) == track


@pytest.mark.parametrize("encoder, told, track", [("random, trained", "none", None), ("imagenet.safetensors, fine-tuned", "teacher a.safetensors, none", TRAINED)])
def test_a_network_without_an_encoder_is_of_its_teachers_track(data, tmp_path, encoder, told, track):
    config = configured(method="unet-32", encoder=None, teacher=str(write(tmp_path / "a.safetensors", encoder)))
    text = Transfer(config, build_model("unet-32"), data.manifest).describe_encoder(frozen=False)
    assert text == told and beginning(text) == track


def test_a_whole_network_that_began_random_is_pretrained_to_the_freezing_rule(data, tmp_path):
    file = write(tmp_path / "a.safetensors", "random, trained")
    trainer = Trainer(configured(initial_weights=str(file), freeze_encoder="pretrained"), data, tmp_path / "run")
    assert trainer.frozen and trainer.transfer.describe_encoder(True) == "random, whole network from a.safetensors, encoder frozen"


def test_a_joint_start_from_random_weights_is_warned_of_as_random(data, tmp_path):
    record = fit(configured(initial_weights=str(write(tmp_path / "a.safetensors", "random, trained"))), tmp_path / "run", progress=False)
    assert "encoder: random, whole network from a.safetensors, fine-tuned" in record["warnings"]


def test_a_teacher_that_may_have_seen_the_test_images_is_refused(data, tmp_path):
    file = write(tmp_path / "a.safetensors", "random, trained", data="phantom-polyp")
    with pytest.raises(ValueError, match="teacher: a.safetensors was trained on another split of phantom-polyp .* may have seen the test images"):
        Trainer(configured(teacher=str(file)), data, tmp_path / "run")


def test_weights_that_saw_another_split_of_a_part_are_refused_for_the_union():
    about = {"data": [{"name": "lgg", "counts": "300 train", "split": "0" * 16}]}
    union = {"name": "universal", "split": {"sha256": "a" * 64, "counts": {"train": 9}}, "part_hashes": {"lgg": ["c" * 64, "0" * 64], "dsb2018": ["d" * 64, "e" * 64]}}
    check_same_split(about, union, "initial_weights", "a.safetensors")
    union["part_hashes"]["lgg"][1] = "f" * 64
    with pytest.raises(ValueError, match="initial_weights: a.safetensors was trained on another split of lgg .300 train; another one here."):
        check_same_split(about, union, "initial_weights", "a.safetensors")


def test_another_file_of_the_same_name_is_no_way_to_go_on(data, tmp_path):
    """Two teachers in one training, of which the record would name one."""
    teacher = write(tmp_path / "net.safetensors", "random, trained", data="dsb2018")
    config = configured(teacher=str(teacher), epochs=2)
    epochs = iter((False, True))
    with pytest.raises(InterruptedError):
        fit(config, tmp_path / "run", progress=False, stop=lambda: next(epochs))
    kept = teacher.read_bytes()
    write(teacher, "ImageNet, fine-tuned", data="dsb2018")
    with pytest.raises(ValueError, match=r"net.safetensors: .*run had another file of this name \(SHA-256 [0-9a-f]{12}, [0-9a-f]{12} now\); put that one in its place, or begin anew"):
        fit(config, tmp_path / "run", progress=False)
    teacher.write_bytes(kept)
    record = fit(config, tmp_path / "run", progress=False)
    write(teacher, "ImageNet, fine-tuned", data="dsb2018")
    with pytest.raises(ValueError, match="had another file of this name"):
        fit(config, tmp_path / "run", progress=False)
    teacher.unlink()  # a finished run needs it no more
    assert fit(config, tmp_path / "run", progress=False)["id"] == record["id"]


def test_a_teacher_that_is_none_is_refused_in_one_line(data, tmp_path):
    (tmp_path / "text.safetensors").write_text("no tensors")
    for file, error in (("text.safetensors", ValueError), ("missing.safetensors", FileNotFoundError)):
        with pytest.raises(error, match=file) as caught:
            Trainer(configured(teacher=str(tmp_path / file)), data, tmp_path / "run")
        assert "\n" not in str(caught.value)
