"""SGLang's scheduler without its kernels: modules of its wheel that need a GPU, or are not installed, become empty."""

from __future__ import annotations

import ast
import enum
import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_SCHEDULER = {
    "sglang", "sglang.srt", "sglang.srt.managers", "sglang.srt.mem_cache", "sglang.srt.environ",
    "sglang.srt.managers.scheduler", "sglang.srt.managers.schedule_policy", "sglang.srt.managers.schedule_batch",
    "sglang.srt.managers.scheduler_output_processor_mixin", "sglang.srt.mem_cache.radix_cache",
    "sglang.srt.mem_cache.chunk_cache", "sglang.srt.mem_cache.common", "sglang.srt.mem_cache.allocator",
    "sglang.srt.mem_cache.base_prefix_cache", "sglang.srt.mem_cache.evict_policy",
    "sglang.srt.mem_cache.cache_init_params",
}  # fmt: skip
_INSTALLED = ("torch", "numpy", "triton")


class _Empty(type):
    """A class of which every attribute is one more; as a decorator it leaves things alone."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing

    def __or__(cls, other: Any) -> type:
        return object

    __ror__ = __or__

    def __getitem__(cls, key: Any) -> type:
        return cls

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls.__init__ is not object.__init__:
            return super().__call__(*args, **kwargs)
        return args[0] if len(args) == 1 and not kwargs and callable(args[0]) else super().__call__()


class Nothing(metaclass=_Empty):
    """False, empty, and callable for ever."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return args[0] if len(args) == 1 and not kwargs and callable(args[0]) else Nothing()

    def __enter__(self) -> Nothing:
        return self

    def __exit__(self, *_: object) -> bool:
        return False

    def __bool__(self) -> bool:
        return type(self).__module__ != __name__

    def __ge__(self, other: Any) -> bool:
        return False


class _EmptyModule(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = sys.modules.get(f"{self.__name__}.{name}") or _Empty(name, (Nothing,), {"__module__": __name__})
        setattr(self, name, found)
        return found


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds empty modules: those of SGLang that do not schedule first, or at last all that nobody else has found."""

    def __init__(self, of_sglang: bool) -> None:
        self._of_sglang = of_sglang

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        top = name.partition(".")[0]
        if name in _SCHEDULER or (self._of_sglang and top != "sglang"):
            return None
        if not self._of_sglang and (top in _INSTALLED or top in sys.stdlib_module_names or top.startswith("_")):
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = _EmptyModule(spec.name)
        module.__path__ = []
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def prepare(wheel: Path) -> None:
    """Let `sglang` be imported from an unpacked wheel."""
    for name in ("sglang", "sglang.srt", "sglang.srt.managers", "sglang.srt.mem_cache"):
        package = _EmptyModule(name)
        package.__path__ = [str(wheel / name.replace(".", "/"))]
        sys.modules[name] = package
    sys.meta_path.insert(0, _Finder(of_sglang=True))
    sys.meta_path.append(_Finder(of_sglang=False))
    _take(wheel, "sglang.srt.model_executor.forward_batch_info", "ForwardMode")
    _take(wheel, "sglang.srt.disaggregation.utils", "DisaggregationMode")


def _take(wheel: Path, module: str, name: str) -> None:
    """Put one class of a module's source into the empty module."""
    path = wheel / f"{module.replace('.', '/')}.py"
    space: dict[str, Any] = {"IntEnum": enum.IntEnum, "Enum": enum.Enum, "auto": enum.auto}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            exec(compile(ast.Module([node], []), str(path), "exec"), space)
    setattr(importlib.import_module(module), name, space[name])


class Rows:
    """Where each request's tokens are."""

    def __init__(self, torch: Any, size: int, longest: int) -> None:
        self.device, self.free_slots = "cpu", list(range(size))
        self.req_to_token = torch.zeros((size, longest), dtype=torch.int32)

    def write(self, places: Any, values: Any) -> None:
        self.req_to_token[places] = values.to(self.req_to_token.dtype)

    def available_size(self) -> int:
        return len(self.free_slots)

    def alloc(self, reqs: list[Any]) -> list[int]:
        for request in reqs:
            if request.req_pool_idx is None:
                request.req_pool_idx = self.free_slots.pop(0)
        return [request.req_pool_idx for request in reqs]

    def free(self, request: Any) -> None:
        self.free_slots.append(request.req_pool_idx)
        request.req_pool_idx = None


class Sampling:
    """No penalties."""

    def __init__(self, *_: Any) -> None:
        self.penalizer_orchestrator = SimpleNamespace(is_required=False)

    from_schedule_batch = classmethod(lambda cls, *_, **__: cls())
    merge_batch = filter_batch = lambda *_: None


def paged(pages: Any, torch: Any) -> type:
    """SGLang's allocator of pages with plain loops for its two kernels."""

    class Paged(pages.PagedTokenToKVPoolAllocator):
        def alloc_extend(self, starts: Any, starts_cpu: Any, ends: Any, ends_cpu: Any, last: Any, count: int) -> Any:
            new, out = new_pages(ends_cpu, self.page_size, starts_cpu), torch.empty((count,), dtype=torch.int64)
            if new > len(self.free_pages):
                return None
            pages.alloc_extend_naive(starts, ends, last, self.free_pages, out, self.page_size, "cpu")
            self.free_pages = self.free_pages[new:]
            return out

        def alloc_decode(self, ends: Any, ends_cpu: Any, last: Any) -> Any:
            new = new_pages(ends_cpu, self.page_size, decode=True)
            if new > len(self.free_pages):
                return None
            taken = iter((self.free_pages[:new] * self.page_size).tolist())
            pairs = zip(ends.tolist(), last.tolist(), strict=True)
            found = [next(taken) if end % self.page_size == 1 else place + 1 for end, place in pairs]
            self.free_pages = self.free_pages[new:]
            return torch.tensor(found)

    return Paged


def new_pages(seq_lens: Any, page_size: int, prefix_lens: Any = None, decode: bool = False) -> int:
    """Pages that sequences of these lengths begin."""
    if decode:
        return int((seq_lens % page_size == 1).int().sum())
    return int(((seq_lens + page_size - 1) // page_size - (prefix_lens + page_size - 1) // page_size).sum())
