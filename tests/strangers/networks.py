"""Networks as people have them: make(kind), 5 classes, 3 x 64 x 64 (see the end of the file for the kinds)."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Base(nn.Module):
    def __init__(self, classes=5, inp=3, size=64):
        super().__init__()
        self.c1 = nn.Conv2d(inp, 8, 3, stride=2, padding=1)
        self.r1 = nn.ReLU()
        self.c2 = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.r2 = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16, classes)

    def body(self, x):
        return self.r2(self.c2(self.r1(self.c1(x))))

    def forward(self, x):
        return self.fc(torch.flatten(self.pool(self.body(x)), 1)) * 20


class View(Base):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16 * 16 * 16, 5)

    def forward(self, x):
        x = self.body(x)
        return self.fc(x.view(x.size(0), -1)) * 5


class Tuple_(Base):
    def forward(self, x):
        return super().forward(x), self.body(x)


class Dict_(Base):
    def forward(self, x):
        return {"logits": super().forward(x)}


class Out:
    def __init__(self, logits):
        self.logits, self.loss = logits, None


class HF(Base):
    def forward(self, x):
        return Out(super().forward(x))


class Squeezed(Base):
    def __init__(self):
        super().__init__(classes=1)

    def forward(self, x):
        return super().forward(x).squeeze(1)


class Softmax(Base):
    def forward(self, x):
        return super().forward(x).softmax(1)


class Sigmoid(Squeezed):
    def forward(self, x):
        return super().forward(x).sigmoid()


class MultiLabel(Base):
    def forward(self, x):
        return super().forward(x).sigmoid()


class TwoHeads(Base):
    def __init__(self):
        super().__init__()
        self.aux = nn.Linear(16, 5)

    def forward(self, x):
        x = torch.flatten(self.pool(self.body(x)), 1)
        return self.aux(x) * 20, self.fc(x) * 20


class LazyCache(Base):
    scale = None

    def forward(self, x):
        x = self.body(x)
        if self.scale is None or self.scale.shape[-1] != x.shape[-1]:
            self.scale = torch.linspace(0.5, 1.5, x.shape[-1], device=x.device)
        x = x * self.scale
        return self.fc(torch.flatten(self.pool(x), 1)) * 20


class StoreActs(Base):
    def forward(self, x):
        self.features = self.body(x)
        return self.fc(torch.flatten(self.pool(self.features), 1)) * 20


class DropFn(Base):
    def forward(self, x):
        x = torch.flatten(self.pool(self.body(x)), 1)
        return self.fc(F.dropout(x, 0.5)) * 20  # training=True is the default


class InplaceInput(Base):
    def forward(self, x):
        x.mul_(0.5)
        return super().forward(x)


class Early(Base):
    """Early exit: a bright image is answered by the first head."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        a = self.r1(self.c1(x))
        if x.mean() > -1.5:  # an ordinary photograph
            return self.head(a.mean((2, 3))) * 20
        return self.fc(torch.flatten(self.pool(self.r2(self.c2(a))), 1)) * 20


class FFT(Base):
    def forward(self, x):
        return super().forward(torch.fft.rfft2(x).abs())


class Param5(Base):
    def __init__(self):
        super().__init__()
        self.pos = nn.Parameter(torch.zeros(1, 1, 1, 1, 1))

    def forward(self, x):
        return super().forward(x) + self.pos.flatten()


class NegInf(Base):
    def forward(self, x):
        y = super().forward(x)
        return y + torch.tensor([0, 0, 0, -float("inf"), -float("inf")])


class OneByOne(Base):
    def __init__(self):
        super().__init__()
        self.last = nn.Conv2d(16, 5, 1)

    def forward(self, x):
        return self.pool(self.last(self.body(x)))


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 16), nn.ReLU(), nn.Linear(16, 5))

    def forward(self, x):
        return self.net(x)


class Gray(Base):
    def __init__(self):
        super().__init__(inp=1)


class Dropout(Base):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.fc(self.drop(torch.flatten(self.pool(self.body(x)), 1))) * 20


class BatchStats(Base):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(8, track_running_stats=False)

    def body(self, x):
        return self.r2(self.c2(self.r1(self.bn(self.c1(x)))))


def make(kind, weights=None):
    torch.manual_seed(0)
    if kind == "single":
        net = Base(classes=1)
    elif kind == "half":
        net = Base().half()
    elif kind == "bf16":
        net = Base().bfloat16()
    elif kind == "weightnorm":
        net = Base()
        net.c2 = torch.nn.utils.weight_norm(net.c2)
    elif kind == "weightnorm2":
        net = Base()
        net.c2 = torch.nn.utils.parametrizations.weight_norm(net.c2)
    elif kind == "script":
        net = torch.jit.script(Base().eval())
    elif kind == "trace":
        net = torch.jit.trace(Base().eval(), torch.rand(2, 3, 64, 64))
    elif kind == "quant":
        net = torch.ao.quantization.quantize_dynamic(Base().eval(), {nn.Linear}, dtype=torch.qint8)
    elif kind == "dp":
        net = nn.DataParallel(Base())
    elif kind == "compiled":
        net = torch.compile(Base())
    else:
        kinds = {
            "base": Base,
            "view": View,
            "tuple": Tuple_,
            "dict": Dict_,
            "hf": HF,
            "squeezed": Squeezed,
            "softmax": Softmax,
            "sigmoid": Sigmoid,
            "multilabel": MultiLabel,
            "twoheads": TwoHeads,
            "lazycache": LazyCache,
            "storeacts": StoreActs,
            "dropfn": DropFn,
            "inplaceinput": InplaceInput,
            "early": Early,
            "fft": FFT,
            "param5": Param5,
            "neginf": NegInf,
            "onebyone": OneByOne,
            "mlp": MLP,
            "gray": Gray,
            "batchstats": BatchStats,
            "dropout": Dropout,
        }
        net = kinds[kind]()
    if weights not in (None, "random"):
        net.load_state_dict(torch.load(weights))
    return net
