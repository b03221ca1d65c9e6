"""Losses against hand-computed cases and a plain rebuild of their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ehanet.losses import EHANetLoss, LogitLoss, _by_error, _lovasz_two_classes, dice_bce, lovasz_softmax
from ehanet.models import build_loss
from ehanet.models.hiformer import HiFormerLoss
from ehanet.models.output import SegmentationOutput


def jaccard_loss_of_wrong_pixels(wrong: np.ndarray, truth: np.ndarray) -> float:
    """1 - IoU of the truth after the ``wrong`` pixels have been flipped: the set function that Lovasz extends."""
    prediction = truth ^ wrong
    union = (truth | prediction).sum()
    return 1 - (truth & prediction).sum() / union if union else 0.0


def lovasz_by_definition(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Sum over the sorted errors of e_i * (loss of the first i pixels wrong - loss of the first i-1)."""
    losses = []
    for index in range(probabilities.shape[1]):
        truth = (labels == index).ravel()
        if not truth.any():
            continue
        errors = np.abs(truth - probabilities[:, index].ravel())
        wrong, before, total = np.zeros_like(truth), 0.0, 0.0
        for pixel in np.argsort(-errors, kind="stable"):
            wrong[pixel] = True
            after = jaccard_loss_of_wrong_pixels(wrong, truth)
            total += errors[pixel] * (after - before)
            before = after
        losses.append(total)
    return float(np.mean(losses))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 4), share=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_lovasz_softmax_is_its_definition(seed, classes, share):
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(size=(2, classes, 4, 5)))
    labels = torch.from_numpy(np.where(rng.random((2, 4, 5)) < share, rng.integers(0, classes, (2, 4, 5)), 0))
    probabilities = logits.softmax(dim=1)
    expected = lovasz_by_definition(probabilities.numpy(), labels.numpy())
    assert lovasz_softmax(probabilities, labels).item() == pytest.approx(expected, abs=1e-10)
    assert lovasz_softmax(probabilities, labels[:, None]).item() == pytest.approx(expected, abs=1e-10)
    if classes == 2:
        assert _lovasz_two_classes(probabilities[:, 1], labels).item() == pytest.approx(expected, abs=1e-10)


