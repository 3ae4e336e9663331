"""What a policy computed while it sampled, kept so that training on those samples need not compute it again.

A step of GRPO forwards its completions three times: token by token while sampling, under the reference, and under the
policy for the gradient. The first and the third are the same function at the same weights. So the outputs of every
projection, which are nearly all of the arithmetic, are kept as they come, and the third pass takes them from here: it
only joins them (norms, rotations, attention, activations), which is what its backward pass needs.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from polychrome.engine.packing import Packed
from polychrome.engine.stack import TRUNK, Stack


class Recording:
    """Outputs of the trunk and of the adapted layers' projections, a slot a token, in the order of forwarding."""

    def __init__(self, stack: Stack, prompts: Sequence[Sequence[int]], counts: Sequence[int], longest: int):
        device = stack.embed.weight.device
        self.first = [0, *accumulate(counts)]
        self.prompts: list[Tensor | None] = [None] * len(prompts)  # slots of each prompt
        self.completions = torch.zeros(self.first[-1], longest, dtype=torch.long, device=device)  # of each token
        self.used, self.now = 0, slice(0, 0)
        slots = sum(map(len, prompts)) + self.first[-1] * longest
        self.outputs = {
            key: [torch.empty(slots, width, dtype=stack.dtype, device=device) for width in widths]
            for key, widths in _widths(stack).items()
        }

    @staticmethod
    def mebibytes(stack: Stack, prompts: Sequence[Sequence[int]], counts: Sequence[int], longest: int) -> float:
        """What a recording of so many completions of at most ``longest`` tokens takes."""
        slots, a_token = sum(map(len, prompts)) + sum(counts) * longest, sum(map(sum, _widths(stack).values()))
        return slots * a_token * stack.dtype.itemsize / 2**20

    def expect_prompts(self, which: Sequence[int], packed: Packed) -> None:
        """The next forward pass is that of ``packed``, the prompts of requests ``which``."""
        self._expect(len(packed.input_ids))
        for request, own in zip(which, _whole_prompts(packed), strict=True):
            self.prompts[request] = own + self.now.start

    def expect_tokens(self, completions: Tensor, places: Tensor) -> None:
        """The next forward pass is that of the tokens at ``places`` of ``completions``, counted over all requests."""
        self._expect(len(completions))
        self.completions[completions, places] = torch.arange(self.now.start, self.now.stop, device=completions.device)

    def _expect(self, tokens: int) -> None:
        self.now = slice(self.used, self.used + tokens)
        self.used += tokens

    def write(self, layer: int, part: int, outputs: Sequence[Tensor]) -> None:
        """Keep ``outputs`` (n, width) of the tokens expected; those inside the trunk are let go."""
        if (layer, part) in self.outputs:
            for kept, output in zip(self.outputs[layer, part], outputs, strict=True):
                kept[self.now] = output

    def replay(self, requests: range, packed: Packed) -> "Replay":
        """What was kept for ``requests``, whose groups ``packed`` holds, in its order.

        It may share more among its prompts, or less, than the packs they were prefilled in. Where several prompts have
        kept what is one token in it, what the last has kept is taken.
        """
        packed = packed.to(self.completions.device)
        slots = torch.empty_like(packed.input_ids)
        for request, places in zip(requests, _whole_prompts(packed), strict=True):
            kept = self.prompts[request]
            if kept is None:
                raise ValueError(f"request {request} was not sampled with this recording")
            slots[places] = kept
        real, own = packed.is_completion, self.completions[self.first[requests.start] : self.first[requests.stop]]
        slots[packed.completions[real]] = own[:, : real.shape[1]][real]
        return Replay(self, slots, last=requests.stop == len(self.prompts))


def _widths(stack: Stack) -> dict[tuple[int, int], list[int]]:
    """Of what is kept of a token, by layer and part."""
    trunk = {(TRUNK, 0): [stack.hidden_size]} if stack.trunk_depth else {}
    own = enumerate(stack.layers[stack.trunk_depth :], stack.trunk_depth)
    return trunk | {(i, part): widths for i, layer in own for part, widths in enumerate(layer.widths)}


def _whole_prompts(packed: Packed) -> list[Tensor]:
    """Where the tokens of each prompt stand."""
    return [row[:length] for row, length in zip(packed.prompts, packed.prompt_lengths.tolist(), strict=True)]


class Replay:
    """A recording read in the order of a pack; the last of them lets the recording go as it is read."""

    def __init__(self, recording: Recording, slots: Tensor, *, last: bool):
        self.recording, self.slots, self.last = recording, slots, last

    def trunk(self) -> Tensor | None:
        """(T, hidden), what the layers below the adapters gave: the same under every adapter. None without such."""
        return self.read(TRUNK, 0)[0] if (TRUNK, 0) in self.recording.outputs else None

    def read(self, layer: int, part: int) -> list[Tensor]:
        """Outputs (T, width) of one part of one layer."""
        outputs = self.recording.outputs
        kept = outputs.pop((layer, part)) if self.last else outputs[layer, part]
        return [output.index_select(0, self.slots) for output in kept]
