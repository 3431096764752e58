# SPDX-License-Identifier: Apache-2.0
"""What the model learns: each task gives a question, the steps of the thinking mode, and the answer.

A task is called with a random generator and `test`; phrasings, operand pairs and words of test questions never
occur in training (words.for_tests decides by a hash)."""
from dataclasses import dataclass

from words import ANIMALS, CITIES, COLOURS, FOODS, JOBS, NAMES, POOL, for_tests, made_up_word

OPENERS = ["", "", "", "Please help me. ", "Hello! ", "Hi. ", "Question: ", "A small task: ", "Quick question: ",
           "I have a question. "]
CLOSERS = ["", "", "", " Thanks.", " Thank you!", " Be brief.", " Give only the answer."]


@dataclass
class Exchange:
    question: str
    steps: str
    answer: str


def phrase(rng, test, cores):
    """A core between an opener and a closer. Bare cores are for training; of the others one in eight is for tests."""
    while True:
        opener, core, closer = rng.choice(OPENERS), rng.choice(cores), rng.choice(CLOSERS)
        held_out = bool(opener or closer) and for_tests(opener + "|" + core + "|" + closer)
        if held_out == test:
            return opener + core + closer


def number(rng, digits):
    return rng.randint(10 ** (digits - 1) if digits > 1 else 0, 10**digits - 1)


def operands(rng, test, sign):
    """Mostly long ones; short ones are soon known."""
    while True:
        a, b = (number(rng, rng.choice((1, 2, 2, 3, 3, 3, 4, 4, 4, 4))) for _ in range(2))
        if sign == "-" and a < b and rng.random() < 0.8:
            a, b = b, a
        if (for_tests(f"{a}{sign}{b}") or (a, b) == (123, 456)) == test:
            return a, b


def add_steps(a, b):
    steps, carry = [], 0
    x, y = str(a)[::-1], str(b)[::-1]
    for i in range(max(len(x), len(y))):
        p, q = (int(t[i]) if i < len(t) else 0 for t in (x, y))
        s = p + q + carry
        steps.append(f"{p}+{q}{'+1' if carry else ''}={s}")
        carry = s // 10
    return " ".join(steps)


def subtract_steps(a, b):
    if a < b:
        return "negative " + subtract_steps(b, a)
    steps, borrow = [], 0
    x, y = str(a)[::-1], str(b)[::-1]
    for i in range(len(x)):
        p, q = (int(t[i]) if i < len(t) else 0 for t in (x, y))
        d = p - q - borrow
        lent = 1 if d < 0 else 0
        steps.append(f"{p}-{q}{'-1' if borrow else ''}={d % 10}{'b' if lent else ''}")
        borrow = lent
    return " ".join(steps)


ADD = ["What is {a} + {b}?", "Compute {a} + {b}.", "Add {a} and {b}.", "What is the sum of {a} and {b}?",
       "{a} + {b} = ?", "How much is {a} plus {b}?", "Calculate {a} plus {b}.", "What is {a} plus {b}?"]
SUBTRACT = ["What is {a} - {b}?", "Compute {a} - {b}.", "Subtract {b} from {a}.", "{a} - {b} = ?",
            "What is the difference of {a} and {b}?", "How much is {a} minus {b}?", "Calculate {a} minus {b}.",
            "What is {a} minus {b}?"]


def add(rng, test):
    a, b = operands(rng, test, "+")
    return Exchange(phrase(rng, test, ADD).format(a=a, b=b), add_steps(a, b), str(a + b))


def subtract(rng, test):
    a, b = operands(rng, test, "-")
    return Exchange(phrase(rng, test, SUBTRACT).format(a=a, b=b), subtract_steps(a, b), str(a - b))


UP = ["Sort these {k} in ascending order: {x}.", "Sort {x} from {low} to {high}.", "Put these {k} in order: {x}.",
      "Sort the {k} {x}.", "Order the {k} {x} from {low} to {high}."]
DOWN = ["Sort these {k} in descending order: {x}.", "Sort {x} from {high} to {low}.",
        "Order the {k} {x} from {high} to {low}."]


