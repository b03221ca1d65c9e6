"""The compared methods: cost against the specification, any input size, outputs, gradients, losses, encoders."""

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ehanet.data.edges import edge_labels
from ehanet.devices import forward_pass, place
from ehanet.losses import StructureLoss, lovasz_softmax, structure_loss
from ehanet.models import build_loss, build_model, hiformer, list_models
from ehanet.models.registry import method
from ehanet.recipe import freeze
from ehanet.models.controls import Control, dilate_last_level
from ehanet.models.encoders import build_encoder
from ehanet.models.pranet import ReverseAttention

# Used parameters and GMAC of the originals at 256 x 256 (HiFormer-B: 224), tolerances 0.5 % and 3 %; None: not given.
COST = {
    "unet": (34.53e6, 65.4), "unet-32": (None, None), "resunet": (13.04e6, 71.2), "resunetpp": (4.06e6, 15.8),
    "resunetpp-wide": (14.48e6, 70.8), "pranet": (30_498_319, 6.88), "cfanet": (25_238_958, 28.87),
    "canet": (24_120_673, 23.59), "hiformer-b": (25.51e6, 8.05), "lanet": (5_483_642, 2.96),
    "mobilevit-unet": (None, 4.84), "mobilevit-unetpp": (None, 9.47), "mobilevit-fpn": (None, 4.06),
    "mobilevit-deeplabv3plus": (None, 3.09), "resnet34-unet": (None, 7.81),
}
MODELS = [name for name in list_models() if method(name).build.__module__.startswith("ehanet.")]  # not those of other test files
SIDES = {"pranet": 3, "cfanet": 2}
FREE_ENCODER = ["lanet", "pranet", "cfanet", "mobilevit-unet", "mobilevit-unetpp", "mobilevit-fpn", "mobilevit-deeplabv3plus"]


def outputs(out) -> list[torch.Tensor]:
    return [out.logits, *out.sides, *([] if out.edge is None else [out.edge, out.edge_logits])]


def test_every_method_of_the_comparison_is_registered():
    assert {"ehanet", *COST} == set(MODELS)


@pytest.mark.parametrize("name", COST)
def test_cost(name):
    size = 224 if name == "hiformer-b" else 256
    with torch.device("meta"):  # shapes alone: nothing is computed
        model, image = build_model(name).eval(), torch.rand(1, 3, size, size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    parameters, gmac = COST[name]
    assert parameters is None or sum(p.numel() for p in model.parameters()) == pytest.approx(parameters, rel=0.005)
    assert gmac is None or counter.get_total_flops() / 2e9 == pytest.approx(gmac, rel=0.03)


def test_half_the_width_is_a_quarter_of_the_cost():
    full, half = (sum(p.numel() for p in build_model(name).parameters()) for name in ("unet", "unet-32"))
    assert half == pytest.approx(full / 4, rel=0.01)


@pytest.mark.parametrize("name", COST)
def test_one_network_of_each(name, tmp_path):
    """Any size, output types, gradients in two precisions, saving and loading: one test, since building costs most."""
    torch.manual_seed(0)
    model = build_model(name).train()
    mask = torch.zeros(2, 1, 40, 40)
    mask[:, :, 6:20, 10:25] = 1
    for precision in (torch.float32, torch.bfloat16):
        model.zero_grad(set_to_none=True)
        out = forward_pass(place(model, torch.device("cpu"), precision), torch.rand(2, 3, 40, 40), precision)
        build_loss(name)(out, mask, mask).total.backward()
        unused = [parameter for parameter, value in model.named_parameters() if value.grad is None]
        assert not unused, f"no gradient in {precision}"
        assert all(value.grad.isfinite().all() for value in model.parameters()), precision

    model.eval()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    again = place(build_model(name), torch.device("cpu"), precision).eval()
    again.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    for height, width in [(32, 32), (33, 47), (64, 96)]:
        images = torch.rand(1, 3, height, width)
        with torch.no_grad():
            out = model(images)
            if width == 47:
                assert all(torch.equal(one, other) for one, other in zip(outputs(out), outputs(again(images)), strict=True))
        assert all(logit.shape == (1, 1, height, width) for logit in (out.logits, *out.sides))
        assert len(out.sides) == SIDES.get(name, 0)
        assert (out.edge is None) == (out.edge_logits is None) == (name != "cfanet")
        if out.edge is not None:
            assert out.edge.shape == out.edge_logits.shape == (1, 2, height, width)
            assert torch.allclose(out.edge.sum(dim=1), torch.ones(1, height, width))
            assert not out.edge_logits[:, 0].any() and torch.allclose(out.edge[:, 1:], out.edge_logits[:, 1:].sigmoid())
    assert not any(isinstance(m, (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)) for m in model.modules())
    for images, error in [(torch.rand(3, 64, 64), ValueError), (torch.rand(1, 1, 64, 64), ValueError),
                          (torch.rand(1, 3, 64, 31), ValueError), (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), TypeError)]:
        with pytest.raises(error, match="^images: ") as raised:
            model(images)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"))])
