"""What a run extracts: the features of its backbones and the embeddings of its teacher."""

from __future__ import annotations

import attrs

from ..data.dataset import Dataset
from ..features.reader import StoredEmbeddings, StoredFeatures
from ..spec.requirements import backbone_labels, needed_backbones, needs_teacher
from ..stages.keys import stored_embeddings, stored_features
from ..stages.run import Run
from ..store.stage_id import Stage, StageId
from ..system.shards import Shard


@attrs.frozen
class Extraction:
    """The stage that computes the features of one backbone or the embeddings of the teacher."""

    id: StageId
    stored: StoredFeatures | StoredEmbeddings

    @property
    def key(self) -> str:
        """The content key, with which the folder's name ends."""
        return self.stored.folder.name.rpartition("-")[2]


def backbone_extractions(run: Run) -> tuple[Extraction, ...]:
    """Return the features that the policy or a baseline of the run needs."""
    needed = stored_features(run, needed_backbones(run.spec))
    return tuple(Extraction(StageId(Stage.EXTRACT, stored.label), stored) for stored in needed)


def extractions(run: Run) -> tuple[Extraction, ...]:
    """Return the features and embeddings that the run needs."""
    backbones = backbone_extractions(run)
    if not needs_teacher(run.spec):
        return backbones
    embeddings = stored_embeddings(run)
    return (*backbones, Extraction(StageId(Stage.TEACHER, embeddings.label), embeddings))


def unneeded_extractions(run: Run) -> tuple[StageId, ...]:
    """Return the backbones of the spec whose features no policy of the run needs."""
    needed = {extraction.id for extraction in backbone_extractions(run)}
    ids = (StageId(Stage.EXTRACT, label) for label in backbone_labels(run.spec.backbone))
    return tuple(id for id in ids if id not in needed)


def encode(run: Run, stored: StoredFeatures | StoredEmbeddings, data: Dataset, shard: Shard) -> int:
    """Encode the missing episodes of a shard; return the frames that this process encoded."""
    from ..stages import extract

    if isinstance(stored, StoredFeatures):
        return extract.extract_features(run, stored, data, shard=shard)
    return extract.extract_embeddings(run, stored, data, shard=shard)
