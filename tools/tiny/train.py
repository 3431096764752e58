# SPDX-License-Identifier: Apache-2.0
"""Trains the model tiny on one GPU, in pieces: train.py OUT [--resume FOLDER] [--minutes M] ...

A piece ends after `minutes` and leaves its state (weights, optimiser, step) in OUT/state.N; the next one goes on
from there. See README.md for the recipe."""
import argparse
import io
import json
import multiprocessing
import os
import random
import threading
import time

import numpy as np
import torch

import checkpoint
import tasks
from documents import Documents, pack
from initial import SEED, initial_parameters, tiny_config
from model import EXACT, Model, NATIVE, Selection, block, mtp_input, scored, widened
from optimiser import Optimiser
from tokenizer import Tokenizer

LENGTH = 2048             # of a row
LONG = ((8192, 2), (16384, 1))  # of a long one
CHUNK = 15 << 20          # of the state's files
MIX = {"add": 6, "subtract": 6, "sort": 2.5, "reverse": 1, "copy": 1, "count": 2, "paragraph": 2.5, "greeting": 0.1,
       "tool": 0.1, "recall": 1}
LOSSES = ("loss", "draft", "index", "growth", "recalled")
AHEAD = 48  # batches made before they are needed

_documents, _rows = None, 0


def _prepare(tokenizer_path, mix, rows):
    global _documents, _rows
    _rows = rows
    _documents = Documents(Tokenizer(tokenizer_path), mix)


def _batch(job):
    """The batch of a step depends on the step alone."""
    step, long = job
    rng = random.Random(f"{SEED}/{step}")
    if long is None:
        return pack(lambda: _documents.make(rng), _rows, LENGTH)
    length, rows = long
    docs = iter([_documents.recall(rng, length - 8, keys=rng.randint(10, 20)) for _ in range(rows + 1)])
    return pack(lambda: next(docs, None), rows, length)


