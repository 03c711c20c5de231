"""What a page consists of."""

from html.parser import HTMLParser


class Outline(HTMLParser):
    """Collects what a page consists of, apart from its scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.headings, self.addresses, self._inside = [], "", [], [], []
        self.rows: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self._inside.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "action", "data")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
        if tag in ("h1", "h2", "h3"):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag):
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data):
        if not {"script", "style"} & set(self._inside):
            self.text += data
            if {"th", "td"} & set(self._inside):
                self.rows[-1][-1] += data
