"""Reports for people: the HTML page and terminal text."""
