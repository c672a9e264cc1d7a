"""Writes ONNX graphs and checkpoints as people have them to a folder: python graphs.py FOLDER."""

import sys
import warnings

import onnx
import torch
from networks import Base, make

warnings.simplefilter("ignore")
W = sys.argv[1].rstrip("/") + "/"


def ex(net, name, batch=True, size=64, x=None, outs=("logits",)):
    x = torch.rand(1, 3, size, size) if x is None else x
    ax = {"images": {0: "n"}} | {o: {0: "n"} for o in outs} if batch else None
    torch.onnx.export(net.eval(), (x,), W + name, dynamo=False, input_names=["images"], output_names=list(outs), dynamic_axes=ax)


ex(make("base"), "plain.onnx")
ex(make("base"), "fixed1.onnx", batch=False)
ex(make("softmax"), "softmax.onnx")
ex(make("onebyone"), "onebyone.onnx")


class Feat(Base):
    def forward(self, x):
        f = self.pool(self.body(x)).flatten(1)
        return f[:, :5] * 0 + 1.0, self.fc(f) * 20


torch.manual_seed(0)
ex(Feat(), "two_out.onnx", outs=("features", "logits"))


class NHWC(Base):
    def forward(self, x):
        return super().forward(x.permute(0, 3, 1, 2))


torch.manual_seed(0)
ex(NHWC(), "nhwc.onnx", x=torch.rand(1, 64, 64, 3))
ex(make("half"), "half.onnx", x=torch.rand(1, 3, 64, 64).half())


# labels first, then probabilities, as sklearn-like exporters do
class Lab(Base):
    def forward(self, x):
        y = super().forward(x)
        return y.argmax(1), y


torch.manual_seed(0)
ex(Lab(), "label_first.onnx", outs=("label", "logits"))
# external data: two nets of one shape, different weights
for seed, name in ((1, "ext_a"), (2, "ext_b")):
    torch.manual_seed(seed)
    ex(Base(), f"{name}_in.onnx")
    import os

    os.makedirs(W + name, exist_ok=True)
    m = onnx.load(W + f"{name}_in.onnx")
    onnx.save(
        m, W + f"{name}/net.onnx", save_as_external_data=True, all_tensors_to_one_file=True, location="net.onnx.data", size_threshold=0
    )
a, b = (open(W + f"ext_{c}/net.onnx", "rb").read() for c in "ab")
print("graph files equal:", a == b)
# weights
sd = Base().state_dict()
torch.manual_seed(3)
import torchvision

r = torchvision.models.resnet18(num_classes=10)
torch.save(r.state_dict(), W + "ten.pth")
r = torchvision.models.resnet18()
s = r.state_dict()
torch.save({"module." + k: v for k, v in s.items()}, W + "dp.pth")
torch.save({"model_state_dict": s, "epoch": 3}, W + "msd.pth")
torch.save({"model": s, "epoch": 3}, W + "model.pth")
torch.save({"state_dict": {"model." + k: v for k, v in s.items()}, "epoch": 3}, W + "lightning.pth")
torch.save(r, W + "whole.pth")
torch.save(s, W + "plain.pth")