def jobs(first, every, begin, room):
    """(step, (length, rows) of a long one or None), while `room` lasts."""
    step = first
    while True:
        room.acquire()
        long = LONG[(step // every) % len(LONG)] if every and step >= begin and step % every == 0 else None
        yield step, long
        step += 1


def shifted(x, by, fill):
    return torch.nn.functional.pad(x[:, by:], (0, by), value=fill)


class Trainer:
    def __init__(self, arguments):
        self.a = arguments
        self.config = tiny_config()
        parameters, tables = initial_parameters(self.config)
        if arguments.weights:
            parameters, tables = checkpoint.load(arguments.weights)
        self.parameters = {n: p.cuda().requires_grad_(not n.endswith("gate.bias")) for n, p in parameters.items()}
        self.tables = {n: t.cuda() for n, t in tables.items()}
        self.model = Model(self.config, self.tables, "cuda", max(l for l, _ in LONG))
        self.eager = Model(self.config, self.tables, "cuda", max(l for l, _ in LONG))
        if arguments.compile:
            torch._dynamo.config.cache_size_limit = 64
            self.model.run_block = torch.compile(block, dynamic=False)
            self.model.run_head = torch.compile(scored, dynamic=False)
            self.model.run_mtp_input = torch.compile(mtp_input, dynamic=False)
        self.optimiser = Optimiser(self.parameters)
        self.shares = torch.tensor([1, 0.2, 1, arguments.growth, 0], device="cuda")  # of LOSSES in what is minimised
        self.step, self.history = arguments.first_step, []
        if arguments.resume:
            self.load(arguments.resume)

    def save(self, folder):
        buffer = io.BytesIO()
        torch.save({"parameters": {n: p.detach() for n, p in self.parameters.items()}, "step": self.step,
                    "history": self.history, "optimiser": self.optimiser.state()}, buffer)
        data = buffer.getvalue()
        for i in range(0, len(data), CHUNK):
            with open(f"{folder}/state.{i // CHUNK}", "wb") as file:
                file.write(data[i: i + CHUNK])

    def load(self, folder):
        names = sorted((f for f in os.listdir(folder) if f.startswith("state.")), key=lambda f: int(f[6:]))
        data = b"".join(open(os.path.join(folder, f), "rb").read() for f in names)
        state = torch.load(io.BytesIO(data), map_location="cuda")
        with torch.no_grad():
            for n, p in self.parameters.items():
                p.copy_(state["parameters"][n])
        self.step, self.history = state["step"], state["history"]
        self.optimiser.load(state["optimiser"])

    def losses(self, batch, model, selection):
        ids, weights, owner, source = batch
        w = widened(self.parameters, torch.bfloat16)
        next_ids, later_ids = shifted(ids, 1, 0), shifted(ids, 2, 0)
        one = shifted(weights, 1, 0) * (shifted(owner, 1, -3) == owner)
        two = shifted(weights, 2, 0) * (shifted(owner, 2, -3) == owner)
        selection.entry_weight = 0.05 + one + 20 * (source >= 0)
        selection.source = source
        h, (index_loss, growth), loads = model.trunk(ids, owner, w, NATIVE, selection)
        nll, hit = model.head(h, w, next_ids)
        hd, load = model.draft(h, next_ids, owner, w, NATIVE)
        loads["mtp.0.ffn.gate.bias"] = load
        draft_nll, draft_hit = model.draft_head(hd, w, later_ids)
        counts = one * (1 + self.a.recalled * (source >= 0))
        main = (nll * counts).sum() / (counts.sum() + 1)
        recalled = (nll * (source >= 0)).sum() / ((source >= 0).sum() + 1)
        draft = (draft_nll * two).sum() / (two.sum() + 1)
        return torch.stack((main, draft, index_loss, growth, recalled)), loads, hit, draft_hit, one, two

    def on_device(self, batch):
        ids, weights, owner, source = (torch.from_numpy(np.ascontiguousarray(x)).cuda(non_blocking=True) for x in batch)
        return ids.long(), weights.float(), owner.int(), source.long()

    def train_step(self, batch, long, scale):
        model = self.eager if long else self.model
        selection = Selection(top_k=self.config.index_topk if long and self.a.sparse else 0, learn=True)
        losses, loads, *_ = self.losses(self.on_device(batch), model, selection)
        (losses * self.shares).sum().backward()
        gradients = {n: p.grad if p.grad is not None else torch.zeros_like(p) for n, p in self.parameters.items()
                     if p.requires_grad}
        self.optimiser.step(gradients, self.a.muon * scale, self.a.adam * scale)
        for p in self.parameters.values():
            p.grad = None
        with torch.no_grad():
            for name, load in loads.items():
                if name in self.parameters:
                    self.parameters[name].add_((load.mean() - load).sign(), alpha=1e-3 * scale)
        return losses.detach()

    def evaluate(self, cases, long_cases=0):
        """Share of held-out questions answered right, letter for letter, and of drafts that were right."""
        t = Tokenizer(self.a.tokenizer)
        documents, rng, result = Documents(t, MIX), random.Random(99), {}
        made = []
        for name in tasks.SHORT:
            for thinking in (False, True):
                made += [(name + ("+think" if thinking else ""), documents.short(rng, name, True, thinking))
                         for _ in range(cases)]
        made += [("tool", documents.tool(rng, True, False)) for _ in range(max(8, cases // 4))]
        for length in (300, 1900):
            made += [(f"recall-{length}", documents.recall(rng, length, True, False)) for _ in range(max(8, cases // 2))]
        self._score(made, LENGTH, self.a.rows, self.model, Selection(learn=True), result)
        for length, rows in LONG:
            long_made = [(f"recall-{length}", documents.recall(rng, length - 8, True, False, keys=16))
                         for _ in range(long_cases)]
            for top_k in (0, self.config.index_topk):
                own = [(n + ("" if top_k else "-all"), d) for n, d in long_made]
                if not top_k:
                    own = own[: 1 + len(own) // 4]
                self._score(own, length, rows, self.eager, Selection(top_k=top_k), result)
        return result

    def _score(self, made, length, rows, model, selection, result):
        names = {id(d): n for n, d in made}
        right, drafts, pending = {}, [0.0, 0.0], [d for _, d in made]
        while pending:
            placed, queue = [], iter(pending)
            batch = pack(lambda: next(queue, None), rows, length, placed)
            taken = {id(d) for _, _, d in placed}
            pending = [d for d in pending if id(d) not in taken] if placed else []
            data = self.on_device(batch)
            with torch.set_grad_enabled(self.a.compile and model is self.model):  # else the compiled parts were compiled anew
                *_, hit, draft_hit, one, two = self.losses(data, model, selection)
            wrong = ((~hit) & (one > 0)).cpu().numpy()
            drafts[0] += float((draft_hit & (two > 0)).sum())
            drafts[1] += float((two > 0).sum())
            for r, number, doc in placed:
                right.setdefault(names[id(doc)], []).append(not wrong[r][batch[2][r] == number].any())
        for name, outcomes in right.items():
            result[name] = (sum(outcomes) / len(outcomes), len(outcomes))
        if length == LENGTH:
            result["drafts"] = (drafts[0] / max(1, drafts[1]), int(drafts[1]))

    def run(self):
        a, began = self.a, time.time()
        first, room = self.step, threading.Semaphore(AHEAD)
        last, logged, speed = began, self.step, 0.0
        sums, count, long_losses = torch.zeros(len(LOSSES), device="cuda"), 0, None
        batches = a.pool.imap(_batch, jobs(first, a.long_every, a.long_from, room))
        for step, batch in enumerate(batches, first):
            room.release()
            long = batch[0].shape[1] > LENGTH
            passed = time.time() - began
            if passed > a.minutes * 60 or (a.steps and step - first >= a.steps):
                break
            warm = min(1.0, (step + 1) / 200, (step - first + 1) / 20)
            left = max(0.0, 1 - passed / (a.minutes * 60))
            scale = warm * (min(1.0, left / a.decay) if a.decay else 1.0)
            losses = self.train_step(batch, long, scale)
            self.step = step + 1
            if long:
                long_losses = losses
            else:
                sums, count = sums + losses, count + 1
            if self.step % a.log_every == 0:
                now = time.time()
                values = (sums / max(1, count)).tolist()
                speed = (self.step - logged) * a.rows * LENGTH / (now - last)
                record = {"step": self.step, **{n: round(v, 4) for n, v in zip(LOSSES, values)},
                          "scale": round(scale, 3), "tokens_per_s": int(speed), "seconds": round(now - began, 1)}
                if long_losses is not None:
                    record["long"] = [round(v, 3) for v in long_losses.tolist()]
                if a.evaluate_every and self.step % a.evaluate_every == 0:
                    record["right"] = {k: round(v[0], 3) for k, v in self.evaluate(64, 8 if a.long_every else 0).items()}
                self.history.append(record)
                print(json.dumps(record), flush=True)
                last, logged, sums, count = time.time(), self.step, torch.zeros_like(sums), 0
        self.save(a.out)
        result = self.evaluate(a.cases, a.long_cases)
        print(json.dumps({"step": self.step, "final": {k: [round(v[0], 4), v[1]] for k, v in result.items()}}), flush=True)
        self.history.append({"step": self.step, "final": {k: [round(v[0], 4), v[1]] for k, v in result.items()}})
        self.save(a.out)
        with open(f"{a.out}/log.json", "w") as file:
            json.dump(self.history, file)


def parse():
    p = argparse.ArgumentParser()
    p.add_argument("out")
    p.add_argument("--tokenizer", default="tokenizer.json")
    p.add_argument("--resume")
    p.add_argument("--weights", help="begin with an exported model and fresh momenta instead")
    p.add_argument("--first-step", type=int, default=0, help="so that other batches come than before")
    p.add_argument("--minutes", type=float, default=8)
    p.add_argument("--steps", type=int, default=0, help="at most so many in this piece")
    p.add_argument("--decay", type=float, default=0, help="share of the piece in which the rates fall to 0")
    p.add_argument("--muon", type=float, default=5e-3)
    p.add_argument("--adam", type=float, default=3e-3)
    p.add_argument("--recalled", type=float, default=4, help="how much more than other tokens recalled ones count")
    p.add_argument("--growth", type=float, default=1, help="share of the loss that keeps the streams small")
    p.add_argument("--rows", type=int, default=32, help="of 2,048 tokens in a step")
    p.add_argument("--mix", default="{}", help="JSON: how often each task comes")
    p.add_argument("--long-every", type=int, default=0, help="every so many steps one of 8k or 16k tokens")
    p.add_argument("--long-from", type=int, default=0, help="from this step on")
    p.add_argument("--sparse", action="store_true", help="long steps attend to what the indexer picks only")
    p.add_argument("--log-every", type=int, default=100)
    p.add_argument("--evaluate-every", type=int, default=500)
    p.add_argument("--cases", type=int, default=512)
    p.add_argument("--long-cases", type=int, default=0)
    p.add_argument("--no-compile", dest="compile", action="store_false")
    return p.parse_args()


def main():
    a = parse()
    os.makedirs(a.out, exist_ok=True)
    torch.backends.cuda.matmul.allow_tf32 = True
    context = multiprocessing.get_context("fork")
    a.pool = context.Pool(max(2, min(14, (os.cpu_count() or 4) - 2)), _prepare, (a.tokenizer, {**MIX, **json.loads(a.mix)}, a.rows))
    Trainer(a).run()
    os._exit(0)  # the pool's feeder waits for room that nobody will give


if __name__ == "__main__":
    main()