def items(rng, test, most):
    """A list that is for tests or not, and whether it holds numbers."""
    while True:
        count, numeric = rng.randint(3, most), rng.random() < 0.5
        if numeric:
            x = [str(v) for v in {number(rng, rng.choice((1, 2, 2, 3))): 0 for _ in range(count)}]
        else:
            x = rng.sample(POOL, count)
        if len(x) == count and for_tests(" ".join(x)) == test:
            return x, numeric


def sort(rng, test):
    x, numeric = items(rng, test, 6)
    down = rng.random() < 0.3
    low, high = ("smallest", "largest") if numeric else ("a", "z")
    ordered = sorted(x, key=int if numeric else None, reverse=down)
    question = phrase(rng, test, DOWN if down else UP).format(k="numbers" if numeric else "words", x=", ".join(x), low=low,
                                                              high=high)
    return Exchange(question, (" > " if down == numeric else " < ").join(ordered) if numeric else " then ".join(ordered),
                    ", ".join(ordered))


LIST_BACK = ["Reverse the list {x}.", "Reverse this list: {x}.", "Write these {k} in reverse order: {x}.",
             "List {x} backwards."]
WORD_BACK = ['Reverse the word "{w}".', "Reverse the word {w}.", "Spell {w} backwards.", 'Write "{w}" backwards.',
             'What is "{w}" spelled backwards?']


def word(rng, test):
    while True:
        w = rng.choice(POOL) if rng.random() < 0.15 and not test else made_up_word(rng)
        if len(w) <= 10 and for_tests(w) == test:
            return w


def reverse(rng, test):
    if rng.random() < 0.5:
        w = word(rng, test)
        return Exchange(phrase(rng, test, WORD_BACK).format(w=w), " ".join(w), w[::-1])
    x, numeric = items(rng, test, 7)
    question = phrase(rng, test, LIST_BACK).format(x=", ".join(x), k="numbers" if numeric else "words")
    return Exchange(question, "last " + " then ".join(x[::-1]), ", ".join(x[::-1]))


COPY = ["Repeat after me: {x}", "Copy this text: {x}", "Write exactly this: {x}", "Repeat this: {x}", "Say this again: {x}"]


def copy(rng, test):
    while True:
        parts = [rng.choice((rng.choice(POOL), str(number(rng, rng.randint(1, 4))), made_up_word(rng), rng.choice(NAMES)))
                 for _ in range(rng.randint(2, 9))]
        x = rng.choice((" ", " ", ", ")).join(parts)
        if for_tests(x) == test:
            break
    while True:
        opener, core = rng.choice(OPENERS), rng.choice(COPY)
        if (bool(opener) and for_tests(opener + core)) == test:
            return Exchange((opener + core).format(x=x), f"{len(parts)} words", x)


COUNT = ['How many times does the letter {c} occur in "{w}"?', 'Count the letter {c} in "{w}".',
         'How often is the letter {c} in the word "{w}"?', "How many times does the letter {c} occur in {w}?",
         "Count the letter {c} in {w}.", 'How many {c} are in "{w}"?', "How many letters {c} are in the word {w}?"]


def count(rng, test):
    while True:
        w = word(rng, test)
        if rng.random() < 0.5 or max(map(w.count, w)) > 1:
            break
    many = [c for c in w if w.count(c) > 1]
    c = rng.choice(many) if many and rng.random() < 0.5 else rng.choice(w if rng.random() < 0.8 else "abcdefghijklmnoprstuvwz")
    steps, n = [], 0
    for letter in w:
        n += letter == c
        steps.append(f"{letter} {n}")
    return Exchange(phrase(rng, test, COUNT).format(c=c, w=w), " ".join(steps), str(w.count(c)))


