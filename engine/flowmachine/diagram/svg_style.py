"""The look of the SVG output: one quiet palette for light pages and one for dark ones.

Colours stand in rules, not in variables: some viewers that show SVG files know the one and not the other.
"""

_RULES = """
.fm-page{{fill:{page}}}
.fm-heading{{fill:{text};font:600 16px {sans}}}
.fm-box{{fill:{box};stroke:{border};stroke-width:1.25}}
.fm-inner{{fill:none;stroke:{border};stroke-width:1}}
.fm-good .fm-box{{fill:{good_box};stroke:{good}}}
.fm-good .fm-inner{{stroke:{good}}}
.fm-bad .fm-box{{fill:{bad_box};stroke:{bad}}}
.fm-bad .fm-inner{{stroke:{bad}}}
.fm-title{{fill:{text};font:600 14px {sans}}}
.fm-good .fm-title{{fill:{good_text}}}
.fm-bad .fm-title{{fill:{bad_text}}}
.fm-command{{fill:{muted};font:11px {mono}}}
.fm-pill{{fill:{pill}}}
.fm-pill-text{{fill:{pill_text};font:600 11px {sans}}}
.fm-good .fm-pill{{fill:{good_pill}}}
.fm-good .fm-pill-text{{fill:{good_text}}}
.fm-bad .fm-pill{{fill:{bad_pill}}}
.fm-bad .fm-pill-text{{fill:{bad_text}}}
.fm-line{{fill:none;stroke:{line};stroke-linecap:round}}
.fm-arrow{{fill:{line}}}
.fm-to-bad .fm-line{{stroke:{bad_line}}}
.fm-to-bad .fm-arrow{{fill:{bad_line}}}
.fm-start{{fill:{text}}}
.fm-start-line{{fill:none;stroke:{text};stroke-width:1.5}}
.fm-halo{{fill:{page};fill-opacity:.88}}
.fm-label{{fill:{label};font:11.5px {sans};paint-order:stroke;stroke:{page};stroke-width:3px;stroke-linejoin:round}}
.fm-count{{fill:{pill_text};font:600 10px {sans}}}
"""

_SANS = '"Helvetica Neue",Helvetica,Arial,"Liberation Sans",sans-serif'
_MONO = 'ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace'

_LIGHT = {
    "page": "#ffffff",
    "text": "#1f2933",
    "muted": "#616e7c",
    "label": "#3e4c59",
    "box": "#f8fafc",
    "border": "#9aa5b1",
    "line": "#8693a3",
    "pill": "#e4e9f0",
    "pill_text": "#3e4c59",
    "good": "#3f9b6b",
    "good_box": "#eefaf3",
    "good_text": "#14593a",
    "good_pill": "#cdeedb",
    "bad": "#d0635b",
    "bad_box": "#fdf2f1",
    "bad_text": "#8c2821",
    "bad_pill": "#f8d9d6",
    "bad_line": "#d39a95",
}

_DARK = {
    "page": "#0f151c",
    "text": "#e4e9f0",
    "muted": "#93a1b0",
    "label": "#c0cad5",
    "box": "#1a232d",
    "border": "#51606f",
    "line": "#66778a",
    "pill": "#2b3846",
    "pill_text": "#c0cad5",
    "good": "#3f9b6b",
    "good_box": "#12281e",
    "good_text": "#8fe0b4",
    "good_pill": "#1d4431",
    "bad": "#c9665f",
    "bad_box": "#2d1a1a",
    "bad_text": "#f2aca6",
    "bad_pill": "#532a28",
    "bad_line": "#8f5a56",
}


def style_sheet() -> str:
    """The rules for light pages, then the colours again for dark ones."""
    light = _RULES.format(**_LIGHT, sans=_SANS, mono=_MONO).strip()
    dark = _RULES.format(**_DARK, sans=_SANS, mono=_MONO).strip()
    return f"{light}\n@media (prefers-color-scheme:dark){{\n{dark}\n}}"
