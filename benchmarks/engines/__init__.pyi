from .engine import Engine as Engine
from .engine import EngineError as EngineError
from .engine import compile_engine as compile_engine
from .engine import torch_engine as torch_engine
from .graphs import onnxruntime_engine as onnxruntime_engine
from .graphs import openvino_engine as openvino_engine
from .views import LabelView as LabelView
from .views import ScoreView as ScoreView
