"""How person names are matched: by component groups, without regard to case, and by their words where fuzzily.

What the standard leaves to implementations (PS3.4 section C.2.2.2.1.1, C.2.2.2.4), the same for every index. Names
and patterns are folded here; a pattern is what GLOB and fnmatch take, a `[` in it escaped.
"""

import re

_WORD_ENDS = "-^= ,.'"
"""What stands between the words of a name; the hyphen first, as a class in a pattern wants it."""
_BEYOND_LATIN = re.compile("[\u0250-\U0010ffff]")


def fold_name(name: str) -> str:
    """A person name as it is searched: empty trailing components do not count (PS3.5 6.2.1.1)."""
    return name.casefold().rstrip("^= ")


def patterns(text: str) -> tuple[str, ...]:
    """Patterns of which a folded name has to match one, the one that names most often match first.

    Text with `=` says what each component group is, '' any. Without it is of the alphabetic group; in another script
    than Latin, of whichever group has it (PS3.5 section 6.2.1.2).

    Args:
        text: of a query, wildcards in it.
    """
    folded = text.casefold().replace("[", "[[]")
    if "=" in folded:
        whole = "=".join(group or "*" for group in folded.rstrip("=").split("="))
        return _with_more(whole)
    if _BEYOND_LATIN.search(folded):
        return (*_with_more(folded), *_with_more(f"*={folded}"))
    return _with_more(folded)


def words(name: str) -> tuple[str, ...]:
    """The words of a name that is looked for fuzzily, folded, each once."""
    found = re.split(f"[{_WORD_ENDS}]+", fold_name(name).replace("*", " ").replace("?", " ").replace("[", " "))
    return tuple(dict.fromkeys(word for word in found if word))


def word_patterns(word: str) -> tuple[str, str]:
    """Patterns of which a folded name has to match one, so that one of its words begins with `word`."""
    return f"{word}*", f"*[{_WORD_ENDS}]{word}*"


def _with_more(pattern: str) -> tuple[str, ...]:
    """The pattern alone, and with further component groups."""
    return (pattern,) if pattern.endswith("*") else (pattern, f"{pattern}=*")
