"""A small maker of charts: panels one below the other over one axis, as SVG that reads on light and on dark ground."""
import math

WIDTH, LEFT, RIGHT, TOP, PANEL, GAP, BOTTOM = 720, 74, 150, 44, 170, 34, 52
COLOURS = ["#1f77d0", "#d9711c", "#2a9d5c"]
STYLE = """<style>
text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-size:15px;font-weight:600}.small{font-size:12px;fill:#57606a}
.grid{stroke:#d0d7de;stroke-width:1}.axis{stroke:#8c959f;stroke-width:1}.line{fill:none;stroke-width:2.2}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9da7b3}.grid{stroke:#30363d}.axis{stroke:#6e7681}}
</style>"""


def said(number):
    """A number as it stands beside an axis."""
    if number == 0:
        return "0"
    for least, word in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= least and word != "k":
            return f"{number / least:.4g} {word}"
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


class Axis:
    """From values to places, and where the marks are; `log` cannot show 0, which is put a step below the least."""

    def __init__(self, values, start, end, log, from_zero=True):
        self.start, self.end, self.log = start, end, log
        if log:
            above = [value for value in values if value > 0]
            low, high = math.floor(math.log10(min(above)) + 1e-9), math.ceil(math.log10(max(above)) - 1e-9)
            self.has_zero = any(value <= 0 for value in values)
            self.low, self.high = low - (1 if self.has_zero else 0), max(high, low + 1)
            self.marks = [10.0**power for power in range(low, self.high + 1)] + ([0] if self.has_zero else [])
        else:
            high = max(values) * 1.08 or 1
            step = 10 ** math.floor(math.log10(high / 4))
            step = next(step * factor for factor in (1, 2, 2.5, 5, 10) if high / (step * factor) <= 5)
            # Of what is counted there are no halves.
            step = max(step, 1) if all(value == int(value) for value in values) else step
            self.low, self.high = 0, step * math.ceil(high / step)
            self.marks = [step * index for index in range(round(self.high / step) + 1)]

    def place(self, value):
        shown = (math.log10(value) if value > 0 else self.low) if self.log else value
        return self.start + (self.end - self.start) * (shown - self.low) / (self.high - self.low)


def chart(path, title, across, points, panels, log=True):
    """Writes a chart: `points` are the places on the axis called `across`; a panel is (what its axis says, {series: values}, log?)."""
    height = TOP + len(panels) * (PANEL + GAP) + BOTTOM - GAP
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">', f"<title>{title}</title>", STYLE,
           f'<text class="title" x="{LEFT}" y="22">{title}</text>']
    x = Axis(points, LEFT, WIDTH - RIGHT, log)
    for number, (unit, series, is_log) in enumerate(panels):
        top = TOP + number * (PANEL + GAP)
        y = Axis([value for values in series.values() for value in values if value is not None], top + PANEL, top + 18, is_log)
        out.append(f'<text class="small" x="{LEFT}" y="{top + 9}">{unit}</text>')
        for mark in y.marks:
            at = y.place(mark)
            out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
                       f'<text class="small" x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{said(mark)}</text>')
        out.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{top + PANEL}" y2="{top + PANEL}"/>')
        ends = []
        for index, (name, values) in enumerate(series.items()):
            colour = COLOURS[index % len(COLOURS)]
            places = [(x.place(point), y.place(value)) for point, value in zip(points, values) if value is not None]
            out.append(f'<polyline class="line" stroke="{colour}" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in places)}"/>')
            out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.4" fill="{colour}"/>' for a, b in places]
            ends.append([places[-1][1], name, colour])
        # Names stand where the lines end, and not upon each other.
        ends.sort()
        for before, after in zip(ends, ends[1:]):
            after[0] = max(after[0], before[0] + 16)
        low = max(0, ends[-1][0] - (top + PANEL))
        for at, name, colour in ends:
            out.append(f'<text x="{WIDTH - RIGHT + 10}" y="{at - low + 4:.1f}" style="fill:{colour}">{name}</text>')
        for mark in x.marks:
            out.append(f'<line class="axis" x1="{x.place(mark):.1f}" x2="{x.place(mark):.1f}" y1="{top + PANEL}" y2="{top + PANEL + 5}"/>')
            if number == len(panels) - 1:
                out.append(f'<text class="small" x="{x.place(mark):.1f}" y="{top + PANEL + 20}" text-anchor="middle">{said(mark)}</text>')
    out.append(f'<text class="small" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{height - 10}" text-anchor="middle">{across}</text></svg>\n')
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(out))
