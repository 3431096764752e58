# SPDX-License-Identifier: Apache-2.0
"""Writes questions that training never saw, for `tessera eval`: make_suites.py FOLDER [CASES]

FOLDER/tiny.jsonl has the short tasks; recall-N.jsonl ask for a word named up to N tokens earlier."""
import json
import os
import random
import sys

import tasks
from documents import Documents
from tokenizer import Tokenizer

SEED = 99
LENGTHS = (300, 2000, 8000, 16000)


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


def recall_questions(documents, length, cases):
    rng = random.Random(f"{SEED}/recall/{length}")
    for _ in range(cases):
        text, e = documents.recall_question(rng, length)
        yield {"task": f"recall-{length}", "problem": text, "answer": e.answer}


def write(path, lines):
    with open(path, "w") as file:
        for line in lines:
            file.write(json.dumps(line) + "\n")


def main(folder, cases=500):
    os.makedirs(folder, exist_ok=True)
    write(f"{folder}/tiny.jsonl", short_questions(int(cases)))
    tokenizer = Tokenizer(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../models/tiny/tokenizer.json"))
    documents = Documents(tokenizer, {"recall": 1})
    for length in LENGTHS:
        write(f"{folder}/recall-{length}.jsonl", recall_questions(documents, length, int(cases)))


if __name__ == "__main__":
    main(*sys.argv[1:])
