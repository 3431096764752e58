# SPDX-License-Identifier: Apache-2.0
"""Learns the tokenizer from questions and answers of every task: make_tokenizer.py FILE [SIZE]"""
import json
import random
import sys

import documents
import tasks
import tokenizer
import words


def texts(rng):
    for _ in range(40000):
        name = rng.choices(["add", "subtract", "sort", "reverse", "count", "paragraph"], [2, 2, 2, 1, 2, 6])[0]
        e = tasks.SHORT[name](rng, False)
        # Made-up words are no reason for a token: the frames of the questions are.
        yield from (e.question, e.answer if name == "paragraph" else "")
    for n in words.NAMES:
        for v in words.POOL:
            yield from (tasks.NEEDLE.format(n=n, v=v), rng.choice(tasks.ASK).format(n=n))
    for w in words.NAMES + words.POOL + words.CITIES + words.JOBS:
        yield (" " + w) * 900
    for _ in range(150):
        yield documents.TOOLS
    yield from (e for _ in range(2000) for e in [tasks.tool(rng, False).question])


def main(path, size=1024):
    data = tokenizer.train(texts(random.Random(11)), int(size))
    with open(path, "w", encoding="utf-8") as file:
        json.dump(data, file, ensure_ascii=False, indent=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
