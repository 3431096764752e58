# SPDX-License-Identifier: Apache-2.0
"""Writes questions that training never saw, for `tessera eval`: make_suites.py FOLDER [CASES]

FOLDER/tiny.jsonl has the short tasks; recall.jsonl asks for a word named up to 300 .. 16,000 tokens earlier."""
import json
import os
import random
import sys

import tasks
from documents import Documents
from tokenizer import Tokenizer
from words import NAMES, POOL

SEED = 99
LENGTHS = (300, 2000, 8000, 16000)
KEYS = 16  # words named in a text
ASKED = 5  # of them


def short_questions(cases):
    for name, make in tasks.SHORT.items():
        rng = random.Random(f"{SEED}/{name}")
        for _ in range(cases):
            e = make(rng, True)
            yield {"task": name, "problem": e.question, "answer": e.answer}
    rng = random.Random(f"{SEED}/tool")
    tools = [{"type": "function", "function": json.loads(tasks.CALCULATOR)}]
    for _ in range(cases):
        e = tasks.tool(rng, True)
        yield {"task": "tool", "problem": e.question, "tools": tools,
               "call": {"name": "calculator", "arguments": {"expression": e.answer}}}


def haystack(rng, sizes, length, keys):
    """Runs [first, count] of sentences with `sizes` tokens, about `length` in all, around the needles `keys`."""
    cuts = sorted(rng.randrange(length) for _ in keys)
    text = []
    for key, size in zip(keys + [None], (b - a for a, b in zip([0] + cuts, cuts + [length]))):
        while size > 0:
            first = rng.randrange(len(sizes))
            end = first
            while end < len(sizes) and size > 0:
                size -= sizes[end]
                end += 1
            text.append([first, end - first])
        text += [key] if key else []
    return text


def recall_questions(tokenizer, cases):
    rng = random.Random(f"{SEED}/sentences")
    sentences = [Documents.sentence(rng) for _ in range(3000)]
    yield {"sentences": sentences}
    sizes = [len(tokenizer.encode(" " + s)) for s in sentences]
    for length in LENGTHS:
        rng = random.Random(f"{SEED}/recall/{length}")
        for _ in range(cases // ASKED):
            names = rng.sample(NAMES, min(KEYS, length // 40))
            values = [rng.choice(POOL) for _ in names]
            needles = [tasks.NEEDLE.format(n=n, v=v) for n, v in zip(names, values)]
            text = haystack(rng, sizes, length - 40 - 8 * len(needles), needles)
            asked = [tasks.needle_question(rng, True, names[k], values[k])
                     for k in rng.sample(range(len(names)), ASKED)]
            yield {"task": f"recall-{length}", "text": text, "questions": [[e.question, e.answer] for e in asked]}


def write(path, lines):
    with open(path, "w") as file:
        for line in lines:
            file.write(json.dumps(line) + "\n")


def main(folder, cases=500):
    os.makedirs(folder, exist_ok=True)
    write(f"{folder}/tiny.jsonl", short_questions(int(cases)))
    tokenizer = Tokenizer(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../models/tiny/tokenizer.json"))
    write(f"{folder}/recall.jsonl", recall_questions(tokenizer, int(cases)))


if __name__ == "__main__":
    main(*sys.argv[1:])
