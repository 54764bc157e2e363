"""Every ready net, in any arithmetic, as what an export asks of a run: a model and no data."""

import torch

from clients.models import Model
from clients.protocol import Form
from clients.training.net import Net, build
from server.export.answers import Answers

FORMS = {
    "perceptron": Form((8, 8), 10),
    "linear": Form((8, 8), 10),
    "convnet": Form((20, 20), 4),
    "strided": Form((12, 12), 4),
    "cnn1d": Form((3, 16), 4, "window"),
    "gru": Form((3, 6), 4, "window"),
    "lstm": Form((3, 6), 4, "window"),
    "attention": Form((3, 8), 4, "window"),
    "tabular": Form((7,), 3, "table", (1, 4, 2)),
    "ds-cnn": Form((12, 12), 4),
    "resnet8": Form((8, 8), 4),
    "mobilenet": Form((32, 32), 4),
    "autoencoder": Form((12,), 12, "table"),
}


class Asked:
    """A run that has a model and no data: what `to_onnx` and `to_torch` ask of one."""

    path = "a run"

    def __init__(self, name, numbers, num=9):
        torch.manual_seed(3)
        form = FORMS[name]
        net = build(
            Model(name=name, hidden=(6,), width=8 if name in ("gru", "lstm") else 0), form, numbers
        )
        for p in net.parameters():
            torch.nn.init.normal_(p, 0.0, 0.3)
        self.net = net.eval()
        x = torch.rand(num, *form.shape)
        outputs = Net(net, x.shape[1:], compiled=False).logits(x)
        self.answers = Answers(net, x, outputs, "")
