"""A base model that fits no single device: each process holds a part of every layer, by FSDP2 (`fully_shard`).

A layer is gathered when it computes and let go afterwards; the embedding, the head and the adapters, which are small,
are whole everywhere. So optimiser, checkpoints and saved adapters are those of an unsharded run. Only Accelerate's
launcher and device are used, not its own FSDP2: it refuses a CPU, and would cut adapters and head as well.

Gathering takes all processes, and they do not compute equally often: one samples longer replies, another has no post.
So outside of training passes, whose number is evened, each pass is announced, and whoever waits goes along with it.
"""

from itertools import chain
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from polychrome.engine.scoring import CompletionScorer
from polychrome.engine.stack import bare
from polychrome.errors import bad


class Shards:
    """The layers of ``policy``, shared out over all processes; the rest of it is moved to ``device``.

    Raises InputError for a model whose layers transformers does not name.
    """

    def __init__(self, policy: Any, device: torch.device):
        inner = bare(policy)
        layers = [module for module in inner.modules() if type(module).__name__ in (inner._no_split_modules or ())]
        if not layers:
            found, remedy = f"true, for {inner.config.model_type}", "Set it to false, or name another base model."
            raise bad("params.yaml:compute.shard", found, "a model whose layers transformers names", remedy)
        adapters = {tensor for name, tensor in policy.named_parameters() if "lora_" in name}
        mesh = init_device_mesh(device.type, (dist.get_world_size(),))
        for layer in layers:  # one after another: a device never holds more than one of them whole
            fully_shard(layer.to(device), mesh=mesh, reshard_after_forward=True, ignored_params=adapters)
        for tensor in chain(policy.parameters(), policy.buffers()):
            if type(tensor.data) is Tensor:  # what is not in parts
                tensor.data = tensor.data.to(device)
        self.decoder, self.device, self.going_along = inner.base_model, device, False
        self.decoder.register_forward_pre_hook(self._announce)
        inner.in_shards = True

    def wrapped(self, scorer: CompletionScorer) -> DistributedDataParallel:
        """``scorer`` with the gradients of adapters averaged over processes, and of nothing else."""
        tensors = chain(scorer.named_parameters(), scorer.named_buffers())
        others = [name for name, tensor in tensors if not tensor.requires_grad]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(scorer, others)
        return DistributedDataParallel(scorer)

    def wait(self) -> None:
        """Go along with the passes of other processes, until all of them wait."""
        one = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        while self._computing(0):
            self.going_along = True
            try:
                with torch.no_grad():
                    self.decoder(input_ids=one, use_cache=False)
            finally:
                self.going_along = False

    def _announce(self, *_: Any) -> None:
        if not torch.is_grad_enabled() and not self.going_along:
            self._computing(1)

    def _computing(self, own: int) -> bool:
        """Whether any process is about to make a pass; all are asked at the same time."""
        count = torch.tensor(own, device=self.device)
        dist.all_reduce(count)
        return bool(count)