def test_a_training_step_of_the_main_network_in_bfloat16(device):
    """Forward in bfloat16, losses in float32, close to the step in full precision; every parameter has a finite gradient."""
    torch.manual_seed(0)
    model = build_model("ehanet").to(device).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # the two steps see the same network
    images, mask = torch.rand(2, 3, 32, 32, device=device), torch.zeros(2, 1, 32, 32, device=device)
    mask[:, :, 6:20, 10:25] = 1
    totals = []
    for precision in (torch.float32, torch.bfloat16):
        model.zero_grad(set_to_none=True)
        with torch.autocast(device, precision, enabled=precision == torch.bfloat16):
            out = model(images)
        assert out.logits.dtype == precision and len(out.sides) == 4
        terms = build_loss("ehanet")(out, mask, edge_labels(mask))
        assert terms.total.dtype == torch.float32
        terms.total.backward()
        assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters()), precision
        totals.append(terms.total.item())
    assert totals[1] == pytest.approx(totals[0], rel=0.02)


def test_deviations_from_the_papers_are_noted():
    assert method("unet").note == method("unet-32").note and "nearest upsampling" in method("unet").note
    assert "identities" in method("resunet").note and "BCE" in method("pranet").note == method("cfanet").note
    assert not any("\n" in method(name).note or ". " in method(name).note for name in MODELS), "a clause in brackets behind the title"


@pytest.mark.parametrize("name", FREE_ENCODER)
def test_other_encoders(name):
    model = build_model(name, encoder="resnet18").eval()
    assert model.encoder.channels == [64, 64, 128, 256, 512]
    with torch.no_grad():
        assert model(torch.rand(1, 3, 40, 72)).logits.shape == (1, 1, 40, 72)


@pytest.mark.parametrize("name", ["lanet", "mobilevit-unet", "mobilevit-deeplabv3plus"])
def test_imagenet_mobilenet(name, shared):
    weights = shared / "weights" / "mobilenetv1_100.imagenet.safetensors"
    model = build_model(name, encoder="mobilenetv1_100", encoder_weights=weights).eval()
    assert model.encoder.initialisation == weights.name
    rebuilt = build_model(name, encoder=model.encoder.name).eval()  # as a checkpoint is restored: without the file
    rebuilt.load_state_dict(model.state_dict())
    image = torch.rand(1, 3, 48, 64)
    with torch.no_grad():
        assert torch.equal(model(image).logits, rebuilt(image).logits)


def test_deeplab_works_on_a_last_level_at_stride_16():
    model = Control("deeplabv3plus", "mobilevit_s").eval()
    with torch.no_grad():
        sizes = [level.shape[-1] for level in model.encoder(torch.rand(1, 3, 64, 64))]
    assert sizes == [32, 16, 8, 4, 4]


