"""Names as patterns: what stands in them literally is never a pattern."""

import fnmatch
import re

from hypothesis import given
from hypothesis import strategies as st

from imagerepo.dicom import names


@given(st.text(alphabet="abcÄß^=[]!-山 .'"))
def test_a_name_matches_itself(name: str) -> None:
    folded = names.fold_name(name)
    assert not folded or any(re.match(fnmatch.translate(one), folded) for one in names.patterns(folded))


@given(st.text(alphabet="abc^=[]!- .',*?"))
def test_every_word_of_a_name_begins_one_of_its_words(name: str) -> None:
    folded = names.fold_name(name.replace("*", "").replace("?", "").replace("[", ""))
    for word in names.words(folded):
        assert any(re.match(fnmatch.translate(one), folded) for one in names.word_patterns(word))


def test_what_is_beyond_latin_is_looked_for_in_every_group() -> None:
    assert names.patterns("doe^jörg") == ("doe^jörg", "doe^jörg=*")
    assert names.patterns("山田*") == ("山田*", "*=山田*")
