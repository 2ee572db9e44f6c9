"""What a table answers: seconds, how far to trust them, and where they come from, element by element."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.prediction import Floats

Codes = npt.NDArray[np.int8]

PROVENANCE = ("measured", "interpolated", "extrapolated", "roofline", "learned", "version_proxy")
"""Names of the codes: on a measured point, between some, beyond them, from an efficiency that ships with the product,
from a fit to the database, from the table of another version or engine."""
MEASURED, INTERPOLATED, EXTRAPOLATED, ROOFLINE, LEARNED, VERSION_PROXY = range(6)


@dataclass(frozen=True)
class Answer:
    """n answers: `latency_s` seconds, `rel_sd` the sd of log(true / latency), `code` a place in `PROVENANCE`."""

    latency_s: Floats
    rel_sd: Floats
    code: Codes

    def __len__(self) -> int:
        return len(self.latency_s)

    @property
    def provenance(self) -> list[str]:
        """The names of the codes, n."""
        return [PROVENANCE[code] for code in self.code.tolist()]