@pytest.mark.parametrize("name, pooling", [("resnet18d", "layer4.0.downsample.0"), ("res2net50d", "layer4.0.pool"), ("densenet121", "transition3.pool")])
def test_a_last_level_that_pools_is_dilated(name, pooling):
    """Side by side windows of 2 x 2 are left out, overlapping ones of 3 x 3 stay and move by one pixel; the level before it does as before."""
    encoder = build_encoder(name).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = encoder(image)
        dilate_last_level(encoder)
        after = encoder(image)
    assert [level.shape[-1] for level in after] == [32, 16, 8, 4, 4]
    assert all(torch.equal(old, new) for old, new in zip(before[:4], after[:4]))
    pool = next(layer for path, layer in encoder.named_modules() if path.endswith(pooling))
    x = torch.rand(1, 4, 6, 6)
    window = torch.nn.functional.avg_pool2d(x, 3, 1, 1) if name == "res2net50d" else x
    assert torch.allclose(pool(x), window)


def test_an_encoder_that_cannot_be_dilated():
    with pytest.raises(ValueError, match="'resnetblur18': its last stage cannot be dilated") as raised:
        dilate_last_level(build_encoder("resnetblur18"))
    assert "\n" not in str(raised.value)


def test_unknown_decoder_and_options():
    with pytest.raises(ValueError, match="unknown decoder 'pspnet'; known: unet, unetpp, fpn, deeplabv3plus"):
        Control("pspnet")
    with pytest.raises(ValueError, match="model 'unet' has no option 'encoder'; its options: none"):
        build_model("unet", encoder="resnet18")
    with pytest.raises(ValueError, match="model 'lanet' has no option 'efa'; its options: encoder, encoder_weights"):
        build_model("lanet", efa=False)


def test_no_swin_weights_without_a_network(monkeypatch):
    monkeypatch.setattr(hiformer.timm, "create_model", lambda *a, **k: (_ for _ in ()).throw(OSError("offline")))
    with pytest.raises(ValueError, match="could not be loaded .*pretrained=False") as raised:
        build_model("hiformer-b", pretrained=True)
    assert "\n" not in str(raised.value)


def test_position_embeddings_are_resized_with_the_image():
    position = torch.arange(17.0).view(1, 17, 1)
    resized = hiformer._resized
    assert resized(position, torch.Size([4, 4])) is position
    half = resized(position, torch.Size([2, 2]))  # each value the mean of a 2 x 2 block; the class token as it was
    assert half.flatten().tolist() == [0.0, 3.5, 5.5, 11.5, 13.5]


def test_reverse_attention_looks_where_the_upper_map_does_not():
    torch.manual_seed(0)
    block = ReverseAttention(8, 4, kernel=3, layers=2, last=3).eval()
    x = torch.rand(1, 8, 6, 6)
    sure = torch.full((1, 1, 6, 6), 40.0)  # the upper map is certain everywhere: nothing is left to see
    assert torch.equal(block(x, sure), block(torch.rand(1, 8, 6, 6), sure))
    assert not torch.equal(block(x, -sure), block(torch.rand(1, 8, 6, 6), -sure))
    nn.init.zeros_(block.head[1].weight)
    assert torch.equal(block(x, -sure), -sure)  # a refinement of zero leaves the upper map


def naive_structure_loss(logits: np.ndarray, mask: np.ndarray) -> float:
    """PraNet's loss pixel by pixel, with the weights in both parts as the authors' code computes it."""
    height, width = mask.shape
    probability = 1 / (1 + np.exp(-logits))
    bce = -(mask * np.log(probability) + (1 - mask) * np.log(1 - probability)).mean()
    weighted_bce = intersection = union = total = 0.0
    for i in range(height):
        for j in range(width):
            window = mask[max(0, i - 15):i + 16, max(0, j - 15):j + 16]
            weight = 1 + 5 * abs(window.sum() / 31**2 - mask[i, j])
            weighted_bce, total = weighted_bce + weight * bce, total + weight
            intersection += weight * probability[i, j] * mask[i, j]
            union += weight * (probability[i, j] + mask[i, j])
    return weighted_bce / total + 1 - (intersection + 1) / (union - intersection + 1)


def test_structure_loss_against_loops():
    generator = np.random.default_rng(0)
    logits, mask = generator.normal(size=(2, 20, 37)), (generator.random((2, 20, 37)) > 0.6).astype(float)
    expected = np.mean([naive_structure_loss(one, truth) for one, truth in zip(logits, mask)])
    assert structure_loss(torch.tensor(logits)[:, None], torch.tensor(mask)[:, None]).item() == pytest.approx(expected, rel=1e-9)
    with pytest.raises(ValueError, match="differ in shape"):
        structure_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 5))


