# SPDX-License-Identifier: MIT
"""Lines over two axes, as SVG."""

import math
from collections import namedtuple
from xml.sax.saxutils import escape

LEFT, RIGHT, TOP, BOTTOM = 76, 544, 44, 368  # of the axes
HEIGHT, KEY, KEY_STEP = BOTTOM + 52, RIGHT + 16, 18
LETTER = 7.2  # pixels of a wide one, of the 12 that the text is high
COLOURS = ["#0b6e4f", "#c1440e", "#2d5da1", "#8a4fa3", "#b58900", "#5c5c5c", "#d6336c", "#1098ad"]

# points: [(x, y)]; is_ours: drawn thick.
Line = namedtuple("Line", "name points is_ours")
# ticks: [(value, text)] of the x axis; x is logarithmic unless the ticks are places (0, 1, 2 ...).
Chart = namedtuple("Chart", "title x_text y_text ticks x_is_log lines y_format")


def spread(values):
    low, high = min(values), max(values)
    return low, high if high > low else low * 2


class Scale:
    """From values to pixels."""

    def __init__(self, values, first, last, is_log):
        self.is_log = is_log
        low, high = spread(values)
        self.low, self.high = self.of(low), self.of(high)
        self.first, self.last = first, last

    def of(self, value):
        return math.log10(value) if self.is_log else value

    def at(self, value):
        part = (self.of(value) - self.low) / (self.high - self.low)
        return self.first + part * (self.last - self.first)


def decades(values):
    low, high = spread(values)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0 ** power for power in range(first, last + 1)]


def text(x, y, words, anchor="middle", more=""):
    return '<text x="%.1f" y="%.1f" text-anchor="%s"%s>%s</text>' % (x, y, anchor, more, escape(words))


def axes(chart, x_scale, y_scale, y_ticks):
    right, bottom = RIGHT, BOTTOM
    parts = [text(LEFT, 24, chart.title, "start", ' font-size="16"'),
             text((LEFT + right) / 2, BOTTOM + 40, chart.x_text),
             text(16, (TOP + bottom) / 2, chart.y_text, "middle",
                  ' transform="rotate(-90 16 %.1f)"' % ((TOP + bottom) / 2))]
    for value in y_ticks:
        y = y_scale.at(value)
        parts.append('<path class="grid" d="M%d %.1fH%d"/>' % (LEFT, y, right))
        parts.append(text(LEFT - 8, y + 4, chart.y_format(value), "end"))
    for value, words in chart.ticks:
        x = x_scale.at(value)
        parts.append('<path class="grid" d="M%.1f %dV%d"/>' % (x, TOP, bottom))
        parts.append(text(x, bottom + 20, words))
    return parts


def curve(line, colour, place, x_scale, y_scale):
    places = [(x_scale.at(x), y_scale.at(y)) for x, y in line.points]
    width = 3 if line.is_ours else 1.5
    dash = "" if place < len(COLOURS) else ' stroke-dasharray="5 3"'
    path = "M" + "L".join("%.1f %.1f" % place for place in places)
    y = TOP + KEY_STEP * place
    key = KEY
    return (['<path d="%s" stroke="%s" stroke-width="%s"%s fill="none"/>' % (path, colour, width, dash)] +
            ['<circle cx="%.1f" cy="%.1f" r="%s" fill="%s"/>' % (x, at, width + 1, colour)
             for x, at in places] +
            ['<path d="M%d %.1fh18" stroke="%s" stroke-width="%s"%s/>' % (key, y, colour, width, dash),
             text(key + 24, y + 4, line.name, "start")])


def size(chart):
    """Width and height, with room for the title and all of the key."""
    names = max(len(line.name) for line in chart.lines)
    width = max(KEY + 24 + LETTER * names, LEFT + LETTER * 16 / 12 * len(chart.title)) + 8
    return math.ceil(width), max(HEIGHT, TOP + KEY_STEP * len(chart.lines) + 8)


def draw(chart):
    """The chart as an SVG document."""
    ys = [y for line in chart.lines for _, y in line.points]
    y_ticks = decades(ys)
    x_scale = Scale([value for value, _ in chart.ticks], LEFT, RIGHT, chart.x_is_log)
    y_scale = Scale(y_ticks, BOTTOM, TOP, True)
    parts = axes(chart, x_scale, y_scale, y_ticks)
    for place, line in enumerate(chart.lines):
        parts += curve(line, COLOURS[place % len(COLOURS)], place, x_scale, y_scale)
    head = ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" '
            'font-size="12">' % size(chart))
    style = "<style>.grid{stroke:#ddd;fill:none}</style>"
    ground = '<rect width="%d" height="%d" fill="#fff"/>' % size(chart)
    return "\n".join([head, style, ground, *parts, "</svg>", ""])
