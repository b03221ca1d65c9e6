"""A method of one's own: what `make paper SET='plugins=[notebooks/my_method.py]'` needs to give it a row in every table."""

from torch import nn

from ehanet import register


@register("my-net")
class MyNet(nn.Sequential):
    def __init__(self, width: int = 16):
        layers = [nn.Conv2d(3, width, 1)]
        for dilation in (1, 2, 4, 8, 16):
            layers += [nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation), nn.BatchNorm2d(width), nn.ReLU()]
        super().__init__(*layers, nn.Conv2d(width, 1, 1))