def lovasz_with_a_sort_for_each_class(probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The released way, in PyTorch alone: (B, C, H, W) and (B, H, W) -> loss with its gradient."""
    losses = []
    for index in range(probabilities.shape[1]):
        truth = (labels == index).flatten().to(probabilities.dtype)
        if truth.any():
            errors, order = torch.sort((truth - probabilities[:, index].flatten()).abs(), descending=True)
            truth = truth[order]
            jaccard = 1 - (truth.sum() - truth.cumsum(0)) / (truth.sum() + (1 - truth).cumsum(0))
            losses.append(errors @ torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]]))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_one_sort_has_the_gradient_of_two(share, dtype):
    torch.manual_seed(0)
    labels = (torch.rand(2, 16, 17) < share).long()
    gradients = []
    for loss in (lovasz_with_a_sort_for_each_class, lovasz_softmax, lambda p, y: _lovasz_two_classes(p[:, 1], y)):
        torch.manual_seed(1)
        logits = torch.randn(2, 2, 16, 17, dtype=dtype, requires_grad=True)
        loss(logits.softmax(dim=1), labels).backward()
        gradients.append(logits.grad)
    assert gradients[0].abs().max() > 0
    atol = 1e-12 if dtype == torch.float64 else 1e-6
    assert torch.allclose(gradients[0], gradients[1], atol=atol) and torch.allclose(gradients[0], gradients[2], atol=atol)


def test_two_channels_that_do_not_sum_to_one_are_sorted_each_by_its_own_errors():
    torch.manual_seed(0)
    probabilities, labels = torch.rand(2, 2, 5, 6, dtype=torch.float64), torch.randint(2, (2, 5, 6))
    assert lovasz_softmax(probabilities, labels).item() == pytest.approx(lovasz_by_definition(probabilities.numpy(), labels.numpy()), abs=1e-10)


@pytest.mark.parametrize("capability", ["AVX512", "AVX2"])  # each has its own sort
@settings(max_examples=40, deadline=None)
@given(errors=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40), seed=st.integers(0, 99))
def test_bits_are_sorted_as_the_errors_are(capability, errors, seed):
    errors = torch.tensor(errors)
    foreground = torch.rand(len(errors), generator=torch.Generator().manual_seed(seed)) < 0.5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
        order, ordered = _by_error(errors, foreground)
    assert torch.equal(order, errors.sort(descending=True, stable=True).indices) and torch.equal(ordered, foreground[order])


def test_lovasz_of_a_perfect_and_a_wrong_prediction():
    labels = torch.tensor([[[0, 1], [1, 0]]])
    perfect = torch.nn.functional.one_hot(labels, 2).permute(0, 3, 1, 2).double()
    assert lovasz_softmax(perfect, labels) == 0
    assert lovasz_softmax(1 - perfect, labels) == 1


def test_lovasz_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"\(1, 2, 4, 4\) and \(1, 5, 4\)"):
        lovasz_softmax(torch.rand(1, 2, 4, 4), torch.zeros(1, 5, 4))


@pytest.mark.parametrize("classes, label", [(2, -1), (2, 2), (3, 3), (2, 255), (2, float("nan"))])
def test_lovasz_refuses_labels_that_are_no_class(classes, label):
    labels = torch.zeros(1, 2, 2, dtype=torch.float64)
    labels[0, 1, 1] = label
    with pytest.raises(ValueError, match=rf"^lovasz_softmax: labels must be classes from 0 to {classes - 1}, found \S+ to \S+$"):
        lovasz_softmax(torch.rand(1, classes, 2, 2).softmax(dim=1), labels)


def test_dice_bce_by_hand():
    logits = torch.tensor([[[[0.0, 0.0]]]])
    mask = torch.tensor([[[[1.0, 0.0]]]])
    # p = 0.5 everywhere: BCE = ln 2; Dice term = 1 - (2 * 0.5 + 1) / (1 + 1 + 1) = 1/3
    assert dice_bce(logits, mask).item() == pytest.approx(0.5 * np.log(2) + 0.5 / 3)


def test_dice_bce_sums_over_the_whole_batch():
    """Pooled sums, as released: an empty image beside a full one does not count for itself."""
    logits = torch.tensor([20.0, -20.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2)
    mask = torch.tensor([1.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2)
    assert dice_bce(logits, mask).item() == pytest.approx(0.5 * 10 + 0.5 * (1 - 9 / 13), abs=1e-5)
    with pytest.raises(ValueError, match="differ in shape"):
        dice_bce(logits, mask[:1])


def test_dice_per_image_weighs_a_small_object_like_a_large_one():
    """One image wholly found, one wholly missed; of 4 pixels, and of 1 in 4."""
    logits = torch.tensor([20.0] * 4 + [-20.0] * 4).view(2, 1, 2, 2)
    mask = torch.tensor([1.0] * 4 + [1.0, 0, 0, 0]).view(2, 1, 2, 2)
    bce = 20 / 8
    assert dice_bce(logits, mask, per_image=True).item() == pytest.approx(0.5 * bce + 0.5 * (0 + 1 - 1 / 2) / 2, abs=1e-5)
    assert dice_bce(logits, mask).item() == pytest.approx(0.5 * bce + 0.5 * (1 - 9 / 10), abs=1e-5)
    assert dice_bce(logits[:1], mask[:1], per_image=True) == dice_bce(logits[:1], mask[:1])


def test_smooth_is_a_fraction_of_the_pixels_summed_over():
    logits, mask = torch.zeros(2, 1, 2, 2), torch.tensor([1.0, 1, 0, 0, 0, 0, 0, 0]).view(2, 1, 2, 2)
    # p = 0.5 everywhere; e = 0.25 * 4 = 1 pixel of an image, 0.25 * 8 = 2 of the batch
    by_hand = {True: ((1 - (2 * 1 + 1) / (2 + 2 + 1)) + (1 - 1 / (2 + 0 + 1))) / 2, False: 1 - (2 * 1 + 2) / (4 + 2 + 2)}
    for per_image, expected in by_hand.items():
        assert dice_bce(logits, mask, per_image, smooth=0.25).item() == pytest.approx(0.5 * np.log(2) + 0.5 * expected)


def test_a_larger_smooth_lets_an_empty_image_pull_its_probabilities_down():
    """One image of 64 x 64 without an object, its probabilities small and of sum 20: one pixel pulls with 1/21^2, a fraction of 0.01, 41 pixels, harder."""
    pulls = []
    for smooth in (None, 0.01):
        logits = torch.full((1, 1, 64, 64), np.log(20 / 4096 / (1 - 20 / 4096)), dtype=torch.float64, requires_grad=True)
        e = 1 if smooth is None else smooth * 4096
        dice_bce(logits, torch.zeros_like(logits), per_image=True, smooth=smooth).backward()
        probability = 20 / 4096
        slope = probability * (1 - probability)
        assert logits.grad[0, 0, 0, 0].item() == pytest.approx(0.5 * probability / 4096 + 0.5 * slope * e / (20 + e) ** 2)
        pulls.append(logits.grad.sum().item())
    assert pulls[1] > 3 * pulls[0]


@pytest.mark.parametrize("smooth", [0, -0.1, 1, 2])
def test_smooth_must_be_a_fraction(smooth):
    with pytest.raises(ValueError, match=f"^smooth: {smooth} is no fraction of an image's pixels; give a number above 0"):
        EHANetLoss(smooth=smooth)


def output(dtype=torch.float32, edge=True):
    torch.manual_seed(0)
    maps = [torch.randn(2, 1, 8, 8).to(dtype) for _ in range(5)]
    edges = torch.randn(2, 2, 8, 8).to(dtype)
    return SegmentationOutput(maps[4], maps[:4], edges.softmax(dim=1) if edge else None, edges if edge else None)


def test_ehanet_loss_adds_edge_and_five_regions_with_weight_one():
    mask = (torch.arange(128).view(2, 1, 8, 8) % 3 == 0).float()
    edge_label = (torch.arange(128).view(2, 1, 8, 8) % 5 == 0).float()
    out = output()
    loss = EHANetLoss()(out, mask, edge_label)
    assert torch.stack(loss.regions).tolist() == [dice_bce(z, mask).item() for z in (*out.sides, out.logits)]
    assert loss.edge.item() == pytest.approx(lovasz_softmax(out.edge, edge_label).item(), abs=1e-6)
    assert loss.total.item() == pytest.approx(loss.edge.item() + sum(x.item() for x in loss.regions), abs=1e-5)


def test_per_image_and_smooth_reach_the_region_terms_alone():
    mask, out = (torch.arange(128).view(2, 1, 8, 8) < 70).float(), output()
    loss, pooled = EHANetLoss(per_image=True, smooth=0.1)(out, mask, mask), EHANetLoss()(out, mask, mask)
    assert torch.stack(loss.regions).tolist() == [dice_bce(z, mask, per_image=True, smooth=0.1).item() for z in (*out.sides, out.logits)] != torch.stack(pooled.regions).tolist()
    assert loss.edge == pooled.edge


def test_loss_without_an_edge_branch():
    mask = torch.ones(2, 1, 8, 8)
    loss = EHANetLoss()(output(edge=False), mask)
    assert loss.edge is None and loss.total == torch.stack(loss.regions).sum()
    with pytest.raises(ValueError, match="give edge_label"):
        EHANetLoss()(output(), mask)


def test_edge_losses_of_the_ablation():
    """Two pixels, edge probability 3/4 and 1/4, the first one an edge; Lovasz by its definition."""
    logits = torch.tensor([[0.0, 0.0], [np.log(3), -np.log(3)]]).view(1, 2, 1, 2).float()
    label, mask = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2), torch.zeros(1, 1, 1, 2)
    out = SegmentationOutput(torch.zeros(1, 1, 1, 2), [], logits.softmax(dim=1), logits)
    expected = {"bce": -np.log(0.75), "dice": 1 - (2 * 0.75 + 1) / (1 + 1 + 1),
                "lovasz": lovasz_by_definition(logits.softmax(dim=1).numpy(), label[0].numpy())}
    for name, value in expected.items():
        assert EHANetLoss(edge_loss=name)(out, mask, label).edge.item() == pytest.approx(value, abs=1e-6), name


def test_losses_of_rivals_as_their_authors_train_them():
    """Two pixels, probability 3/4 and 1/4, the first one an object."""
    mask = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    out = SegmentationOutput(torch.tensor([np.log(3), -np.log(3)]).view(1, 1, 1, 2).float(), [], None, None)
    bce, dice = -np.log(0.75), 1 - (2 * 0.75 + 1) / (1 + 1 + 1)
    squared = 1 - 2 * 0.75 / (0.75 ** 2 + 0.25 ** 2 + 1)  # the same for object and background
    expected = {"canet": bce, "resunetpp": dice, "resunetpp-wide": dice, "hiformer-b": 0.4 * bce + 0.6 * squared,
                "unet": 0.5 * bce + 0.5 * dice, "resunet": 0.5 * bce + 0.5 * dice}
    for name, value in expected.items():
        assert build_loss(name)(out, mask).total.item() == pytest.approx(value, abs=1e-5), name
    out = SegmentationOutput(torch.full((1, 1, 1, 2), np.log(3)).float(), [], None, None)  # both 3/4: object and background differ
    dice = (1 - 2 * 0.75 / (2 * 0.75 ** 2 + 1) + 1 - 2 * 0.25 / (2 * 0.25 ** 2 + 1)) / 2
    assert HiFormerLoss()(out, mask).total.item() == pytest.approx(0.4 * -np.log(0.75 * 0.25) / 2 + 0.6 * dice, abs=1e-5)


def test_half_precision_outputs_are_scored_in_float32():
    mask = torch.ones(2, 1, 8, 8)
    assert EHANetLoss()(output(torch.bfloat16), mask, mask).total.dtype == torch.float32
    for loss in (LogitLoss, HiFormerLoss):
        assert loss()(output(torch.bfloat16), mask).total.dtype == torch.float32


def test_both_channels_have_the_gradient_of_their_class():
    """Of softmax probabilities as leaves: half of the class's own, since the loss is the mean over two classes."""
    foreground = torch.tensor([[0.9, 0.2, 0.6, 0.4]]).view(1, 2, 2)
    probabilities = torch.stack([1 - foreground, foreground], dim=1).requires_grad_()
    labels = torch.tensor([[1, 0, 0, 1]]).view(1, 2, 2)
    lovasz_softmax(probabilities, labels).backward()
    background, object_ = probabilities.grad.unbind(1)
    assert torch.allclose(background, -object_) and object_.abs().sum() == pytest.approx(0.5)


def test_an_edge_label_of_another_shape_is_refused_and_one_without_channel_taken():
    torch.manual_seed(0)
    out = SegmentationOutput(torch.randn(1, 1, 8, 4), [], edge_logits=torch.randn(1, 2, 8, 4))
    mask = torch.ones(1, 1, 8, 4)
    mask[..., 2:] = 0
    with pytest.raises(ValueError, match=r"give edge_label \(1, 1, 8, 4\), got \(1, 1, 4, 8\)"):
        EHANetLoss()(out, mask, mask.transpose(2, 3))
    assert EHANetLoss()(out, mask, mask[:, 0]).total == EHANetLoss()(out, mask, mask).total
