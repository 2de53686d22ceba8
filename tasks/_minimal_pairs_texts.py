"""The project's own minimal pairs: sentences of eight independent attributes, four languages, prose and code.

Words are in two halves. The first are for texts on which latents are matched, the second for pairs, so that a latent of
one word is no latent of the attribute.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from saebench_lite.tasks._minimal_pairs_sample import Attribute, Sample

T = TypeVar("T")

SUBJECTS = {
    "person": (
        ("teacher", "nurse", "farmer", "lawyer", "sailor", "painter"),
        ("doctor", "singer", "soldier", "baker", "pilot", "student"),
    ),
    "animal": (("dog", "horse", "cat", "goat", "rabbit", "lion"), ("cow", "bear", "duck", "tiger", "bird", "donkey")),
}
VERBS = (
    (("cross", "crossed"), ("watch", "watched"), ("visit", "visited"), ("reach", "reached")),
    (("follow", "followed"), ("enter", "entered"), ("leave", "left"), ("find", "found")),
)
JUDGED = {
    "good": (("lovely", "wonderful", "pleasant", "charming"), ("beautiful", "delightful", "magnificent", "splendid")),
    "bad": (("awful", "horrible", "dreadful", "nasty"), ("ugly", "terrible", "disgusting", "miserable")),
}
OBJECTS = (("bridge", "garden", "field", "market"), ("house", "valley", "road", "tower"))
SPELT = (
    (("harbour", "harbor"), ("theatre", "theater"), ("neighbour", "neighbor"), ("armoured car", "armored car")),
    (("centre", "center"), ("colourful wall", "colorful wall"), ("grey door", "gray door"), ("plough", "plow")),
)
RELATIVES = (("friend", "sister", "uncle"), ("brother", "cousin", "aunt"))
NUMBERS = (
    (("2", "two"), ("3", "three"), ("5", "five"), ("9", "nine")),
    (("4", "four"), ("6", "six"), ("7", "seven"), ("8", "eight")),
)
SENTENCE = (
    Attribute("tense", ("past", "future")),
    Attribute("negation", ("affirmed", "negated")),
    Attribute("sentiment", ("good", "bad")),
    Attribute("entity type", ("person", "animal")),
    Attribute("number", ("singular", "plural")),
    Attribute("spelling", ("British", "American")),
    Attribute("gender", ("his", "her")),
    Attribute("numerals", ("digits", "words")),
)
LANGUAGES = Attribute("language", ("English", "French", "German", "Spanish"))
TRANSLATED = (
    (
        "The house is near the river.",
        "La maison est près de la rivière.",
        "Das Haus liegt am Fluss.",
        "La casa está cerca del río.",
    ),
    (
        "My brother reads the newspaper.",
        "Mon frère lit le journal.",
        "Mein Bruder liest die Zeitung.",
        "Mi hermano lee el periódico.",
    ),
    ("It is very cold today.", "Il fait très froid aujourd'hui.", "Heute ist es sehr kalt.", "Hoy hace mucho frío."),
    (
        "We eat bread and cheese.",
        "Nous mangeons du pain et du fromage.",
        "Wir essen Brot und Käse.",
        "Comemos pan y queso.",
    ),
    (
        "The train leaves in the morning.",
        "Le train part le matin.",
        "Der Zug fährt am Morgen ab.",
        "El tren sale por la mañana.",
    ),
    (
        "She works in a hospital.",
        "Elle travaille dans un hôpital.",
        "Sie arbeitet in einem Krankenhaus.",
        "Ella trabaja en un hospital.",
    ),
    (
        "The children play in the garden.",
        "Les enfants jouent dans le jardin.",
        "Die Kinder spielen im Garten.",
        "Los niños juegan en el jardín.",
    ),
    (
        "I do not know the answer.",
        "Je ne connais pas la réponse.",
        "Ich kenne die Antwort nicht.",
        "No sé la respuesta.",
    ),
    ("The window is open.", "La fenêtre est ouverte.", "Das Fenster ist offen.", "La ventana está abierta."),
    (
        "They bought a new car.",
        "Ils ont acheté une nouvelle voiture.",
        "Sie haben ein neues Auto gekauft.",
        "Compraron un coche nuevo.",
    ),
    (
        "The city has many bridges.",
        "La ville a beaucoup de ponts.",
        "Die Stadt hat viele Brücken.",
        "La ciudad tiene muchos puentes.",
    ),
    (
        "He writes a letter to his mother.",
        "Il écrit une lettre à sa mère.",
        "Er schreibt seiner Mutter einen Brief.",
        "Él escribe una carta a su madre.",
    ),
    ("The soup is too hot.", "La soupe est trop chaude.", "Die Suppe ist zu heiß.", "La sopa está demasiado caliente."),
    (
        "Winter begins in December.",
        "L'hiver commence en décembre.",
        "Der Winter beginnt im Dezember.",
        "El invierno comienza en diciembre.",
    ),
    (
        "Our school is old and small.",
        "Notre école est vieille et petite.",
        "Unsere Schule ist alt und klein.",
        "Nuestra escuela es vieja y pequeña.",
    ),
    (
        "The sea is calm this evening.",
        "La mer est calme ce soir.",
        "Das Meer ist heute Abend ruhig.",
        "El mar está tranquilo esta noche.",
    ),
)
CODE = Attribute("code", ("prose", "code"))
WRITTEN = (
    ("Add the price to the total.", "total += price"),
    ("Count the words of the line.", "n = len(line.split())"),
    ("Print the name of the file.", "print(file.name)"),
    ("Stop if the list is empty.", "if not items: return None"),
    ("Open the file and read it.", "text = open(path).read()"),
    ("Sort the names by length.", "names.sort(key=len)"),
    ("Take the largest of the numbers.", "largest = max(numbers)"),
    ("Go through the rows of the table.", "for row in table.rows:"),
    ("Square every number of the list.", "squares = [x * x for x in numbers]"),
    ("Import the library for dates.", "import datetime as dt"),
    ("Remove the last element.", "del items[-1]"),
    ("Join the words with commas.", 'line = ", ".join(words)'),
    ("Raise an error if the key is missing.", "raise KeyError(key)"),
    ("Return the sum of both sides.", "return left + right"),
    ("Wait until the job is done.", "while not job.done(): sleep(1)"),
    ("Define a class for the user.", "class User(Base): pass"),
)


def own_sample(match_texts: int, pairs: int, draw: np.random.Generator) -> Sample:
    """Texts and pairs of the project's ten attributes.

    Args:
        match_texts: sentences on which latents are matched; the small families are taken whole.
        pairs: of each attribute, at most.
        draw: chooses values and words.
    """
    sample = Sample((*SENTENCE, LANGUAGES, CODE))
    for _ in range(match_texts):
        values = draw.integers(0, 2, len(SENTENCE))
        sample.to_match(sentence(values, 0, draw.random(9)), _labels(values, 0))
    for place in range(len(SENTENCE)):
        for _ in range(pairs):
            values, words = draw.integers(0, 2, len(SENTENCE)), draw.random(9)
            other = values.copy()
            other[place] = 1 - values[place]
            both = ((sentence(v, 1, words), _labels(v, 0)) for v in (values, other))
            sample.pair(*both)
    for family, place in ((TRANSLATED, len(SENTENCE)), (WRITTEN, len(SENTENCE) + 1)):
        _add_family(sample, family, place, pairs, draw)
    return sample


def sentence(values: np.ndarray, half: int, words: np.ndarray) -> str:
    """The sentence of eight attribute values.

    Args:
        values: 0 or 1 for each attribute of `SENTENCE`. [8]
        half: 0: words for matching, 1: words for pairs.
        words: numbers from 0 to 1 that choose the words; the same ones choose the same words. [9]
    """
    tense, negation, sentiment, entity, number, spelling, gender, numerals = values.tolist()
    pick = iter(words.tolist())

    def choose(options: tuple[T, ...]) -> T:
        return options[int(next(pick) * len(options))]

    subject = choose(SUBJECTS[SENTENCE[3].values[entity]][half]) + ("s" if number else "")
    plain, past = choose(VERBS[half])
    verb = {(0, 0): past, (0, 1): f"did not {plain}", (1, 0): f"will {plain}", (1, 1): f"will not {plain}"}
    judged = choose(JUDGED[SENTENCE[2].values[sentiment]][half])
    place, spelt = choose(OBJECTS[half]), choose(SPELT[half])[spelling]
    relative, hour = choose(RELATIVES[half]), choose(NUMBERS[half])[numerals]
    scene = f"The {subject} {verb[tense, negation]} the {judged} {place} near the {spelt}"
    return f"{scene} with {('his', 'her')[gender]} {relative} at {hour} o'clock."


def _labels(values: np.ndarray, start: int) -> dict[int, int]:
    return {start + i: int(v) for i, v in enumerate(values)}


def _add_family(
    sample: Sample, family: tuple[tuple[str, ...], ...], place: int, pairs: int, draw: np.random.Generator
) -> None:
    """Adds sentences that are the same in all values of one attribute: every other one for matching, the rest as pairs.

    Args:
        sample: gets them.
        family: a sentence in each value, a row each.
        place: of the attribute.
        pairs: at most.
        draw: orders them.
    """
    for row in family[::2]:
        for value, text in enumerate(row):
            sample.to_match(text, {place: value})
    swaps = [(row, a, b) for row in family[1::2] for a in range(len(row)) for b in range(a)]
    for i in draw.permutation(len(swaps))[:pairs]:
        row, a, b = swaps[i]
        sample.pair((row[a], {place: a}), (row[b], {place: b}))
