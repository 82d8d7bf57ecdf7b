"""What is in the page of a report."""

from html.parser import HTMLParser


class Parsed(HTMLParser):
    """Sections with their text, and whatever would be loaded."""

    VOID = ("meta", "link", "img", "br", "path", "use")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sections: dict[str, str] = {}
        self.loaded: list[str] = []
        self.tags: list[str] = []
        self._key = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.tags.append(tag)
        if tag == "section":
            self._key = told["id"] or ""
            self.sections[self._key] = ""
        self.loaded += [told[name] or "" for name in ("src", "href", "xlink:href") if name in told]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        told = dict(attrs)
        self.loaded += [told[name] or "" for name in ("src", "href", "xlink:href") if name in told]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._key:
            self.sections[self._key] += data
