"""The concept texts written for this project: 12 topics, each of 9 subtopics; a text is of one topic at most.

Every topic and every subtopic is a concept of its own against all other texts of the one corpus, so the hard negatives
of a subtopic are its siblings. The concepts are not independent draws: those of one topic share texts and vocabulary.
"""

from __future__ import annotations

import numpy as np

from saebench_lite.bundled import concept_texts
from saebench_lite.data.types import Corpus, Data, Labelled, Source
from saebench_lite.sources._patterns import chosen_names

TEST_EVERY = 3
"Of so many successive texts below one heading the last is for testing."
TOPICS = "topics"
"The `where` that means the topics without their subtopics."


def load(where: str, limit: int | None) -> Data:
    """Topics, then subtopics (TOPIC/SUBTOPIC); the first `limit` of those asked for.

    `where`: comma-separated names or patterns ("animals,animals/*") for probing and for detection, "topics" for the
    topics alone. If empty, detection has all of them and probing the topics: a subtopic has too few training texts for
    a probe of many latents, and such probes are what costs most.
    """
    topics = concept_texts()
    texts: list[str] = []
    kinds: list[tuple[str, str]] = []
    part: list[str] = []
    for topic, sections in topics.items():
        for subtopic, lines in sections.items():
            texts += lines
            kinds += [(topic, subtopic)] * len(lines)
            part += ["test" if i % TEST_EVERY == TEST_EVERY - 1 else "train" for i in range(len(lines))]
    corpus, rows, parts = Corpus("bundled", tuple(texts)), np.arange(len(texts)), np.array(part)
    member = {topic: np.array([t == topic for t, _ in kinds]) for topic in topics}
    for topic, sections in topics.items():
        for subtopic in filter(None, sections):
            member[f"{topic}/{subtopic}"] = np.array([kind == (topic, subtopic) for kind in kinds])
    names = list(topics) if where == TOPICS else chosen_names(where, list(member), "bundled")
    concepts = tuple(Labelled(name, corpus, rows, member[name], parts) for name in names[:limit])
    probed = concepts if where else tuple(c for c in concepts if c.name in topics)
    return Data("bundled", datasets=probed, concepts=concepts, texts=(corpus,))


SOURCE = Source(
    description="12 topics and their 108 subtopics (which are not independent), 3,059 texts written for this project,"
    " shipped with it; probing reads the topics unless where names others: topics, or names or patterns,"
    " e.g. law,animals/*",
    load=load,
)
