"""What the machine is asked for (params.yaml: compute)."""

from dataclasses import dataclass
from typing import Annotated

from polychrome.declare import Rule, Section


@dataclass(frozen=True, kw_only=True)
class ComputeSettings(Section):
    """Threads, dtype, kernels and memory."""

    dtype: Annotated[
        str,
        Rule("auto is bfloat16 where CPU (AMX, AVX512-BF16) or GPU has it", choices=("auto", "float32", "bfloat16")),
    ]
    threads: Annotated[int, Rule("CPU threads; part of what makes results repeat to the byte", minimum=1)]
    kernels: Annotated[
        str,
        Rule(
            "auto compiles them where there is a C compiler, which is faster on a CPU",
            choices=("compiled", "torch", "auto"),
        ),
    ]
    memory_mib: Annotated[
        int,
        Rule(
            "MiB; each for rows decoded side by side, what sampling leaves to training, and a backward pass",
            minimum=64,
        ),
    ]
    sampler: Annotated[
        str,
        Rule("vllm draws replies in a server, from `make vllm` or elsewhere; docs/scale.md", choices=("local", "vllm")),
    ]
    sampler_url: Annotated[
        str,
        Rule(
            'of a vLLM server elsewhere; "" starts one here',
            pattern=r"|https?://[^\s/@]+(/\S*)?",
            words='"" or http(s)://host:port',
        ),
    ]
