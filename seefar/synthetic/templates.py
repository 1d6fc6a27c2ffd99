"""The wording of questions about rendered films; {o} stands for "red star", {s} for a shape, {c} for a colour."""

TEMPLATES: dict[str, tuple[list[str], list[str]]] = {  # topic: (train, held-out)
    "exists": (
        [
            "is there a {o} in the film",
            "does a {o} appear",
            "do we ever see a {o}",
            "is a {o} shown at any time",
            "can you find a {o}",
            "is a {o} to be seen",
        ],
        ["do we see a {o} at any time in the film", "can a {o} be seen in the film"],
    ),
    "colour": (
        [
            "what colour is the {s}",
            "which colour does the {s} have",
            "tell me the colour of the {s}",
            "in what colour is the {s} shown",
        ],
        ["which colour is the {s}", "what colour does the {s} have in the film"],
    ),
    "shape": (
        [
            "what shape is the {c} object",
            "which shape does the {c} object have",
            "tell me the shape of the {c} object",
            "what is the {c} thing",
        ],
        ["which shape is the {c} thing", "what shape does the {c} object have in the film"],
    ),
    "turned": (
        [
            "what colour does the {o} turn into",
            "which colour does the {o} change to",
            "what does the {o} become",
            "the {o} turns into which colour",
        ],
        ["into which colour does the {o} turn", "what colour does the {o} become"],
    ),
    "number": (
        [
            "what number is on the {o}",
            "which number does the {o} carry",
            "what digit is written on the {o}",
            "tell me the number on the {o}",
        ],
        ["which number is written on the {o}", "what digit does the {o} carry"],
    ),
    "appear": (
        [
            "when does the {o} appear",
            "at what time does the {o} come into view",
            "when is the {o} first seen",
            "find the moment when the {o} appears",
            "when do we first see the {o}",
        ],
        ["at what time do we first see the {o}", "at which moment does the {o} appear"],
    ),
    "vanish": (
        [
            "when does the {o} vanish",
            "at what time does the {o} disappear",
            "when is the {o} last seen",
            "find the moment when the {o} vanishes",
            "at which time does the {o} go away",
        ],
        ["when do we see the {o} go away", "at which moment does the {o} vanish"],
    ),
    "bounce": (
        [
            "when does the {o} bounce",
            "at what time does the {o} hit the wall",
            "find the moment when the {o} bounces",
            "at which moment does the {o} hit a wall",
        ],
        ["when does the {o} hit the wall", "at which time does the {o} bounce"],
    ),
    "recolour": (
        [
            "when does the {o} change colour",
            "at what time does the {o} turn {c2}",
            "find the moment when the {o} becomes {c2}",
            "at which moment does the {o} change its colour",
        ],
        ["when does the {o} turn {c2}", "at which time does the {o} change colour"],
    ),
    "word": (
        [
            "when is the word {w} shown",
            "at what time does the word {w} appear",
            "when can we read {w}",
            "find the moment when {w} is written on screen",
        ],
        ["at what time is the word {w} written on screen", "when do we first read the word {w}"],
    ),
    "photograph": (
        [
            "when is the photograph of the {p} shown",
            "at what time does the picture of the {p} appear",
            "find the moment of the {p} photograph",
            "when do we see the photo of the {p}",
        ],
        ["at what time do we see the photograph of the {p}", "find the moment when the {p} picture is shown"],
    ),
    "duration": (
        [
            "how long is the {o} on screen",
            "for how many seconds is the {o} visible",
            "how long does the {o} stay",
            "for how long do we see the {o}",
        ],
        ["for how long is the {o} visible", "how many seconds does the {o} stay on screen"],
    ),
    "visits": (
        [
            "how many times does the {o} appear",
            "how often is the {o} seen",
            "count the appearances of the {o}",
            "how many times do we see the {o} come",
        ],
        ["how often does the {o} appear", "how many times is the {o} seen"],
    ),
    "bounces": (
        [
            "how many times does the {o} bounce",
            "how often does the {o} hit a wall",
            "count the bounces of the {o}",
            "how many times does the {o} hit the wall",
        ],
        ["how often does the {o} bounce", "count how many times the {o} bounces"],
    ),
    "order": (
        [
            "which appears first the {a} the {b} or the {d}",
            "what do we see first the {a} the {b} or the {d}",
            "which of these is seen first the {a} the {b} the {d}",
            "of the {a} the {b} and the {d} which comes first",
        ],
        ["which comes first the {a} the {b} or the {d}", "of the {a} the {b} and the {d} which is seen first"],
    ),
    "before/after": (
        [
            "does the {a} appear before or after the {b}",
            "is the {a} seen before or after the {b}",
            "do we see the {a} before or after the {b}",
            "before or after the {b} does the {a} appear",
        ],
        ["does the {a} come before or after the {b}", "before or after the {b} do we first see the {a}"],
    ),
}
