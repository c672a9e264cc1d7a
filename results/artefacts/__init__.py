"""Tables and figures of a finished run, one function each: the paper's, and ours."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
