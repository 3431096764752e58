# SPDX-License-Identifier: Apache-2.0
"""Conversations in the chat encoding, as token ids with the weight of each in the loss, packed into rows.

A row [S] holds several documents; each begins at a multiple of four tokens, so that no compressed entry mixes two."""
import random

import numpy as np

import tasks
from tokenizer import BOS, EOS, PAD
from words import NAMES, POOL

TOOLS = """

## Tools

You have access to a set of tools to help answer the user's question. You can invoke tools by writing a "<｜DSML｜tool_calls>" block like the following:

<｜DSML｜tool_calls>
<｜DSML｜invoke name="$TOOL_NAME">
<｜DSML｜parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</｜DSML｜parameter>
...
</｜DSML｜invoke>
<｜DSML｜invoke name="$TOOL_NAME2">
...
</｜DSML｜invoke>
</｜DSML｜tool_calls>

String parameters should be specified as is and set `string="true"`. For all other types (numbers, booleans, arrays, objects), pass the value in JSON format and set `string="false"`.

If thinking_mode is enabled (triggered by <think>), you MUST output your complete reasoning inside <think>...</think> BEFORE any tool calls or final response.

Otherwise, output directly after </think> with tool calls or final response.

### Available Tool Schemas

""" + tasks.CALCULATOR + """

You MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.
"""


def call_text(expression):
    return ('\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="calculator">\n<｜DSML｜parameter name="expression" string="true">'
            + expression + "</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>")


class Writer:
    """Collects the tokens of one document."""

    def __init__(self, tokenizer):
        self.t, self.ids, self.weights = tokenizer, [BOS], [0]
        self.sources = {}  # position -> position that holds what comes next

    def put(self, ids, weight=0):
        self.ids += ids
        self.weights += [weight] * len(ids)

    def control(self, name, weight=0):
        self.put([self.t.control[name]], weight)

    def ask(self, question, thinking=False):
        self.control("<｜User｜>")
        self.put(question if isinstance(question, list) else self.t.encode(question))
        self.control("<｜Assistant｜>")
        self.control("<think>" if thinking else "</think>")

    def reply(self, answer, steps=None, weight=1):
        if steps is not None:
            self.put(self.t.encode(steps), weight)
            self.control("</think>", weight)
        self.put(self.t.encode_with_control(answer), weight)
        self.put([EOS], weight)


