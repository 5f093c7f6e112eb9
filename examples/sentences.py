"""Sentences of one to more than fifty words, and pairs of them to compare."""

PAIRS = [
    ("A man is playing a guitar on stage.", "Someone performs music with a string instrument."),
    ("The cat sleeps on the warm windowsill.", "A kitten is napping in the sun by the window."),
    ("How do I reset my password?", "I cannot remember my login and need a new one."),
    ("The stock market fell sharply on Monday.", "Shares dropped at the start of the week."),
    ("Boil the pasta for nine minutes.", "Cook the noodles until they are done."),
    ("The train to Vienna leaves at noon.", "Photosynthesis turns light into sugar."),
    ("She planted tulips in the garden last autumn.", "The compiler reports an unused variable."),
    ("It will rain tomorrow in the mountains.", "Tomorrow's forecast: showers at higher altitudes."),
    (
        (
            "The committee, after a long debate that lasted well into the night, decided to postpone the vote until "
            "the members had read the full report."
        ),
        "Because nobody had finished the report, the decision was put off.",
    ),
    (
        (
            "Although the bridge had been closed to traffic for most of the winter, the engineers found, when they "
            "came back in spring with new instruments and rather more patience, that the cracks which had worried them "
            "so much were only in the paint, and that the steel below was as sound as on the day it had been put there."
        ),
        "The bridge turned out to be safe.",
    ),
]

OTHERS = [
    "Hello!",
    "Yes.",
    "Mill",
    "Water turns the wheel.",
    "The miller grinds wheat, rye and barley.",
    "Bread needs flour, water, salt and time.",
    "He wrote 1,024 lines before breakfast.",
    "¿Dónde está la biblioteca?",
    "Der Zug hat zehn Minuten Verspätung.",
    "E = mc² is the most famous equation in physics.",
    "Turn left at the church, then go straight on for two kilometres.",
    "A neural network is a composition of simple functions with many parameters.",
    "Please send the signed contract back to us by Friday at the latest.",
    "The museum is closed on Mondays, except when Monday is a public holiday.",
    "Whales are mammals; sharks are fish.",
    "In 1969 two people walked on the Moon.",
]

ALL = [sentence for pair in PAIRS for sentence in pair] + OTHERS
