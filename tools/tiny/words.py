# SPDX-License-Identifier: Apache-2.0
"""The words that texts are made of."""

NAMES = ("Anna Ben Clara David Emma Felix Grace Henry Ida Jonas Karen Leo Maria Nora Oscar Paula Robert Sarah "
         "Tom Victor Adam Carl Diana Eric Frank Helen").split()
CITIES = "Paris London Berlin Rome Madrid Vienna Oslo Lisbon Athens Dublin Cairo Tokyo Boston Lima".split()
JOBS = "baker teacher doctor pilot farmer painter writer singer lawyer nurse cook driver builder gardener".split()
ANIMALS = ("dog cat horse rabbit parrot snake turtle goat sheep hamster pony duck lizard spider monkey fox wolf "
           "bear tiger lion").split()
FOODS = ("bread cheese apple banana pizza rice soup cake honey salad pasta fish lemon orange carrot potato "
         "tomato butter").split()
COLOURS = "red blue green yellow black white purple brown pink grey violet".split()
THINGS = "table chair lamp book river window garden bridge piano bottle candle mirror pencil castle school".split()
POOL = sorted(set(ANIMALS + FOODS + COLOURS + THINGS))

_STARTS = "b c d f g h j k l m n p r s t v w z bl br cl cr dr fl gr pl pr sl sp st tr".split()
_VOWELS = "a a e e i o o u ee oo ai ou".split()
_ENDS = ["", "", "n", "r", "s", "t", "l", "m", "nd", "st", "ll", "ss", "tt"]


def made_up_word(rng):
    """Two or three syllables."""
    return "".join(rng.choice(_STARTS) + rng.choice(_VOWELS) + rng.choice(_ENDS) for _ in range(rng.choice((1, 2, 2, 2, 3))))


def for_tests(text):
    """Whether a word or any other thing of a task is kept for the tests: one in eight is."""
    import zlib

    return zlib.crc32(text.encode()) % 8 == 0
