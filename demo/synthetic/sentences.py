"""Made-up English sentences from a small grammar, varied enough to use all sounds of the language."""

from __future__ import annotations

import numpy as np

SUBJECTS = (
    "my brother", "the old captain", "every child", "our neighbour", "a quiet woman", "the whole village",
    "nobody here", "the young doctor", "your friend", "the blue ship", "a good teacher", "the morning train",
    "this machine", "the river", "everyone", "the baker", "a famous painter", "the tall engineer", "we", "they",
    "she", "he", "I", "you", "the children", "the people of this town", "my favourite aunt", "the judge",
    "a small group of tourists", "the music",
)  # fmt: skip
VERBS = (
    "could open", "would always remember", "might follow", "never found", "really enjoyed", "should measure",
    "will choose", "had already painted", "wanted to move", "was looking for", "used to visit", "thought about",
    "can usually hear", "just bought", "gave away", "began to answer", "forgot", "would rather keep",
    "hoped to join", "is going to build", "may have broken", "shouted about", "laughed at", "pushed over",
    "whispered about", "threw away", "borrowed",
)  # fmt: skip
OBJECTS = (
    "the big wooden door", "five oranges", "a beautiful garden", "the wrong answer", "more than a hundred books",
    "the voice on the radio", "a loaf of warm bread", "the road to the mountains", "that funny hat",
    "a pair of shoes", "the cheese and the milk", "a bottle of water", "the most important question",
    "an enormous elephant", "the yellow house", "some vegetable soup", "a photograph of the moon",
    "the first page of the paper", "a very long story", "two cups of tea", "the weather report", "a pile of papers",
    "the usual joke", "an apple pie", "the church bell", "a job in the city", "the mouth of the river",
    "the new film", "a piece of chalk", "my father's watch", "the vision of a better world",
)  # fmt: skip
ENDINGS = (
    "before breakfast", "in the middle of the night", "after the show", "without any help", "on the way home",
    "last Wednesday", "at half past four", "near the harbour", "for a good reason", "all summer long",
    "with both hands", "because of the rain", "while the others were asleep", "under the bridge",
    "once upon a time", "from the top of the hill", "as soon as possible", "in front of the window",
    "above the shop", "this afternoon", "and nobody knew why", "even though it was cold", "",
)  # fmt: skip
OPENERS = (
    "Well", "However", "Of course", "By the way", "Perhaps", "As you know", "To be honest", "Suddenly", "Oh", "Yes",
    "No", "In those days", "Believe me", "Thank you", "Good morning", "Look", "Now", "Wow", "Hello everybody",
    "Maybe",
)  # fmt: skip
QUESTIONS = (
    "do you know where", "can you tell me how", "who said that", "have you heard that", "why do you believe that",
    "is it true that", "what would happen if", "did you notice when",
)  # fmt: skip


def random_phrase(rng: np.random.Generator) -> str:
    """One sentence, or a short exclamation."""
    kind = rng.random()
    opener = OPENERS[rng.integers(len(OPENERS))]
    if kind < 0.08:
        return f"{opener}!"
    subject, verb = SUBJECTS[rng.integers(len(SUBJECTS))], VERBS[rng.integers(len(VERBS))]
    thing, ending = OBJECTS[rng.integers(len(OBJECTS))], ENDINGS[rng.integers(len(ENDINGS))]
    clause = f"{subject} {verb} {thing} {ending}".strip()
    if kind < 0.25:
        return f"{QUESTIONS[rng.integers(len(QUESTIONS))]} {clause}?"
    if kind < 0.45:
        return f"{opener}, {clause}."
    if kind < 0.55:
        return f"{', '.join(str(v) for v in rng.integers(1, 100, 3))}, and {clause}."
    return f"{clause}."