class Documents:
    """Makes documents. `mix`: task -> how often; "tool", "recall" and "greeting" beside those of tasks.SHORT."""

    def __init__(self, tokenizer, mix):
        self.t = tokenizer
        self.names, self.shares = list(mix), list(mix.values())
        self.makers = {**tasks.SHORT, "greeting": tasks.greeting}
        self.more = [n for n in mix if n in self.makers]
        self.more_shares = [mix[n] for n in self.more]
        self.tools = tokenizer.encode_with_control(TOOLS)
        rng = random.Random(7)
        self.filler = [tokenizer.encode(" " + self.sentence(rng)) for _ in range(20000)]
        self.needles = {(n, v): tokenizer.encode(" " + tasks.NEEDLE.format(n=n, v=v)) for n in NAMES for v in POOL}

    @staticmethod
    def sentence(rng):
        if rng.random() < 0.3:
            return " ".join(rng.sample(POOL, rng.randint(3, 8))) + "."
        return tasks.facts(rng, False, 1)[0][0]

    def short(self, rng, name, test=False, thinking=None):
        """One question, or a few in a row when it is no test."""
        doc = Writer(self.t)
        thinking = rng.random() < 0.25 if thinking is None else thinking
        turns = 1 if test or thinking else rng.choice((1, 1, 2, 3, 4))
        for turn in range(turns):
            task = name if turn == 0 else rng.choices(self.more, self.more_shares)[0]
            e = self.makers[task](rng, test)
            doc.ask(e.question, thinking)
            doc.reply(e.answer, e.steps if thinking else None)
        return doc

    def tool(self, rng, test=False, thinking=None):
        doc = Writer(self.t)
        doc.put(self.tools)
        for turn in range(1 if test else rng.randint(1, 4)):
            think = rng.random() < 0.3 if thinking is None else thinking
            e = tasks.tool(rng, test)
            doc.ask(e.question, think)
            doc.reply(call_text(e.answer), e.steps if think else None)
            if not test and rng.random() < 0.3:
                result = str(tasks.number(rng, rng.randint(1, 6)))
                doc.control("<｜User｜>")
                doc.put(self.t.encode(f"<tool_result>{result}</tool_result>"))
                doc.control("<｜Assistant｜>")
                doc.control("</think>")
                doc.reply(f"The result is {result}.")
        return doc

    def haystack(self, rng, size, count):
        """(token ids of about `size`, names, values, place of each value's first token)"""
        names = rng.sample(NAMES, count)
        values = [rng.choice(POOL) for _ in names]
        parts, filled = [], 12 * count
        while filled < size:
            parts.append(rng.choice(self.filler))
            filled += len(parts[-1])
        order = rng.sample(range(count), count)
        for place, k in reversed(list(zip(sorted(rng.randrange(len(parts) + 1) for _ in names), order))):
            parts.insert(place, self.needles[(names[k], values[k])])
        ids, begins = [], {}
        for part in parts:
            begins.setdefault(id(part), len(ids))
            ids += part
        # The value stands before the full stop.
        places = [begins[id(needle)] + len(needle) - 1 - self.size(v)
                  for needle, v in ((self.needles[(n, v)], v) for n, v in zip(names, values))]
        return ids, names, values, places

    def size(self, value):
        return len(self.t.encode(" " + value))

    def recall(self, rng, length, test=False, thinking=None, keys=None):
        """A text of about `length` tokens with several named words in it, then questions about some of them."""
        doc = Writer(self.t)
        count = keys or rng.randint(2, 12)
        turns = 1 if test else min(count, max(1, min(20, length // 60)))
        text, names, values, places = self.haystack(rng, length - 40 * turns, count)
        offset = len(doc.ids) + 1  # behind the user's token
        for turn, k in enumerate(rng.sample(range(count), turns)):
            think = turn == turns - 1 and (rng.random() < 0.3 if thinking is None else thinking)
            e = tasks.needle_question(rng, test, names[k], values[k])
            question = self.t.encode(("\n\n" if turn == 0 else "") + e.question)
            doc.ask(text + question if turn == 0 else question, think)
            doc.reply(e.answer, e.steps if think else None)
            size = self.size(values[k])
            for j in range(size):  # behind it come the full stop and the end of the sentence
                doc.sources[len(doc.ids) - 3 - size + j] = offset + places[k] + j
        return doc

    def make(self, rng):
        name = rng.choices(self.names, self.shares)[0]
        if name == "tool":
            return self.tool(rng)
        if name == "recall":
            return self.recall(rng, rng.choice((150, 200, 300, 300, 500, 500, 800, 1200, 1900)))
        return self.short(rng, name)


def pack(documents, rows, length, placed=None):
    """Documents -> ids, weights, document numbers, sources [rows, length]. `documents` gives one at each call, or None when there
    are no more. `placed` collects (row, number, document)."""
    ids = np.full((rows, length), PAD, np.int16)
    weights, owner = np.zeros((rows, length), np.uint8), np.full((rows, length), -1, np.int16)
    sources = np.full((rows, length), -1, np.int32)
    held = []  # long ones, for the beginning of a row
    for r in range(rows):
        at, number, misses = 0, 0, 0
        while at < length - 64 and misses < 4:
            doc = held.pop() if held and at == 0 else documents()
            if doc is None:
                break
            size = len(doc.ids)
            if at + size > length:
                misses += 1
                if placed is not None or length // 4 < size <= length and len(held) < 4:
                    held.append(doc)
                continue
            ids[r, at: at + size] = doc.ids
            weights[r, at: at + size] = doc.weights
            end = min(length, at + (size + 3) // 4 * 4)
            owner[r, at: end] = number
            for here, there in doc.sources.items():
                sources[r, at + here] = at + there
            if placed is not None:
                placed.append((r, number, doc))
            number += 1
            at = end
    return ids, weights, owner, sources
