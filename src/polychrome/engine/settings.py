"""What the machine is asked for (params.yaml: compute)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from polychrome.declare import Rule, Section
from polychrome.errors import Problem


@dataclass(frozen=True, kw_only=True)
class ComputeSettings(Section):
    """Threads, dtype, kernels, memory, and processes that train together."""

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
    processes: Annotated[
        int, Rule("processes that train one model together; each has a GPU of its own where there are any", minimum=1)
    ]
    shard: Annotated[
        bool,
        Rule("true or false; true has each hold a part of the base model's layers, for one that fits no GPU"),
    ]

    def disagreements(self) -> Iterator[Problem]:
        """A base model that is shared out needs processes, and layers that transformers computes."""
        if self.shard and self.processes == 1:
            yield Problem("shard", "true, and processes: 1", "two processes at least", "Raise processes.")
        if self.shard and self.kernels == "compiled":
            found, remedy = "true, and kernels: compiled", "Set kernels: auto; a sharded base is computed by PyTorch."
            yield Problem("shard", found, "kernels: auto or torch", remedy)
