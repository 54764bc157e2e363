"""Which kernels multiply matrices: those that the processor can run, and not those of its name.

numpy's and scipy's OpenBLAS asks for the processor's name, and takes the kernels of 2013 where it
does not know it. So it is for AMD's with AVX-512, in OpenBLAS 0.3.23 and 0.3.30: 99 GFLOP/s in
float32 on one core, and 163 by the kernels below, with which a private step of `cnn1d` is three
times as fast. It reads its environment when it is loaded, so each package's door asks for them.
"""

import os
from pathlib import Path

ASKED = "OPENBLAS_CORETYPE"
KERNELS = "SkylakeX"
NEEDED = frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl", "fma", "avx2"})
MOST_READ = 1 << 14  # of a file that tells the same of each core


def ask(told_by: Path = Path("/proc/cpuinfo")) -> None:
    """Have OpenBLAS take `KERNELS` where it would not know better; what a user asked for stands."""
    if ASKED in os.environ:
        return
    try:
        with told_by.open(encoding="ascii", errors="replace") as file:
            told = file.read(MOST_READ)
    except OSError:  # no Linux: nothing is known
        return
    flags = next((line for line in told.splitlines() if line.startswith("flags")), "")
    if "AuthenticAMD" in told and set(flags.split()) >= NEEDED:
        os.environ[ASKED] = KERNELS