def test_structure_loss_object_sums_maps_and_boundary():
    out = build_model("cfanet").eval()(torch.rand(1, 3, 32, 32))
    mask = (torch.rand(1, 1, 32, 32) > 0.5).float()
    terms = StructureLoss()(out, mask, 1 - mask)
    maps = [structure_loss(logits, mask) for logits in (*out.sides, out.logits)]
    boundary = -((1 - mask) * out.edge[:, 1:].log() + mask * out.edge[:, :1].log()).mean()
    assert torch.allclose(torch.stack(terms.regions), torch.stack(maps)) and len(maps) == 3
    assert torch.allclose(terms.edge, boundary, atol=1e-5) and torch.allclose(terms.total, sum(maps) + boundary, atol=1e-5)
    with pytest.raises(ValueError, match="give edge_label"):
        StructureLoss()(out, mask)
    assert StructureLoss()(out._replace(edge=None, edge_logits=None), mask).edge is None


def test_lanet_trains_with_lovasz_softmax_alone():
    out = build_model("lanet").eval()(torch.rand(2, 3, 32, 32))
    mask = (torch.rand(2, 1, 32, 32) > 0.5).float()
    terms = build_loss("lanet")(out, mask, None)
    two_channels = torch.cat([torch.zeros_like(out.logits), out.logits], dim=1).softmax(dim=1)
    assert torch.allclose(terms.total, lovasz_softmax(two_channels, mask)) and terms.edge is None


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_eight_images_are_learned_by_heart(name):
    from ehanet.data.phantoms import make_phantom
    from ehanet.metrics.regions import dice_per_image

    torch.manual_seed(0)
    phantom = make_phantom("phantom-polyp", 64, seed=0)
    images = torch.from_numpy(phantom[0][:8]).permute(0, 3, 1, 2) / 255
    masks = torch.from_numpy(phantom[1][:8])[:, None].float()
    edges = torch.nn.functional.max_pool2d(masks, 3, 1, 1) + torch.nn.functional.max_pool2d(-masks, 3, 1, 1)
    model, loss = build_model(name), build_loss(name)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    best = 0.0
    for step in range(1, 401):
        loss(model.train()(images), masks, edges).total.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 20 == 0:
            with torch.no_grad():
                predicted = model.eval()(images).logits.sigmoid()
            best = max(best, dice_per_image(predicted[:, 0].numpy(), masks[:, 0].numpy() > 0).mean())
            if best > 0.95:
                return
    pytest.fail(f"Dice {best:.3f} after 400 steps")


def test_layers_without_imagenet_weights_are_never_frozen_with_the_backbones():
    model = build_model("hiformer-b")
    assert freeze(model.encoder, "always", "timm ImageNet weights")
    assert all(parameter.requires_grad for parameter in model.to_swin.parameters()) and not any(p.requires_grad for p in model.encoder.parameters())


def test_mobilevits_expansion_comes_from_the_file_and_is_frozen_with_the_encoder(tmp_path):
    torch.manual_seed(4)
    state = timm.create_model("mobilevit_s").state_dict()
    torch.save(state, tmp_path / "mobilevit_s.pth")
    model = build_model("mobilevit-unet", encoder_weights=tmp_path / "mobilevit_s.pth")
    assert torch.equal(model.encoder.expansion.conv.weight, state["final_conv.conv.weight"])
    freeze(model.encoder, "always", "a file")
    assert not model.encoder.expansion.conv.weight.requires_grad
    torch.save({key: value for key, value in state.items() if not key.startswith("final_conv")}, tmp_path / "short.pth")
    with pytest.raises(ValueError, match="short.pth: no tensor 'conv.weight' .*not a file for .mobilevit_s's final_conv"):
        build_model("mobilevit-unet", encoder_weights=tmp_path / "short.pth")


def test_further_maps_of_an_encoder_are_passed_over():
    with torch.no_grad():
        maps = build_encoder("darknet17")(torch.rand(1, 3, 64, 64))
    assert [feature.shape[-1] for feature in maps] == [32, 16, 8, 4, 2]