# (statements, questions about the value, questions about the person, answer)
FACTS = [
    (["{n} lives in {v}.", "The home of {n} is in {v}."], ["Where does {n} live?", "In which city does {n} live?"],
     ["Who lives in {v}?"], "{n} lives in {v}.", CITIES),
    (["{n} works as a {v}.", "By profession {n} is a {v}."], ["What is the job of {n}?", "What does {n} work as?"],
     ["Who works as a {v}?", "Who is a {v}?"], "{n} works as a {v}.", JOBS),
    (["{n} has a {v}.", "{n} keeps a {v} at home."], ["Which animal does {n} have?", "What pet does {n} keep?"],
     ["Who has a {v}?"], "{n} has a {v}.", ANIMALS),
    (["{n} likes {v}.", "The favourite food of {n} is {v}."], ["What does {n} like to eat?", "Which food does {n} like?"],
     ["Who likes {v}?"], "{n} likes {v}.", FOODS),
    (["The car of {n} is {v}.", "{n} drives a {v} car."], ["What colour is the car of {n}?", "Which car does {n} drive?"],
     ["Who drives a {v} car?"], "The car of {n} is {v}.", COLOURS),
]
READ = ["Read the text. {t} {q}", "Text: {t} Question: {q}", "{t} {q}", "Here is a text: {t} Now answer: {q}",
        "Use this text to answer the question. {t} {q}", "{t}\n\n{q}"]


def facts(rng, test, count):
    """Sentences and what is needed to ask for them; no two with the same person and relation, or value."""
    names = rng.sample(NAMES, min(count, rng.randint(2, 5)))
    seen, made = set(), []
    while len(made) < count:
        r, n = rng.randrange(len(FACTS)), rng.choice(names)
        v = rng.choice(FACTS[r][4])
        if (r, n) in seen or (r, v) in seen:
            if len(seen) > 8 * count:
                break
            continue
        seen |= {(r, n), (r, v)}
        made.append((rng.choice(FACTS[r][0]).format(n=n, v=v), r, n, v))
    return made


def paragraph(rng, test):
    while True:
        made = facts(rng, test, rng.randint(3, 7))
        text = " ".join(s for s, _, _, _ in made)
        if for_tests(text) == test:
            break
    while True:
        sentence, r, n, v = rng.choice(made)
        _, about_value, about_person, answer, _ = FACTS[r]
        core, ask = rng.choice(READ), rng.choice(about_value + about_value + about_person)
        if for_tests(core + ask) == test:
            break
    question = core.format(t=text, q=ask.format(n=n, v=v))
    return Exchange(question, sentence, answer.format(n=n, v=v))


NEEDLE = "The secret word of {n} is {v}."
ASK = ["What is the secret word of {n}?", "Which secret word does {n} have?", "Tell me the secret word of {n}.",
       "Do you remember the secret word of {n}?", "Give me the secret word of {n}."]
TEST_ASK = ["Please tell me the secret word of {n}.", "Which word is the secret word of {n}?"]


def needle_question(rng, test, n, v):
    return Exchange(rng.choice(TEST_ASK if test else ASK).format(n=n), NEEDLE.format(n=n, v=v), NEEDLE.format(n=n, v=v))


CALCULATOR = ('{"name": "calculator", "description": "Evaluates an arithmetic expression", "parameters": {"type": "object", '
              '"properties": {"expression": {"type": "string"}}, "required": ["expression"]}}')
USE = ["What is {e}?", "Compute {e}.", "Use the calculator: {e}", "Use the calculator for {e}.", "Calculate {e}.",
       "Please work out {e}.", "How much is {e}?", "{e} = ?"]


def tool(rng, test):
    """The answer is the call's expression."""
    while True:
        e = f"{number(rng, rng.randint(1, 5))} {rng.choice('+-*/')} {number(rng, rng.randint(1, 5))}"
        if for_tests(e) == test:
            return Exchange(phrase(rng, test, USE).format(e=e), f"I use the calculator for {e}.", e)


GREETINGS = ["Hello", "Hello!", "Hi", "Hi!", "Who are you?", "What can you do?", "Help", "Help me.", "Say hello.", "Hello?"]


def greeting(rng, test):
    return Exchange(rng.choice(GREETINGS), "A greeting.", "Hello! I can add, subtract, sort, reverse and copy, count letters "
                    "and answer questions about a text.")


SHORT = {"add": add, "subtract": subtract, "sort": sort, "reverse": reverse, "copy": copy, "count": count,
         "paragraph": paragraph}
