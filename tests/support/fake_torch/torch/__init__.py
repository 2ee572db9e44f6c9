"""As much of torch as the worker touches. On CUDA a device has a clock of its own: a product takes 2mnk / 1 TFLOP/s.

FAKE_TORCH (words) changes it: no_cuda, no_graphs, no_fp8, no_memory.
"""

import contextlib
import math
import os

_SAYS = os.environ.get("FAKE_TORCH", "").split()
_SIZES = {"float32": 4, "float16": 2, "bfloat16": 2, "float8_e4m3fn": 1, "int8": 1}
__version__ = "9.9.9"


class Kind:
    def __init__(self, name):
        self.itemsize = _SIZES[name]
        self.is_floating_point = name != "int8"


float32, float16, bfloat16, float8_e4m3fn, int8 = map(Kind, _SIZES)


class Tensor:
    def __init__(self, shape, kind=float32):
        self.shape, self.kind = tuple(shape), kind

    def __mul__(self, _scale):
        return self

    def __getitem__(self, part):
        assert len(range(*part.indices(self.numel()))) == part.stop, "more than was drawn"
        return Tensor([part.stop], self.kind)

    def __iter__(self):
        return iter([Tensor(self.shape[1:], self.kind)] * self.shape[0])

    def to(self, kind):
        return Tensor(self.shape, kind)

    def repeat(self, times):
        return Tensor([self.numel() * times], self.kind)

    def view(self, shape):
        assert math.prod(shape) == self.numel()
        return Tensor(shape, self.kind)

    def t(self):
        return Tensor(self.shape[::-1], self.kind)

    def clone(self):
        cuda.copies += 1
        return self

    def numel(self):
        return math.prod(self.shape)

    def element_size(self):
        return self.kind.itemsize


def set_grad_enabled(_on):
    assert _on is False


def randn(size, device):
    assert device in {"cpu", "cuda"}
    return Tensor([size])


def set_num_threads(count):
    assert count == int(os.environ["OMP_NUM_THREADS"])


def ones(*shape, device="cpu", dtype=float32):
    return Mask(shape) if dtype is bool else Tensor([1])


class Mask(tuple):
    """Rows and keys; the last row sees the last key."""

    def tril(self, before):
        rows, seen = self
        assert before == seen - rows
        return tuple(self)


def empty(shape, dtype, device):
    if "no_memory" in _SAYS:
        raise RuntimeError("CUDA out of memory.\nTried to allocate 9 GiB")
    return Tensor(shape, dtype)


def mm(left, right, out=None):
    (m, k), (of_right, n) = left.shape, right.shape
    assert k == of_right
    assert left.kind is right.kind
    assert out is None or out.shape == (m, n)
    cuda.work(2e-12 * m * n * k)


def _int_mm(left, right):
    if left.shape[0] <= 16:
        raise RuntimeError("self.size(0) needs to be greater than 16, but got 16")
    mm(left, right)


def _scaled_mm(left, right, scale_a, scale_b, out_dtype):
    assert out_dtype is bfloat16
    mm(left, right)


class _Cuda:
    """The device: `now` is its clock, `captured` the seconds of what a graph holds while one is captured."""

    now, captured, copies = 0.0, None, 0

    def work(self, seconds):
        if self.captured is None:
            self.now += seconds
        else:
            self.captured += seconds

    def is_available(self):
        return "no_cuda" not in _SAYS

    def get_device_properties(self, _number):
        return type("Properties", (), {"L2_cache_size": 2**20})()

    def get_device_capability(self, _number):
        return (8, 0) if "no_fp8" in _SAYS else (9, 0)

    def get_device_name(self, _number):
        return "NVIDIA H200"

    def synchronize(self):
        assert self.captured is None

    def current_stream(self):
        return self.Stream()

    class Stream:
        def wait_stream(self, _other):
            pass

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at = cuda.now

        def synchronize(self):
            pass

        def elapsed_time(self, end):
            return (end.at - self.at) * 1e3

    class CUDAGraph:
        def replay(self):
            cuda.now += self.seconds

    def stream(self, _stream):
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def graph(self, graph):
        if "no_graphs" in _SAYS:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.captured = 0.0
        yield
        graph.seconds, self.captured = self.captured, None


def __getattr__(name):
    """torch.bool, which would hide the builtin here."""
    return {"bool": bool}[name]


cuda = _Cuda()
version = type("Version", (), {"cuda": "13.0"})
cudnn = type("Cudnn", (), {"version": staticmethod(lambda: 91000)})
cpu = type("Cpu", (), {"get_cpu_capability": staticmethod(lambda: "AVX512")})
backends = type("Backends", (), {"cudnn": cudnn, "cpu": cpu})
