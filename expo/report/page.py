"""A page of HTML that loads nothing and runs nothing, whatever stands in it."""

from __future__ import annotations

import html


def page(title: str, about: str, style: str, body: str) -> str:
    """The page; `title` and `about` are escaped here, `body` is HTML already."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title><style>
{style}
</style></head><body>
<h1>{html.escape(title)}</h1>
<p>{html.escape(about)}</p>
{body}</body></html>
"""
