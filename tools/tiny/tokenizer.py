# SPDX-License-Identifier: Apache-2.0
"""A byte-level BPE tokenizer in the form of DeepSeek's: learned from a few texts, and used.

Digits stand alone. A token of several letters begins with a space, a capital or a sign, so words in quotes and
the letters of an answer stand alone too: spelling them is part of the tasks."""
import collections
import json
import re

FIRST = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"]
LAST = ["<｜User｜>", "<｜Assistant｜>", "<think>", "</think>", "｜DSML｜", "<｜latest_reminder｜>", "<｜action｜>",
        "<｜query｜>", "<｜authority｜>", "<｜domain｜>", "<｜title｜>", "<｜read_url｜>"]
BOS, EOS, PAD = 0, 1, 2

_SIGNS = "!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~"
PATTERNS = ["\\p{N}", "[一-龥\u3040-ゟ゠-ヿ]+",
            f"[{_SIGNS}][A-Za-z]+|[^\r\n\\p{{L}}\\p{{P}}\\p{{S}}]?[\\p{{L}}\\p{{M}}]+| ?[\\p{{P}}\\p{{S}}]+[\r\n]*|"
            "\\s*[\r\n]+|\\s+(?!\\S)|\\s+"]
# The same for ASCII text between digits.
_PIECES = re.compile(f"[{_SIGNS}][A-Za-z]+|[^\r\nA-Za-z{_SIGNS}]?[A-Za-z]+| ?[{_SIGNS}]+[\r\n]*|"
                     "\\s*[\r\n]+|\\s+(?!\\S)|\\s+")
_CONTROL = re.compile("(" + "|".join(map(re.escape, FIRST + LAST)) + ")")
_DIGIT = re.compile("([0-9])")


def byte_alphabet():
    """How byte-level BPE spells each byte."""
    plain = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    spelled, extra = {b: chr(b) for b in plain}, 0
    for b in range(256):
        if b not in spelled:
            spelled[b] = chr(256 + extra)
            extra += 1
    return spelled


def may_start(symbol):
    return symbol[0] == " " or not (symbol[0].islower() or symbol[0].isdigit())


def train(texts, size):
    """tokenizer.json with `size` ids as a dictionary."""
    counts = collections.Counter(p for t in texts for part in _CONTROL.split(t) if part not in FIRST + LAST
                                 for q in _DIGIT.split(part) for p in _PIECES.findall(q))
    words = [(list(w), n) for w, n in counts.items() if w.isascii()]
    merges, known = [], set()
    while len(FIRST) + 256 + len(merges) + len(LAST) < size:
        pairs = collections.Counter()
        for symbols, n in words:
            for pair in zip(symbols, symbols[1:]):
                if may_start(pair[0]):
                    pairs[pair] += n
        best = min(pairs, key=lambda p: (-pairs[p], p))
        if pairs[best] < 2:
            raise ValueError(f"the texts give {len(merges)} merges only")
        merges.append(best)
        known.add(best[0] + best[1])
        for symbols, _ in words:
            i = 0
            while i + 1 < len(symbols):
                if (symbols[i], symbols[i + 1]) == best:
                    symbols[i: i + 2] = [best[0] + best[1]]
                i += 1
    spelled = byte_alphabet()
    spell = lambda text: "".join(spelled[b] for b in text.encode())
    vocabulary = {t: i for i, t in enumerate(FIRST)}
    for b in range(256):
        vocabulary[spelled[b]] = len(vocabulary)
    for a, b in merges:
        vocabulary[spell(a + b)] = len(vocabulary)
    added = [(i, t, True) for i, t in enumerate(FIRST)] + [(len(vocabulary) + i, t, False) for i, t in enumerate(LAST)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    steps = [{"type": "Split", "pattern": {"Regex": p}, "behavior": "Isolated", "invert": False} for p in PATTERNS]
    steps.append({"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False})
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
                              "normalized": not special, "special": special} for i, t, special in added],
            "normalizer": {"type": "Sequence", "normalizers": []},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
            "post_processor": byte_level, "decoder": byte_level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocabulary,
                      "merges": [spell(a) + " " + spell(b) for a, b in merges]}}


class Tokenizer:
    """Encodes ASCII text and control tokens."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
        spelled = byte_alphabet()
        self.ids = data["model"]["vocab"]
        back = {c: bytes([b]) for b, c in spelled.items()}
        self.bytes = {i: b"".join(back[c] for c in t) for t, i in self.ids.items() if t not in FIRST}
        self.control = {a["content"]: a["id"] for a in data["added_tokens"]}
        self.size = max(max(self.ids.values()), max(self.control.values())) + 1
        self.ranks = {tuple(m.split(" ")): r for r, m in enumerate(data["model"]["merges"])}
        self.spelled = spelled
        self.cache = {}

    def _piece(self, piece):
        symbols = [self.spelled[b] for b in piece.encode()]
        while len(symbols) > 1:
            rank, i = min((self.ranks.get(p, 1 << 30), i) for i, p in enumerate(zip(symbols, symbols[1:])))
            if rank == 1 << 30:
                break
            symbols[i: i + 2] = [symbols[i] + symbols[i + 1]]
        return [self.ids[s] for s in symbols]

    def encode(self, text):
        out = []
        for part in _DIGIT.split(text):
            found = self.cache.get(part)
            if found is None:
                found = [i for p in ([part] if part.isdigit() else _PIECES.findall(part)) for i in self._piece(p)]
                if len(self.cache) < 500_000:
                    self.cache[part] = found
            out += found
        return out

    def encode_with_control(self, text):
        out = []
        for part in _CONTROL.split(text):
            out += [self.control[part]] if part in self.control else self.encode(part)
        return out

    def decode(self, ids):
        names = {i: t for t, i in self.control.items()}
        return b"".join(names[i].encode() if i in names else self.bytes[i] for i in ids).decode(errors="replace")
