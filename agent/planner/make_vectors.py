"""Write the exemplars' vectors beside them, so that the first answer needn't wait for them.

    python -m agent.planner.make_vectors

A vector is kept by the digest of its sentence; a sentence without one is encoded when it is first needed.
"""

import numpy as np
from safetensors.numpy import save

from agent.planner.meaning import VECTORS, digest_of, exemplars
from agent.planner.sentence_encoder import encode, encoder_name
from trainer_core.errors import ConfigError
from trainer_core.files import replacing


def main() -> None:
    """Encode every exemplar and write them in 8 bits with a scale each, which changes no score visibly."""
    texts = {digest_of(exemplar.text): exemplar.text for exemplar in exemplars()}
    vectors = encode(list(texts.values()))
    if vectors is None:
        raise ConfigError("The sentence encoder is not installed.", "Install this package's dependencies.")
    described = {"encoder": encoder_name(), "digests": " ".join(texts)}
    scales = np.abs(vectors).max(axis=1, keepdims=True) / np.iinfo(np.int8).max
    stored = {"vectors": np.rint(vectors / scales).astype(np.int8), "scales": scales.astype(np.float32)}
    with replacing(VECTORS) as path:
        path.write_bytes(save(stored, described))


if __name__ == "__main__":
    main()
